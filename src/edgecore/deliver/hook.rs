//! A folder's hook: started, looked after, and ended when it takes too long.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::edge::meta::Delivery;
use crate::system::{cause, unheld};

/// One run of it.
pub struct Hook {
    child: Child,
    until: Instant,
    words: String,
}

impl Hook {
    /// The error is a sentence.
    pub fn start(delivery: &Delivery) -> Result<Hook, String> {
        let words = delivery.hook.join(" ");
        let Some((program, arguments)) = delivery.hook.split_first() else {
            return Err("there is no hook".to_owned());
        };
        let folder = ("KUBEEDGE_FOLDER", delivery.folder.as_os_str());
        let child = unheld::spawn(program, arguments, folder).map_err(|error| {
            let why = cause::of(&error);
            format!("the hook {words} can't be run: {why}: check its path and mode")
        })?;
        Ok(Hook {
            child,
            until: Instant::now() + PATIENCE,
            words,
        })
    }

    /// What came of it, when it is over; the error is a sentence.
    pub fn look(&mut self) -> Option<Result<(), String>> {
        let words = &self.words;
        match self.child.try_wait() {
            Ok(Some(status)) if status.success() => Some(Ok(())),
            Ok(Some(status)) => Some(Err(format!(
                "the hook {words} failed ({status}): run it by hand"
            ))),
            Ok(None) if Instant::now() < self.until => None,
            Ok(None) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                Some(Err(format!(
                    "the hook {words} took longer than {} s and was ended: let it do its work in the background",
                    PATIENCE.as_secs()
                )))
            }
            Err(error) => Some(Err(format!(
                "the hook {words} can't be waited for: {}",
                cause::of(&error)
            ))),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long it may still take.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Stays with it to its end, for who has nothing else to do.
    pub fn finish(mut self) -> Result<(), String> {
        loop {
            match self.look() {
                Some(outcome) => return outcome,
                None => thread::sleep(LOOK),
            }
        }
    }
}

/// For one run.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks of who has no signal for its end.
const LOOK: Duration = Duration::from_millis(20);
