//! A moment in UTC: arithmetic, and the texts of RFC 3339.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in UTC, in microseconds; it always lies in the years 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp {
    micros: i64,
}

impl Timestamp {
    /// Seconds since 1970; what lies outside of the years 0 to 9999 is moved to the nearest end.
    pub const fn from_unix(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since 1970, with the same ends as `from_unix`.
    pub const fn from_micros(micros: i64) -> Timestamp {
        if micros < MIN_MICROS {
            Timestamp { micros: MIN_MICROS }
        } else if micros > MAX_MICROS {
            Timestamp { micros: MAX_MICROS }
        } else {
            Timestamp { micros }
        }
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn unix(self) -> i64 {
        self.micros.div_euclid(1_000_000)
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn millis(self) -> i64 {
        self.micros.div_euclid(1_000)
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.micros
    }

    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp::from_micros(self.micros.saturating_add(whole_micros(duration)))
    }

    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp::from_micros(self.micros.saturating_sub(whole_micros(duration)))
    }

    /// The time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.micros - earlier.micros).unwrap_or(0))
    }

    /// This moment, or the one right after `stored` if that is not earlier: for times that others
    /// compare, such as the renewal of a lease, and ignore when they go back.
    pub fn never_back(self, stored: Timestamp) -> Timestamp {
        self.max(stored.plus(Duration::from_micros(1)))
    }

    /// Whether the two are at most so far apart.
    pub fn is_near(self, other: Timestamp, tolerance: Duration) -> bool {
        self.since(other).max(other.since(self)) <= tolerance
    }

    /// RFC 3339 with six digits behind the second, as Kubernetes writes the times of a lease.
    pub fn rfc3339_micros(self) -> String {
        format!(
            "{}.{:06}Z",
            self.to_seconds_text(),
            self.micros.rem_euclid(1_000_000)
        )
    }

    fn to_seconds_text(self) -> String {
        let seconds = self.unix();
        let (year, month, day) = civil_from_days(seconds.div_euclid(DAY));
        let of_day = seconds.rem_euclid(DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in whole seconds: `2026-11-23T22:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.to_seconds_text())
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> String {
        timestamp.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Timestamp, TimestampError> {
        text.parse()
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// RFC 3339, with any offset and any number of digits behind the second.
    fn from_str(text: &str) -> Result<Timestamp, TimestampError> {
        parse(text).ok_or(TimestampError)
    }
}

/// The text is not a time in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampError;

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time in RFC 3339: write it as 2026-01-31T12:00:00Z")
    }
}

impl std::error::Error for TimestampError {}

fn whole_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 20 || bytes.len() > 64 {
        return None;
    }
    let shape = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if shape
        .iter()
        .any(|(at, byte)| bytes[*at].to_ascii_uppercase() != *byte)
    {
        return None;
    }
    let (year, month, day) = (
        digits(text, 0, 4)?,
        digits(text, 5, 2)?,
        digits(text, 8, 2)?,
    );
    let (hour, minute) = (digits(text, 11, 2)?, digits(text, 14, 2)?);
    let second = digits(text, 17, 2)?;
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit())?;
        if end == 0 {
            return None;
        }
        micros = format!("{:0<6}", &fraction[..end]).get(..6)?.parse().ok()?;
        rest = &fraction[end..];
    }
    // A leap second counts as the second before it: no clock of ours can show it.
    let second = second.min(59);
    let seconds = days * DAY + hour * 3600 + minute * 60 + second - offset(rest)?;
    Some(Timestamp::from_micros(seconds * 1_000_000 + micros))
}

/// Seconds east of UTC, of `Z`, `+hh:mm` or `-hh:mm`.
fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match text.as_bytes() {
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (digits(text, 1, 2)?, digits(text, 4, 2)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &str, at: usize, len: usize) -> Option<i64> {
    let part = text.get(at..at + len)?;
    part.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| part.parse().ok())?
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. The year begins in March here, so
/// that the leap day is its last; an era is 400 years.
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970
}

/// The reverse of `days_from_civil`: year, month, day.
pub(super) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// Seconds.
const DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// From 0000-03-01.
const DAYS_TO_1970: i64 = 719_468;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z.
const MIN_MICROS: i64 = -62_167_219_200_000_000;
const MAX_MICROS: i64 = 253_402_300_799_999_999;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_471_200, "2026-11-23T22:00:00Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            let timestamp = Timestamp::from_unix(seconds);
            assert_eq!(timestamp.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap().unix(), timestamp.unix());
        }
    }

    #[test]
    fn agrees_with_the_time_crate() {
        for seconds in (-62_135_596_800..253_402_300_799_i64).step_by(86_400 * 17 + 4_321) {
            let theirs = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let expected = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
                theirs.year(),
                u8::from(theirs.month()),
                theirs.day(),
                theirs.hour(),
                theirs.minute(),
                theirs.second()
            );
            assert_eq!(Timestamp::from_unix(seconds).to_string(), expected);
        }
    }

    #[test]
    fn fractions_and_offsets() {
        let noon = "2026-01-31T12:00:00Z".parse::<Timestamp>().unwrap();
        assert_eq!("2026-01-31T14:30:00+02:30".parse(), Ok(noon));
        assert_eq!("2026-01-31T07:00:00.000000000-05:00".parse(), Ok(noon));
        let later = noon.plus(Duration::from_micros(12));
        assert_eq!(later.rfc3339_micros(), "2026-01-31T12:00:00.000012Z");
        assert_eq!(later.rfc3339_micros().parse(), Ok(later));
        assert_eq!(
            "2016-12-31T23:59:60Z".parse::<Timestamp>().unwrap().unix(),
            1_483_228_799
        );
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00+0200",
            "2026-01-31T12:00:00Zx",
            "2026-01-31T12:00:61Z",
            "2026-01-31T12:00:00é",
            "+026-01-31T12:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text:?}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let now = Timestamp::from_unix(100);
        assert_eq!(now.since(Timestamp::from_unix(40)), Duration::from_secs(60));
        assert_eq!(Timestamp::from_unix(40).since(now), Duration::ZERO);
        assert_eq!(now.plus(Duration::MAX), Timestamp::from_unix(i64::MAX));
        assert_eq!(now.minus(Duration::MAX), Timestamp::from_unix(i64::MIN));
        assert_eq!(Timestamp::from_unix(-1).millis(), -1_000);
    }

    #[test]
    fn a_time_that_others_compare_never_goes_back() {
        let at = Timestamp::from_unix;
        let micro = Duration::from_micros(1);
        assert_eq!(at(20).never_back(at(10)), at(20));
        assert_eq!(at(10).never_back(at(10)), at(10).plus(micro));
        assert_eq!(at(10).never_back(at(900)), at(900).plus(micro));
        // At the end of time it stands, which is better than to go back.
        let last = at(i64::MAX);
        assert_eq!(at(0).never_back(last), last.plus(micro));
    }

    proptest! {
        #[test]
        fn text_round_trips(micros in MIN_MICROS..=MAX_MICROS) {
            let timestamp = Timestamp::from_micros(micros);
            prop_assert_eq!(timestamp.rfc3339_micros().parse(), Ok(timestamp));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = text.parse::<Timestamp>();
        }
    }
}
