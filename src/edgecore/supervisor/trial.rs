//! A new executable or configuration proves itself here by a session, or what was before comes back.
//!
//! Starts are counted on the disk before each of them. A start without a session is over when the hub
//! ends, or when its time is: so an outage of the cloud ends the trial too, and it does so once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::protocol::control::EdgeState;
use crate::system::host::Host;
use crate::trial::{Event, Standing, Trial, TrialError};

pub struct OnTrial {
    host: Host,
    /// Set while it has to be proved what runs here.
    trial: Option<Trial>,
    /// When this start began.
    since: Instant,
    /// When it had its first session.
    session: Option<Instant>,
}

/// What a start begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Begin {
    Hub,
    /// This executable has the name now, and takes over the service.
    Program(PathBuf),
}

/// What a look has shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    Nothing,
    /// This start has had its time.
    Late,
}

impl OnTrial {
    /// Looks what the last process has left: this one was started from what is in place now.
    pub fn find(host: &Host) -> OnTrial {
        let mut on_trial = OnTrial {
            host: host.clone(),
            trial: None,
            since: Instant::now(),
            session: None,
        };
        match Trial::load(host) {
            Ok(Some(trial)) => on_trial.meet(trial),
            Ok(None) => {}
            Err(error) => log::warn!("{error}"),
        }
        on_trial
    }

    pub fn is_on(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether a trial has begun since this process was started, which it has to make room for.
    pub fn has_come(&self) -> bool {
        if self.is_on() {
            return false;
        }
        let trial = Trial::load(&self.host).unwrap_or_else(|error| {
            log::warn!("{error}");
            None
        });
        trial.is_some_and(|trial| trial.standing(&self.host) == Standing::Changed)
    }

    /// To be called before every hub; counts it.
    pub fn begin(&mut self) -> Begin {
        if !self.is_on() {
            // One that has come while this process ran.
            let come = Trial::load(&self.host).ok().flatten();
            let come = come.filter(|trial| trial.standing(&self.host) == Standing::Changed);
            if let Some(trial) = come {
                if let Some(program) = trial.program(&self.host) {
                    return Begin::Program(program);
                }
                self.trial = Some(trial);
            }
        }
        let Some(mut trial) = self.trial.take() else {
            return Begin::Hub;
        };
        (self.since, self.session) = (Instant::now(), None);
        match trial.count(&self.host) {
            Ok(true) => {
                let (starts, tries) = (trial.starts, trial.tries);
                log::info!(
                    "{}: start {starts} of {tries} without a session",
                    what(&trial)
                );
                self.trial = Some(trial);
                Begin::Hub
            }
            Ok(false) => self.go_back(trial),
            // What can't be counted must not be tried for ever.
            Err(error) => {
                log::error!("{error}: what was before the change is brought back");
                self.go_back(trial)
            }
        }
    }

    /// What is there is better than nothing, whichever it is.
    fn go_back(&mut self, mut trial: Trial) -> Begin {
        let why = format!(
            "no session with the cloud in {} starts of at most {} s",
            trial.starts, trial.patience
        );
        log::error!("{}: {why}: what was before is brought back", what(&trial));
        let undone = trial.undo(&self.host, &why);
        if let Err(error) = &undone {
            log::error!("{error}");
        }
        if trial.found(&self.host) != Standing::Changed {
            let program = trial.program(&self.host);
            return program.map_or(Begin::Hub, Begin::Program);
        }
        // The same executable again would find the same disk again, for ever: the hub starts. The way back is
        // tried anew before every other one, and a session still proves what is there.
        if !matches!(undone, Ok(()) | Err(TrialError::Lost(_))) {
            let patience = trial.patience.saturating_mul(2);
            self.trial = Some(trial.within(Some(patience)));
        }
        Begin::Hub
    }

    /// The program that `begin` has named is not started by the system: what is on trial is over.
    pub fn take_back(&mut self, why: &str) {
        log::error!("{why}");
        let trial = Trial::load(&self.host).ok().flatten();
        let trial = trial.filter(|trial| trial.standing(&self.host) == Standing::Changed);
        if let Some(mut trial) = trial
            && let Err(error) = trial.undo(&self.host, why)
        {
            log::error!("{error}");
        }
    }

    /// What the hub says of itself.
    pub fn hear(&mut self, line: &str) {
        let status = line.strip_prefix("STATUS=");
        if self.is_on() && status == Some(&EdgeState::Connected.to_string()) {
            self.session.get_or_insert_with(Instant::now);
        }
    }

    /// How long until it is time for a look.
    pub fn rest(&self) -> Duration {
        match (&self.trial, self.session) {
            (None, _) => Duration::MAX,
            (Some(_), Some(session)) => PROOF.saturating_sub(session.elapsed()),
            (Some(trial), None) => trial.patience().saturating_sub(self.since.elapsed()),
        }
    }

    /// Ends the trial when it is proved.
    pub fn look(&mut self) -> Look {
        if !self.rest().is_zero() {
            return Look::Nothing;
        }
        let Some(trial) = &mut self.trial else {
            return Look::Nothing;
        };
        if self.session.is_none() {
            log::warn!("{}: no session within {} s", what(trial), trial.patience);
            return Look::Late;
        }
        match trial.succeed(&self.host) {
            Ok(()) => log::info!("{} has proved itself by a session", what(trial)),
            // It is cleared away at the next start.
            Err(error) => log::error!("{error}"),
        }
        self.trial = None;
        Look::Nothing
    }

    fn meet(&mut self, mut trial: Trial) {
        let met = match trial.standing(&self.host) {
            Standing::Changed => {
                self.trial = Some(trial);
                return;
            }
            Standing::AsBefore => trial.undo(&self.host, INTERRUPTED),
            Standing::Foreign => trial.give_up(&self.host, FOREIGN),
            Standing::Over => trial.clear(&self.host),
        };
        if let Err(error) = met {
            log::error!("{error}");
        }
    }
}

/// For the log.
fn what(trial: &Trial) -> String {
    match trial.event {
        Event::ConfigUpdate => "the new configuration".to_owned(),
        _ => format!("version {}", trial.to),
    }
}

/// A hub that lives so long after its first session has proved itself.
const PROOF: Duration = Duration::from_secs(10);
const INTERRUPTED: &str =
    "it was interrupted before anything was changed, or while it was taken back";
const FOREIGN: &str = "somebody else has replaced the file meanwhile";

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::errno::Errno;

    use super::*;
    use crate::system::clock::Clock;
    use crate::system::files::{Files, Layer, Operation};
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;
    use crate::trial::successor;

    /// A root that can be read only, until it is mounted anew.
    struct ReadOnly(AtomicBool);

    impl Layer for ReadOnly {
        fn before(&self, operation: Operation) -> io::Result<()> {
            match self.0.load(Ordering::SeqCst) && operation.is_change() {
                true => Err(Errno::EROFS.into()),
                false => Ok(()),
            }
        }
    }

    fn host(files: Files, folder: &Path) -> Host {
        Host {
            root: Root::new(Some(folder.to_owned())),
            files,
            clock: Clock::system(),
        }
    }

    /// A device with a new program in place, of which so many starts are used up.
    fn device(starts: u32) -> (Scratch, PathBuf) {
        let folder = Scratch::new();
        let host = host(Files::real(), folder.path());
        let program = folder.path().join("kubeedge");
        for (path, content) in [(&program, "old"), (&successor(&program), "new")] {
            host.files.replace(path, content.as_bytes(), 0o755).unwrap();
        }
        let versions = ("v1", "v2");
        let trial = Trial::plan(&host, Event::Upgrade, versions, &[(&program, true)]);
        let mut trial = trial.unwrap();
        trial.begin(&host).unwrap();
        for _ in 0..starts {
            assert!(trial.count(&host).unwrap());
        }
        (folder, program)
    }

    #[test]
    fn where_the_way_back_can_not_be_written_the_hub_starts() {
        for starts in [0, 3] {
            let (folder, program) = device(starts);
            let layer = Arc::new(ReadOnly(AtomicBool::new(true)));
            let host = host(Files::with(layer.clone()), folder.path());
            let content = || std::fs::read_to_string(&program).unwrap();
            let mut on_trial = OnTrial::find(&host);
            for _ in 0..5 {
                assert_eq!(on_trial.begin(), Begin::Hub);
            }
            assert_eq!(content(), "new");
            // It waits longer and longer, and goes back as soon as it can.
            assert!(on_trial.rest() > Duration::from_secs(3000));
            layer.0.store(false, Ordering::SeqCst);
            assert_eq!(on_trial.begin(), Begin::Program(program.clone()));
            assert_eq!(content(), "old");
            assert_eq!(OnTrial::find(&host).begin(), Begin::Hub);
            assert!(Trial::load(&host).unwrap().is_none());
        }
    }
}
