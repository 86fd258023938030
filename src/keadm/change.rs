//! What upgrade, rollback, backup and config-update have in common: one at a time, a report of each, and
//! a running edgecore that proves what was changed.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::hooks::{self, HookError};
use super::lock::{self, LockError};
use super::out::{self, Format};
use super::running;
use crate::system::files::{FileError, Lock};
use crate::system::host::Host;
use crate::system::processes::{self, Process};
use crate::system::service::{self, Choice, Daemon, ServiceError, folder_of};
use crate::system::{console, exit};
use crate::trial::{Event, Report, Standing, Trial, TrialError};

/// What frames every change: the lock, the report, the script after it, and what is said of it.
pub struct Frame<'a> {
    pub host: &'a Host,
    /// The command's whole name, such as `kubeedge upgrade edge`.
    pub name: &'static str,
    pub event: Event,
    /// Script to run when all has worked; empty: none.
    pub post_run: &'a str,
    pub verbosity: Option<u8>,
    pub output: Format,
}

/// What the work finds out on its way, for the report.
#[derive(Default)]
pub struct Known {
    pub from: String,
    pub to: String,
    /// What is there to go back to, and where.
    pub kept: String,
    /// Whether a trial has begun: it reports by itself.
    pub is_on_trial: bool,
    /// Whether an edgecore ran when the command began.
    pub ran: bool,
}

impl Frame<'_> {
    /// Does the work alone, reports and says how it ended; the exit code, which is `code`'s for an error.
    pub fn run<R, E>(
        &self,
        mut known: Known,
        code: impl Fn(&E) -> u8,
        work: impl FnOnce(&mut Known) -> Result<R, E>,
    ) -> u8
    where
        R: out::Report,
        E: Error + From<FileError> + 'static,
    {
        // Without the lock nothing is done, and nothing is reported: the report belongs to who has it.
        let _alone = match alone(self.host) {
            Ok(alone) => alone,
            Err(error) => return self.fail(&error, error.code()),
        };
        known.ran = running::process(self.host).is_some();
        let outcome = work(&mut known).and_then(|done| {
            if !known.is_on_trial {
                self.report(&known, None)?;
            }
            Ok(done)
        });
        match outcome {
            Ok(done) => {
                if let Err(error) = run_hook(self.post_run) {
                    console::complain(self.name, &error.to_string());
                }
                out::show(&done, self.output);
                exit::OK
            }
            Err(error) => {
                self.report_failure(&known, &error);
                self.fail(&error, code(&error))
            }
        }
    }

    /// What is told of a failure, besides the sentence on stderr.
    fn report_failure(&self, known: &Known, error: &(dyn Error + 'static)) {
        let change = error.source().and_then(|it| it.downcast_ref());
        if change.is_some_and(ChangeError::is_of_trial) {
            return;
        }
        if let Err(error) = self.report(known, Some(error)) {
            console::error(&error.to_string());
        }
    }

    fn report(&self, known: &Known, failure: Option<&dyn Error>) -> Result<(), FileError> {
        let is_fine = failure.is_none();
        let report = Report {
            event: self.event,
            success: is_fine,
            from_version: known.from.clone(),
            to_version: known.to.clone(),
            error_message: failure.map(ToString::to_string).unwrap_or_default(),
            kept: match is_fine {
                true => known.kept.clone(),
                false => String::new(),
            },
        };
        report.write(self.host)
    }

    /// Says why nothing was begun; nothing is reported of that.
    pub fn fail(&self, error: &dyn Error, code: u8) -> u8 {
        out::fail(self.name, error, self.verbosity, self.output, code)
    }
}

/// Nobody else joins, resets or changes this device meanwhile, KubeEdge's keadm included where it can.
struct Alone(#[expect(dead_code, reason = "held until dropped")] [Lock; 2]);

fn alone(host: &Host) -> Result<Alone, LockError> {
    let device = lock::take(host)?;
    let record = host.root.at(RECORD);
    if let Some(folder) = record.parent() {
        host.files
            .make_dir(folder, 0o755)
            .map_err(LockError::File)?;
    }
    let changes = host.files.lock(&record).map_err(|error| match error {
        FileError::Locked { holder, .. } => LockError::Busy(holder),
        error => LockError::File(error),
    })?;
    Ok(Alone([device, changes]))
}

/// Runs a script that stands before or after a change; an empty path is none.
pub fn run_hook(script: &str) -> Result<(), HookError> {
    match script {
        "" => Ok(()),
        script => hooks::run(Path::new(script)),
    }
}

/// Where the executable is that edgecore runs from; links that lead to it go on doing so.
pub fn program(host: &Host) -> Result<PathBuf, ChangeError> {
    let own = processes::own_executable().unwrap_or_default();
    let folder = host.root.at(folder_of(&host.root, &own));
    let name = folder.join("edgecore");
    std::fs::canonicalize(&name).map_err(|_| ChangeError::NotInstalled(name))
}

/// Whether another trial is still under way; one that is decided or was interrupted is none.
pub fn refuse_a_second(host: &Host) -> Result<(), ChangeError> {
    let Some(mut trial) = Trial::load(host)? else {
        return Ok(());
    };
    match trial.standing(host) {
        Standing::Changed => Err(ChangeError::OnTrial),
        Standing::AsBefore => {
            Ok(trial.undo(host, "it was interrupted before anything was changed")?)
        }
        Standing::Foreign => Ok(trial.give_up(host, "somebody else has replaced the file")?),
        Standing::Over => Ok(trial.clear(host)?),
    }
}

/// How a change ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    /// There was a session.
    Proven,
    /// No edgecore runs, or none that knows of trials: the trial begins when there is one.
    Waits,
}

/// Has edgecore go on with what the trial is about, and waits until that is decided. The trial does not
/// need this process: it may be ended at any moment. One that did not run before is not started.
pub fn prove(host: &Host, trial: &Trial, ran: bool) -> Result<Proof, ChangeError> {
    if !hand_over(host, ran)? {
        return Ok(Proof::Waits);
    }
    let begun = Instant::now();
    let patience = trial.patience().saturating_mul(trial.tries) + SLACK;
    let mut was_taken = false;
    let mut told = 0;
    while let Some(now) = Trial::load(host)? {
        if now.starts > told {
            told = now.starts;
            was_taken = true;
            console::error(&format!(
                "waiting for a session with the cloud: start {told} of {}, at most {} s",
                now.tries, now.patience
            ));
        }
        if !was_taken && begun.elapsed() > UNHEARD {
            // Whatever runs there does not know of trials.
            was_taken = true;
            if !restart(host)? {
                return Ok(Proof::Waits);
            }
        }
        if begun.elapsed() > patience {
            return Err(ChangeError::Undecided);
        }
        // The end of a trial is a file that goes.
        sleep(POLL);
    }
    let report = Report::read(host).filter(|report| report.event == trial.event);
    match report {
        Some(report) if report.success => Ok(Proof::Proven),
        Some(report) => Err(ChangeError::Undone(report.error_message)),
        // The cloud has been told already.
        None if trial.standing(host) == Standing::Changed => Ok(Proof::Proven),
        None => Err(ChangeError::Undone("see the log of edgecore".to_owned())),
    }
}

/// False when no edgecore runs, and none is to.
fn hand_over(host: &Host, ran: bool) -> Result<bool, ChangeError> {
    let begun = Instant::now();
    loop {
        // One that has started since has found the marker by itself.
        if Trial::load(host)?.is_none_or(|trial| trial.starts > 0) {
            return Ok(true);
        }
        let Some(process) = running::process(host) else {
            // What was stopped before stays so.
            return if ran { start(host) } else { Ok(false) };
        };
        match running::status(host) {
            Some(status) if status.hub_pid.is_some() => {
                // It becomes the new one without ending, and so does whatever it has started, such as us.
                signal(&process, Signal::SIGHUP);
                return Ok(true);
            }
            // It has only started, and would not survive a signal yet.
            None if begun.elapsed() < UNHEARD => sleep(POLL),
            Some(_) | None => return restart(host),
        }
    }
}

fn start(host: &Host) -> Result<bool, ChangeError> {
    let service = service::detect(host, Daemon::edgecore(&host.root), Choice::Auto);
    if !service.is_installed() {
        return Ok(false);
    }
    service.start()?;
    Ok(true)
}

/// False when nobody would start again what was stopped: then it goes on as it is.
fn restart(host: &Host) -> Result<bool, ChangeError> {
    let service = service::detect(host, Daemon::edgecore(&host.root), Choice::Auto);
    if !service.is_installed() {
        return Ok(false);
    }
    service.restart(running::process(host).as_ref())?;
    Ok(true)
}

fn signal(process: &Process, signal: Signal) {
    if let Ok(pid) = i32::try_from(process.pid) {
        // One that has ended meanwhile is noticed by what does not come.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Why a change did not happen, or did not last.
#[derive(Debug)]
pub enum ChangeError {
    NotInstalled(PathBuf),
    OnTrial,
    Service(ServiceError),
    Trial(TrialError),
    /// What was before is back.
    Undone(String),
    Undecided,
}

impl ChangeError {
    /// Whether the trial itself reports it.
    fn is_of_trial(&self) -> bool {
        matches!(self, ChangeError::Undone(_) | ChangeError::Undecided)
    }

    pub fn code(&self) -> u8 {
        match self {
            ChangeError::OnTrial | ChangeError::Undecided => exit::TRY_AGAIN,
            ChangeError::Undone(_) => exit::UNAVAILABLE,
            ChangeError::Trial(TrialError::File(error)) if error.is_denied() => exit::DENIED,
            _ => exit::FAILURE,
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::NotInstalled(path) => write!(
                f,
                "there is no {}: join this device first, see `kubeedge join --help`",
                path.display()
            ),
            ChangeError::OnTrial => f.write_str(
                "an earlier change is on trial still: wait until it is over, see `kubeedge status`",
            ),
            ChangeError::Service(error) => error.fmt(f),
            ChangeError::Trial(error) => error.fmt(f),
            ChangeError::Undone(why) => write!(f, "it was taken back, and all is as before: {why}"),
            ChangeError::Undecided => f.write_str(
                "edgecore has not decided the trial in time: see its log; it goes on without this command",
            ),
        }
    }
}

impl Error for ChangeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ChangeError::Service(error) => Some(error),
            ChangeError::Trial(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TrialError> for ChangeError {
    fn from(error: TrialError) -> ChangeError {
        ChangeError::Trial(error)
    }
}

impl From<ServiceError> for ChangeError {
    fn from(error: ServiceError) -> ChangeError {
        ChangeError::Service(error)
    }
}

/// Where KubeEdge's keadm keeps its own lock.
const RECORD: &str = "/etc/kubeedge/idempotency_record";
const POLL: Duration = Duration::from_millis(50);
/// A supervisor that heard its signal has begun by then.
const UNHEARD: Duration = Duration::from_secs(30);
/// For stopping and starting besides.
const SLACK: Duration = Duration::from_secs(120);
