//! Durations as Go writes them: `1h2m3.5s`, `100ms`, `0`.

use std::fmt;
use std::time::Duration;

/// Reads a duration. Negative ones are refused: no key read here has a use for them.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    read(text, UNITS)
}

/// As `parse`, and takes days as well: `30d`, `1d12h`. For what only we read.
pub fn parse_with_days(text: &str) -> Result<Duration, DurationError> {
    read(text, WITH_DAYS)
}

/// As a flag has it: with units, days as well, or a number of seconds.
pub fn flag(text: &str) -> Result<Duration, DurationError> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => read(&format!("{text}s"), WITH_DAYS),
        false => read(text, WITH_DAYS),
    }
}

/// The same in whole seconds, rounded up, for `#[argh(option, from_str_fn(…))]`.
pub fn seconds(text: &str) -> Result<u64, String> {
    let duration = flag(text).map_err(|error| error.to_string())?;
    Ok(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

fn read(text: &str, units: &[(&str, u128)]) -> Result<Duration, DurationError> {
    let rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return Err(DurationError::Negative);
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = rest;
    let mut total: u128 = 0;
    if rest.is_empty() {
        return Err(DurationError::Syntax);
    }
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(DurationError::Unit)?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit = units
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(DurationError::Unit)?
            .1;
        total = nanoseconds(number, unit)?
            .checked_add(total)
            .ok_or(DurationError::TooLong)?;
        rest = next;
    }
    // Go holds nanoseconds in a signed 64-bit number: about 292 years.
    match i64::try_from(total) {
        Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds.unsigned_abs())),
        Err(_) => Err(DurationError::TooLong),
    }
}

/// Writes a duration the way Go prints it: `1m0s`, `1.5s`, `100ms`, `0s`.
pub fn show(duration: Duration) -> String {
    let nanoseconds = duration.subsec_nanos();
    let seconds = duration.as_secs();
    if seconds == 0 && nanoseconds > 0 {
        let (unit, name) = match nanoseconds {
            1_000_000.. => (1_000_000, "ms"),
            1_000.. => (1_000, "µs"),
            _ => (1, "ns"),
        };
        return decimal(u64::from(nanoseconds), unit) + name;
    }
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let rest = decimal(rest * 1_000_000_000 + u64::from(nanoseconds), 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// What is wrong with the text of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError {
    Negative,
    Syntax,
    TooLong,
    Unit,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DurationError::Negative => "a duration cannot be negative",
            DurationError::Syntax => "a duration is a number and a unit, like 90s or 1h30m",
            DurationError::TooLong => "a duration cannot be longer than 292 years",
            DurationError::Unit => "a duration needs a unit: ns, us, ms, s, m or h",
        })
    }
}

impl std::error::Error for DurationError {}

fn nanoseconds(number: &str, unit: u128) -> Result<u128, DurationError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(DurationError::Syntax);
    }
    let mut total: u128 = 0;
    for digit in whole.bytes() {
        total = total * 10 + u128::from(digit - b'0');
        if total > u128::from(u64::MAX) {
            return Err(DurationError::TooLong);
        }
    }
    let mut scale = unit;
    total *= unit;
    for digit in fraction.bytes().take(18) {
        // What is smaller than a nanosecond is dropped, as in Go.
        total += u128::from(digit - b'0') * scale / 10;
        scale /= 10;
    }
    Ok(total)
}

fn decimal(amount: u64, unit: u64) -> String {
    let (whole, fraction) = (amount / unit, amount % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let fraction = format!("{fraction:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

const WITH_DAYS: &[(&str, u128)] = &[
    ("d", 86_400_000_000_000),
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Go knows no days.
const UNITS: &[(&str, u128)] = WITH_DAYS.split_at(1).1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flag_takes_seconds_without_a_unit() {
        for (text, expected) in [
            ("90", 90),
            ("90s", 90),
            ("2m", 120),
            ("1d", 86_400),
            ("1.5s", 2),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "soon", "-1", "99999999999999999999"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("15s", 15_000),
            ("+1m0s", 60_000),
            ("4h0m0s", 14_400_000),
            ("1h2m3.5s", 3_723_500),
            (".5s", 500),
            ("1.s", 1_000),
            ("100ms", 100),
            ("2000us", 2),
            ("2000µs", 2),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn days_are_ours() {
        let day = Duration::from_secs(86_400);
        assert_eq!(parse_with_days("30d"), Ok(30 * day));
        assert_eq!(parse_with_days("1d12h"), Ok(day + day / 2));
        assert_eq!(parse_with_days("1.5d"), Ok(day + day / 2));
        assert_eq!(parse_with_days("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_with_days("30"), Err(DurationError::Unit));
    }

    #[test]
    fn refuses_the_rest() {
        for (text, error) in [
            ("", DurationError::Syntax),
            ("+", DurationError::Syntax),
            (".s", DurationError::Syntax),
            ("1.2.3s", DurationError::Syntax),
            ("15", DurationError::Unit),
            ("1d", DurationError::Unit),
            ("s", DurationError::Syntax),
            ("1s ", DurationError::Unit),
            ("-1s", DurationError::Negative),
            ("99999999999h", DurationError::TooLong),
            (
                "99999999999999999999999999999999999999999h",
                DurationError::TooLong,
            ),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn writes_as_go_writes() {
        for (milliseconds, text) in [
            (0, "0s"),
            (1_500, "1.5s"),
            (60_000, "1m0s"),
            (14_400_000, "4h0m0s"),
            (100, "100ms"),
        ] {
            assert_eq!(show(Duration::from_millis(milliseconds)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(nanoseconds in 0..=i64::MAX.unsigned_abs()) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
