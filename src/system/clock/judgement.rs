//! What time it is, judged from a clock that may be wrong, a floor, and the word of the cloud.
//!
//! A floor is a moment that has certainly passed: the program was built, a certificate that we hold
//! was signed. Neither a reading of the machine's clock nor a time that a file got from it is one: a
//! device that was ten years ahead for a minute would stay there. What the cloud has said counts
//! more than the machine's clock where they differ, and from then on only elapsed time is added.

use std::fmt;
use std::time::Duration;

use super::timestamp::Timestamp;

/// The machine's clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The time of day, right or wrong.
    pub wall: Timestamp,
    /// Time since some moment, which nobody can set, and which goes on while the machine sleeps.
    pub ticks: Duration,
}

/// A time of day, and when it was that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub time: Timestamp,
    pub ticks: Duration,
}

/// What is known.
#[derive(Debug)]
pub struct Judgement {
    built: Timestamp,
    floor: Anchor,
    /// A clock that shows a later time than this is in doubt.
    doubt: Option<Timestamp>,
    word: Option<Anchor>,
    stamped: Timestamp,
}

/// What a cloud says, and how far it is to be believed.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    pub date: Timestamp,
    /// While the certificate of the server that says it is valid.
    pub valid: (Timestamp, Timestamp),
    /// That certificate was found good in every way but time.
    pub but_for_time: bool,
}

/// Why the word of a cloud is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is later than that for certain.
    Passed { date: Timestamp, floor: Timestamp },
    /// The server's certificate is not valid at that time.
    Outside { date: Timestamp },
    /// The certificate has expired, and nothing is wrong with the clock here.
    Expired { date: Timestamp, now: Timestamp },
}

impl Judgement {
    pub fn new(built: Timestamp, reading: Reading) -> Judgement {
        Judgement {
            built,
            floor: reading.anchor(built),
            doubt: None,
            word: None,
            stamped: Timestamp::from_unix(i64::MIN),
        }
    }

    /// The time to judge validity by.
    pub fn now(&self, reading: Reading) -> Timestamp {
        let word = self.word.map(|word| word.at(reading));
        let known = match word {
            // A clock that agrees is the finer of the two.
            Some(word) if !word.is_near(reading.wall, TOLERANCE) => word,
            _ => reading.wall,
        };
        known.max(self.floor.at(reading))
    }

    pub fn ground(&mut self, since: Timestamp, until: Option<Timestamp>, reading: Reading) {
        let since = since.max(self.built);
        // The same again keeps the time that has passed.
        if since != self.floor.time {
            self.floor = reading.anchor(since);
        }
        self.doubt = until;
    }

    pub fn is_in_doubt(&self, reading: Reading) -> bool {
        let now = self.now(reading);
        self.doubt.is_some_and(|until| now > until)
    }

    pub fn hear(&mut self, word: Word, reading: Reading) -> Result<(), Refused> {
        let (date, floor, now) = (word.date, self.floor.at(reading), self.now(reading));
        if date < floor.minus(TOLERANCE) {
            return Err(Refused::Passed { date, floor });
        }
        if date < word.valid.0.minus(TOLERANCE) || date > word.valid.1 {
            return Err(Refused::Outside { date });
        }
        // Whoever has a server's key of the past could otherwise take a device back to its time.
        let back = date < now.minus(TOLERANCE);
        let doubtful = self.is_in_doubt(reading) || date.is_near(reading.wall, TOLERANCE);
        if word.but_for_time && back && !doubtful {
            return Err(Refused::Expired { date, now });
        }
        self.word = Some(reading.anchor(date));
        Ok(())
    }

    pub fn word(&self) -> Option<Anchor> {
        self.word
    }

    /// Takes up what an earlier process of this boot has heard.
    pub fn recall(&mut self, word: Anchor, reading: Reading) {
        if self.word.is_none() && word.ticks <= reading.ticks {
            self.word = Some(word);
        }
    }

    /// Never the same or an earlier time than before.
    pub fn stamp(&mut self, reading: Reading) -> Timestamp {
        self.stamped = self.now(reading).never_back(self.stamped);
        self.stamped
    }
}

impl Reading {
    fn anchor(self, time: Timestamp) -> Anchor {
        Anchor {
            time,
            ticks: self.ticks,
        }
    }
}

impl Anchor {
    fn at(self, reading: Reading) -> Timestamp {
        self.time.plus(reading.ticks.saturating_sub(self.ticks))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Passed { date, floor } => write!(
                f,
                "the cloud says that it is {date}, but it is {floor} at least: set the cloud's clock"
            ),
            Refused::Outside { date } => write!(
                f,
                "the cloud says that it is {date}, when its own certificate is not valid: set its clock"
            ),
            Refused::Expired { date, now } => write!(
                f,
                "the cloud's certificate has expired, and it says that it is {date}, but the clock \
                 here says {now}, and nothing speaks against that: renew it on the cloud, or set the \
                 clock"
            ),
        }
    }
}

impl std::error::Error for Refused {}

/// How far clocks may differ that agree: networks and servers take their time to say it.
pub const TOLERANCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn year(year: i64) -> Timestamp {
        format!("{year}-06-01T00:00:00Z").parse().unwrap()
    }

    fn at(wall: Timestamp, ticks: Duration) -> Reading {
        Reading { wall, ticks }
    }

    fn word(date: Timestamp, but_for_time: bool) -> Word {
        let valid = (date.minus(HOUR), date.plus(YEAR));
        Word {
            date,
            valid,
            but_for_time,
        }
    }

    #[test]
    fn a_clock_in_1970_is_lifted_to_the_floor_and_goes_on_from_there() {
        let boot = at(year(1970), HOUR);
        let mut judgement = Judgement::new(year(2026), boot);
        assert_eq!(judgement.now(boot), year(2026));
        let later = at(year(1970).plus(HOUR), 2 * HOUR);
        assert_eq!(judgement.now(later), year(2026).plus(HOUR));
        judgement.ground(year(2027), Some(year(2028)), later);
        assert_eq!(judgement.now(later), year(2027));
        let set = at(year(2027).plus(YEAR / 2), 3 * HOUR);
        assert_eq!(judgement.now(set), set.wall);
        // Set back again: what was only shown by the clock is no floor.
        let back = at(year(2016), 4 * HOUR);
        assert_eq!(judgement.now(back), year(2027).plus(2 * HOUR));
        judgement.ground(year(2027), None, back);
        assert_eq!(judgement.now(back), year(2027).plus(2 * HOUR));
    }

    #[test]
    fn the_cloud_corrects_a_clock_that_differs_and_steps_change_nothing_then() {
        let wall = year(2036);
        let mut judgement = Judgement::new(year(2025), at(wall, HOUR));
        judgement.ground(year(2026), Some(year(2027)), at(wall, HOUR));
        assert!(judgement.is_in_doubt(at(wall, HOUR)));
        judgement
            .hear(word(year(2026).plus(YEAR / 2), true), at(wall, HOUR))
            .unwrap();
        let expected = year(2026).plus(YEAR / 2).plus(HOUR);
        for wall in [year(1970), year(2016), year(2036), year(2046)] {
            let reading = at(wall, 2 * HOUR);
            assert_eq!(judgement.now(reading), expected, "{wall}");
            assert!(!judgement.is_in_doubt(reading));
        }
        // One that agrees is used, with what it knows better.
        let close = expected.plus(Duration::from_secs(7));
        assert_eq!(judgement.now(at(close, 2 * HOUR)), close);
    }

    #[test]
    fn no_word_leads_behind_what_is_certain() {
        let reading = at(year(2026), HOUR);
        let mut judgement = Judgement::new(year(2024), reading);
        judgement.ground(year(2025), None, reading);
        for but_for_time in [true, false] {
            let refused = judgement.hear(word(year(2024), but_for_time), reading);
            assert!(matches!(refused, Err(Refused::Passed { .. })));
        }
        let late = Word {
            date: year(2028),
            valid: (year(2025), year(2027)),
            but_for_time: true,
        };
        let refused = judgement.hear(late, reading).unwrap_err();
        assert_eq!(refused, Refused::Outside { date: year(2028) });
        assert_eq!(judgement.now(reading), reading.wall);
        assert!(judgement.word().is_none());
    }

    #[test]
    fn an_expired_certificate_takes_nobody_back_whose_clock_is_plausible() {
        let old = word(year(2026), true);
        let mut judgement = Judgement::new(year(2024), at(year(2027), HOUR));
        judgement.ground(year(2025), Some(year(2028)), at(year(2027), HOUR));
        let refused = judgement.hear(old, at(year(2027), HOUR)).unwrap_err();
        assert!(matches!(refused, Refused::Expired { .. }), "{refused}");
        assert!(refused.to_string().contains("renew it on the cloud"));
        // Nor one who knows the time from the cloud, whatever its own clock says.
        judgement
            .hear(word(year(2027), true), at(year(1970), HOUR))
            .unwrap();
        for wall in [year(1970), year(2036)] {
            assert!(judgement.hear(old, at(wall, HOUR)).is_err(), "{wall}");
        }
    }

    #[test]
    fn a_cloud_that_was_ahead_itself_is_followed_back() {
        // By a device with a clock of its own, and by one without, whose certificate is then over.
        for wall in [year(2026), year(1970)] {
            let mut judgement = Judgement::new(year(2024), at(wall, HOUR));
            judgement.ground(year(2025), Some(year(2027)), at(wall, HOUR));
            judgement
                .hear(word(year(2036), true), at(wall, HOUR))
                .unwrap();
            assert_eq!(judgement.now(at(wall, HOUR)), year(2036));
            judgement
                .hear(word(year(2026), true), at(wall, HOUR))
                .unwrap();
            assert_eq!(judgement.now(at(wall, HOUR)), year(2026), "{wall}");
        }
    }

    #[test]
    fn what_was_heard_is_recalled_within_the_same_boot_only() {
        let heard = Anchor {
            time: year(2027),
            ticks: HOUR,
        };
        let reading = at(year(1970), 2 * HOUR);
        let mut judgement = Judgement::new(year(2026), reading);
        judgement.recall(heard, reading);
        assert_eq!(judgement.now(reading), year(2027).plus(HOUR));
        let rebooted = at(year(1970), HOUR / 2);
        let mut judgement = Judgement::new(year(2026), rebooted);
        judgement.recall(heard, rebooted);
        assert_eq!(judgement.now(rebooted), year(2026));
    }

    #[test]
    fn stamps_never_go_back() {
        let mut judgement = Judgement::new(year(2020), at(year(2026), HOUR));
        let mut last = judgement.stamp(at(year(2026), HOUR));
        for wall in [year(2036), year(2026), year(1970), year(2036)] {
            let next = judgement.stamp(at(wall, HOUR));
            assert!(next > last, "{wall}");
            last = next;
        }
        assert_eq!(last, year(2036).plus(Duration::from_micros(3)));
    }
}
