//! Values as Go programs spell them on a command line.

use std::str::FromStr;
use std::time::Duration;

/// True or false in any of the spellings of Go; none for anything else.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A length of time such as `24h`, `1h30m`, `1.5s` or `300ms`; a plain number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl FromStr for GoDuration {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<GoDuration, Self::Err> {
        if let Ok(seconds) = text.parse::<u32>() {
            return Ok(GoDuration(Duration::from_secs(seconds.into())));
        }
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let number = &rest[..rest.len() - digits.len()];
            let after = digits.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.');
            let unit = &digits[..digits.len() - after.len()];
            let number: f64 = number.parse().map_err(|_| HOW)?;
            let part = Duration::try_from_secs_f64(number * seconds(unit).ok_or(HOW)?);
            total = part
                .ok()
                .and_then(|part| total.checked_add(part))
                .ok_or(HOW)?;
            rest = after;
        }
        match text.is_empty() {
            true => Err(HOW),
            false => Ok(GoDuration(total)),
        }
    }
}

fn seconds(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-9),
        "us" | "µs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    }
}

const HOW: &str = "a length of time is written like 24h, 1h30m or 45s";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, millis) in [
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("300ms", 300),
            ("300", 300_000),
            ("0", 0),
        ] {
            let expected = GoDuration(Duration::from_millis(millis));
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "h",
            "-5s",
            "5 s",
            "5d",
            "1h30",
            "1..5s",
            "9e9h",
            "99999999999999999h",
        ] {
            assert_eq!(text.parse::<GoDuration>(), Err(HOW), "{text}");
        }
    }
}
