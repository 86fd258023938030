//! BusyBox's init with /etc/inittab: one line has the daemon started at boot, and again whenever it
//! ends. A line that is commented out is a service that is installed and stopped.

mod text;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::ServiceError;
use super::none::NoInit;
use super::report::{Outcome, Report, Status, Touch};
use super::{Choice, Daemon, GRACE, Service, detect, end_what_is_left, written};
use crate::system::host::Host;
use crate::system::processes::{self, Process, ProcessError};
use crate::system::root::Root;

/// Whether the file is there, and in BusyBox's form: SysV's names run levels.
pub(super) fn is_busybox(root: &Root) -> bool {
    std::fs::read_to_string(root.at(INITTAB)).is_ok_and(|text| text::is_busybox(&text))
}

/// Below a root prefix only the file is written, and the daemon is started as without an init
/// system.
pub struct Inittab {
    host: Host,
    daemon: Daemon,
    init: Option<Box<dyn Init>>,
    /// How often nothing may be seen before all has ended.
    looks: u32,
}

/// Process 1; tests put another in its place.
trait Init {
    /// Has it read the file again.
    fn tell(&self) -> Result<(), ServiceError>;

    /// What it has started.
    fn process(&self) -> Option<Process>;

    fn end(&self, process: &Process) -> Result<(), ProcessError>;
}

struct BusyBox {
    root: Root,
    /// The daemon's name.
    name: &'static str,
}

impl Init for BusyBox {
    /// Another process 1 could end of the signal.
    fn tell(&self) -> Result<(), ServiceError> {
        match detect::running(&self.root) {
            // It has no more of a file that is gone than of one without our line.
            Choice::BusyBox => {
                // It fails for want of rights alone, and then init has not changed.
                kill(Pid::from_raw(1), Signal::SIGHUP).map_err(|_| ServiceError::Denied)
            }
            _ => Err(ServiceError::NotTheInit("busybox")),
        }
    }

    fn process(&self) -> Option<Process> {
        let mut found = processes::find(self.name).into_iter();
        // Not somebody who only looks at it.
        let names = [self.name, "kubeedge"];
        found.find(|process| process.parent == 1 && names.contains(&process.name.as_str()))
    }

    fn end(&self, process: &Process) -> Result<(), ProcessError> {
        processes::terminate(process, GRACE).map(drop)
    }
}

impl Inittab {
    pub fn new(host: &Host, daemon: Daemon) -> Inittab {
        let is_real = host.root.prefix().is_none();
        let init = BusyBox {
            root: host.root.clone(),
            name: daemon.name,
        };
        Inittab {
            host: host.clone(),
            init: is_real.then(|| Box::new(init) as Box<dyn Init>),
            daemon,
            looks: LOOKS,
        }
    }

    fn read(&self) -> Result<String, ServiceError> {
        let path = self.host.root.at(INITTAB);
        let bytes = self.host.files.read_opt(&path, written::MAX)?;
        let text = String::from_utf8(bytes.unwrap_or_default()).ok();
        let text = text.filter(|text| text::is_busybox(text));
        text.ok_or(ServiceError::Strange {
            path,
            why: "not in the form of BusyBox's init: leave --init out, or use --init none",
        })
    }

    /// Writes what differs. Init looks at it when it is told to, or at the next boot.
    fn change(&self, change: impl FnOnce(&str) -> String) -> Result<Option<Touch>, ServiceError> {
        let (before, path) = (self.read()?, self.host.root.at(INITTAB));
        written::sweep(&self.host, &path)?;
        let after = change(&before);
        if after == before {
            return Ok(None);
        }
        let mode = self.host.files.mode(&path).unwrap_or(0o644);
        if let Some(folder) = path.parent() {
            self.host.files.make_dir(folder, 0o755)?;
        }
        self.host.files.replace(&path, after.as_bytes(), mode)?;
        Ok(Some(Touch::Changed(path)))
    }

    fn line(&self) -> String {
        let line = self.daemon.adapted(LINE.trim_end());
        line.replace("edgecore", self.daemon.name)
    }

    fn switch(&self, on: bool) -> Result<Option<Touch>, ServiceError> {
        self.change(|text| text::switched(text, self.daemon.name, on))
    }

    fn without_init(&self) -> NoInit {
        NoInit::new(&self.host, self.daemon.clone())
    }

    /// Init starts it within a second, and tells nobody.
    fn until_it_runs(&self, init: &dyn Init) -> Result<(), ServiceError> {
        let end = Instant::now() + PATIENCE;
        while init.process().is_none() {
            if Instant::now() >= end {
                return Err(ServiceError::NotStarted(self.daemon.name));
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// Ends what runs although its line does not count any more.
    fn end_all(&self, init: &dyn Init, report: &mut Report) -> Result<(), ServiceError> {
        let mut left = 0;
        // It may not know yet of a line that has been switched off before.
        if report.outcome == Outcome::Done || init.process().is_some() {
            init.tell()?;
            left = self.looks;
        }
        // Init waits for a second, starts what has ended, and only then reads the file.
        let end = Instant::now() + PATIENCE;
        loop {
            match init.process().filter(|_| Instant::now() < end) {
                Some(process) => {
                    init.end(&process)?;
                    report.add(Some(Touch::Ended(process.pid)));
                }
                None if left == 0 => return Ok(()),
                None => {
                    left -= 1;
                    sleep(LOOK);
                }
            }
        }
    }
}

impl Service for Inittab {
    fn kind(&self) -> &'static str {
        "busybox"
    }

    fn files(&self) -> Result<Vec<(PathBuf, String)>, ServiceError> {
        let text = text::installed(&self.read()?, self.daemon.name, &self.line());
        Ok(vec![(self.host.root.at(INITTAB), text)])
    }

    fn is_installed(&self) -> bool {
        let text = self.read().unwrap_or_default();
        text::state(&text, self.daemon.name).is_some()
    }

    fn is_ours(&self) -> bool {
        self.read()
            .is_ok_and(|text| text::is_ours(&text, self.daemon.name))
    }

    /// With it the line counts, from the next boot on at the latest.
    fn install(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        report.add(self.change(|text| text::installed(text, self.daemon.name, &self.line()))?);
        Ok(report)
    }

    fn enable(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        report.add(self.switch(true)?);
        Ok(report)
    }

    fn disable(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        report.add(self.switch(false)?);
        Ok(report)
    }

    fn start(&self) -> Result<Report, ServiceError> {
        let Some(init) = self.init.as_deref() else {
            return self.without_init().start();
        };
        let mut report = Report::nothing();
        report.add(self.switch(true)?);
        if report == Report::nothing() && init.process().is_some() {
            return Ok(report);
        }
        init.tell()?;
        report.add(Some(Touch::Ran(TELLING.to_owned())));
        self.until_it_runs(init)?;
        Ok(report)
    }

    /// The line is commented out, so that init does not start it again; also not at boot.
    fn stop(&self) -> Result<Report, ServiceError> {
        let Some(init) = self.init.as_deref() else {
            return self.without_init().stop();
        };
        let mut report = Report::nothing();
        let changed = self.switch(false)?;
        let was_on = changed.is_some();
        report.add(changed);
        if let Err(error) = self.end_all(init, &mut report) {
            // It was not stopped. Who restarts the device because of that is to have it then.
            if was_on {
                self.switch(true)?;
            }
            return Err(error);
        }
        Ok(report)
    }

    /// The line counts all the while, so that init starts the daemon whatever becomes of us.
    fn restart(&self, left: Option<&Process>) -> Result<Report, ServiceError> {
        let Some(init) = self.init.as_deref() else {
            return self.without_init().restart(left);
        };
        let mut report = Report::nothing();
        report.add(self.switch(true)?);
        init.tell()?;
        report.add(Some(Touch::Ran(TELLING.to_owned())));
        let of_init = init.process();
        let is_of_init = |left: &&Process| of_init.as_ref().is_some_and(|it| it.pid == left.pid);
        report.add(end_what_is_left(left.filter(|left| !is_of_init(left)))?);
        if let Some(process) = &of_init {
            init.end(process)?;
            report.add(Some(Touch::Ended(process.pid)));
        }
        self.until_it_runs(init)?;
        Ok(report)
    }

    fn status(&self) -> Result<Status, ServiceError> {
        let Some(init) = self.init.as_deref() else {
            return self.without_init().status();
        };
        let state = text::state(&self.read()?, self.daemon.name);
        Ok(match (state, init.process()) {
            (None, _) => Status::NotInstalled,
            (Some(_), Some(process)) => Status::Running(Some(process.pid)),
            (Some(_), None) => Status::Stopped,
        })
    }

    fn starts_at_boot(&self) -> Result<bool, ServiceError> {
        Ok(text::state(&self.read()?, self.daemon.name) == Some(true))
    }

    fn remove(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        report.add(self.change(|text| text::removed(text, self.daemon.name))?);
        // Else init would go on starting it until the next boot.
        if report != Report::nothing()
            && let Some(init) = &self.init
            && init.tell().is_ok()
        {
            report.add(Some(Touch::Ran(TELLING.to_owned())));
        }
        Ok(report)
    }
}

const TELLING: &str = "kill -HUP 1";
const INITTAB: &str = "/etc/inittab";
/// Edgecore's; of cloudcore it is the same with its name.
const LINE: &str = include_str!("../../../init-scripts/busybox/inittab");
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// 2 s, of which init may need one.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
#[path = "inittab/tests.rs"]
mod tests;
