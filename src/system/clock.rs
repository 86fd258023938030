//! Time of day as this process judges it, which tests can set; the only file that asks the system for it.

pub mod http_date;
mod judgement;
mod timestamp;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use self::judgement::{Judgement, Reading};
use super::build;

pub use self::judgement::{Anchor, Refused, TOLERANCE, Word};
pub use self::timestamp::{Timestamp, TimestampError};

/// Tells the time: the system's, or one that a test sets. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    judgement: Arc<Mutex<Judgement>>,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    /// The system's, off by the seconds in a file; only in builds for tests.
    Shifted(PathBuf),
    Manual(Arc<Mutex<Reading>>),
}

impl Clock {
    /// It is never earlier than when this program was built.
    pub fn system() -> Clock {
        let source = match std::env::var_os(SHIFT) {
            Some(path) if cfg!(debug_assertions) => Source::Shifted(path.into()),
            _ => Source::System,
        };
        Clock::new(source, build::TIME)
    }

    /// A clock that stands at `start` until its other half moves it.
    pub fn manual(start: Timestamp) -> (Clock, ManualClock) {
        let reading = Arc::new(Mutex::new(Reading {
            wall: start,
            ticks: Duration::ZERO,
        }));
        let source = Source::Manual(reading.clone());
        let clock = Clock::new(source, Timestamp::from_unix(i64::MIN));
        (clock, ManualClock { reading })
    }

    fn new(source: Source, built: Timestamp) -> Clock {
        let judgement = Judgement::new(built, source.read());
        Clock {
            source,
            judgement: Arc::new(Mutex::new(judgement)),
        }
    }

    /// The time that validity is judged by: what the machine's clock shows, unless it is known to
    /// be wrong.
    pub fn now(&self) -> Timestamp {
        locked(&self.judgement).now(self.source.read())
    }

    /// As `now`, and later than every stamp before: for times that others compare.
    pub fn stamp(&self) -> Timestamp {
        locked(&self.judgement).stamp(self.source.read())
    }

    /// What the machine's clock shows, when that is known to be wrong.
    pub fn shows_wrongly(&self) -> Option<Timestamp> {
        let reading = self.source.read();
        let now = locked(&self.judgement).now(reading);
        (!now.is_near(reading.wall, TOLERANCE)).then_some(reading.wall)
    }

    /// Says what is certain: `since` has passed; and that a clock which shows a time after `until`
    /// is in doubt, because what is in use would be over then. Replaces what was said before.
    pub fn ground(&self, since: Timestamp, until: Option<Timestamp>) {
        locked(&self.judgement).ground(since, until, self.source.read());
    }

    /// The clock shows a time at which what is in use is over, so that the cloud should be asked.
    pub fn is_in_doubt(&self) -> bool {
        locked(&self.judgement).is_in_doubt(self.source.read())
    }

    /// Takes the word of a cloud for the time from here on, if it can be believed. The clock of the
    /// machine is never set.
    pub fn hear(&self, word: Word) -> Result<(), Refused> {
        let before = self.shows_wrongly().is_some();
        locked(&self.judgement).hear(word, self.source.read())?;
        match self.shows_wrongly() {
            Some(wall) if !before => log::warn!(
                "the clock here says {wall} and the cloud's {}: certificates are judged by the cloud's \
                 from now on, see which is wrong and set it",
                word.date
            ),
            None if before => log::info!("the clock here and the cloud's agree again"),
            _ => {}
        }
        Ok(())
    }

    /// What the cloud said last.
    pub fn word(&self) -> Option<Anchor> {
        locked(&self.judgement).word()
    }

    /// How long ago the cloud said what time it is.
    pub fn word_age(&self) -> Option<Duration> {
        let ticks = self.source.read().ticks;
        self.word().map(|word| ticks.saturating_sub(word.ticks))
    }

    /// Takes up what an earlier process has heard in this boot.
    pub fn recall(&self, word: Anchor) {
        locked(&self.judgement).recall(word, self.source.read());
    }
}

impl Source {
    fn read(&self) -> Reading {
        match self {
            Source::Manual(reading) => *locked(reading),
            Source::System => Reading {
                wall: system_now(),
                ticks: ticks(),
            },
            Source::Shifted(path) => {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                let seconds: i64 = text.trim().parse().unwrap_or(0);
                let micros = seconds.saturating_mul(1_000_000);
                let shifted = system_now().micros().saturating_add(micros);
                Reading {
                    wall: Timestamp::from_micros(shifted),
                    ticks: ticks(),
                }
            }
        }
    }
}

/// The hand that moves a manual clock, forwards or backwards.
#[derive(Clone, Debug)]
pub struct ManualClock {
    reading: Arc<Mutex<Reading>>,
}

impl ManualClock {
    /// Sets the time of day, as a person or NTP does: no time passes.
    pub fn set(&self, now: Timestamp) {
        locked(&self.reading).wall = now;
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut reading = locked(&self.reading);
        reading.wall = reading.wall.plus(by);
        reading.ticks += by;
    }
}

/// No code panics while it holds one of these locks, so a poisoned value is still whole.
fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::disallowed_methods)] // The one place where it is allowed.
fn system_now() -> Timestamp {
    let now = SystemTime::now();
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp::from_unix(0).plus(since),
        Err(before) => Timestamp::from_unix(0).minus(before.duration()),
    }
}

/// Since the machine was started, times of sleep included; every process sees the same.
fn ticks() -> Duration {
    static FIRST: Mutex<Option<Instant>> = Mutex::new(None);
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(time) => Duration::from(time),
        // Without that clock, what was heard is not recalled by the next process.
        Err(_) => locked(&FIRST).get_or_insert_with(Instant::now).elapsed(),
    }
}

/// Names a file with the seconds by which the clock is to be off, read at every look; builds for
/// tests only.
const SHIFT: &str = "KUBEEDGE_TEST_CLOCK";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual(Timestamp::from_unix(10));
        let other = clock.clone();
        hand.advance(Duration::from_secs(5));
        assert_eq!(other.now(), Timestamp::from_unix(15));
        hand.set(Timestamp::from_unix(-5));
        assert_eq!(clock.now(), Timestamp::from_unix(-5));
    }

    #[test]
    fn the_system_s_clock_is_never_behind_the_program() {
        let clock = Clock::system();
        assert!(clock.now() > Timestamp::from_unix(1_700_000_000));
        assert!(clock.now() >= build::TIME);
        assert!(ticks() > Duration::ZERO && ticks() <= ticks());
    }

    #[test]
    fn clones_share_what_was_heard() {
        let (clock, hand) = Clock::manual(Timestamp::from_unix(0));
        let date = Timestamp::from_unix(1_800_000_000);
        let valid = (date, date.plus(Duration::from_secs(3_600)));
        clock
            .clone()
            .hear(Word {
                date,
                valid,
                but_for_time: true,
            })
            .unwrap();
        assert_eq!(clock.now(), date);
        assert_eq!(clock.shows_wrongly(), Some(Timestamp::from_unix(0)));
        hand.advance(Duration::from_secs(7));
        assert_eq!(clock.word_age(), Some(Duration::from_secs(7)));
        assert_eq!(clock.now(), date.plus(Duration::from_secs(7)));
        hand.set(date.plus(Duration::from_secs(8)));
        assert_eq!(clock.shows_wrongly(), None);
    }
}
