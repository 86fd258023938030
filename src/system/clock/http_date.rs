//! The `Date` header of HTTP: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).

use super::timestamp::{Timestamp, civil_from_days, days_from_civil};

/// Reads the one form that servers send today; the two that are obsolete are not worth their code.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (weekday, rest) = text.trim().split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let days = days_from_civil(number(year, 4)?, month as i64 + 1, number(day, 2)?);
    let clock: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = clock[..] else {
        return None;
    };
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    let moment = Timestamp::from_unix(days * 86_400 + hour * 3_600 + minute * 60 + second.min(59));
    // Writing it again finds the 30th of February, the hour 25, and the wrong day of the week.
    let same = show(moment).starts_with(&format!("{weekday}, {day} "));
    (same && hour < 24 && minute < 60 && second <= 60).then_some(moment)
}

pub fn show(moment: Timestamp) -> String {
    let (days, of_day) = (
        moment.unix().div_euclid(86_400),
        moment.unix().rem_euclid(86_400),
    );
    let (year, month, day) = civil_from_days(days);
    let weekday = WEEKDAYS[days.rem_euclid(7) as usize];
    let month = MONTHS[(month - 1).rem_euclid(12) as usize];
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let good = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

/// 1970-01-01 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_standard_and_a_recorded_one() {
        for (text, moment) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"),
            ("Sun, 22 Nov 2026 08:09:15 GMT", "2026-11-22T08:09:15Z"),
            ("Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse(text), moment.parse().ok(), "{text}");
            assert_eq!(show(moment.parse().unwrap()), text);
        }
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:+7 GMT",
            "Wed, 30 Feb 2028 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(seconds in -62_167_219_200_i64..=253_402_300_799) {
            let moment = Timestamp::from_unix(seconds);
            prop_assert_eq!(parse(&show(moment)), Some(moment));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
