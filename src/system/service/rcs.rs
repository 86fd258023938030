//! Scripts `/etc/init.d/S??*`, which rcS runs at boot, as BusyBox images have them: nobody watches
//! over the daemon, which has a supervisor of its own.

use std::path::PathBuf;

use super::call::Program;
use super::error::ServiceError;
use super::none::NoInit;
use super::report::{Outcome, Report, Status};
use super::{Daemon, Service, written};
use crate::system::host::Host;
use crate::system::root::Root;

/// Whether there is an rcS that runs such scripts; Debian's does not.
pub(super) fn is_there(root: &Root) -> bool {
    let text = std::fs::read_to_string(root.at("/etc/init.d/rcS"));
    text.is_ok_and(|text| text.contains("init.d/S"))
}

/// Below a root prefix only the file is written, and the daemon is started as without an init
/// system.
pub struct Rcs {
    host: Host,
    daemon: Daemon,
    command: Option<Program>,
}

impl Rcs {
    pub fn new(host: &Host, daemon: Daemon) -> Rcs {
        let script = host.root.at(format!("{SCRIPTS}/S95{}", daemon.name));
        let is_real = host.root.prefix().is_none();
        Rcs {
            command: is_real.then(|| Program::script(&[&script])),
            host: host.clone(),
            daemon,
        }
    }

    fn script(&self) -> PathBuf {
        let name = format!("{SCRIPTS}/S95{}", self.daemon.name);
        self.host.root.at(name)
    }

    fn without_rcs(&self) -> NoInit {
        NoInit::new(&self.host, self.daemon.clone())
    }
}

impl Service for Rcs {
    fn kind(&self) -> &'static str {
        "rcs"
    }

    fn files(&self) -> Result<Vec<(PathBuf, String)>, ServiceError> {
        let text = self.daemon.adapted(SCRIPT);
        Ok(vec![(self.script(), written::marked(&text))])
    }

    fn is_installed(&self) -> bool {
        self.host.files.exists(&self.script())
    }

    fn is_ours(&self) -> bool {
        written::is_ours(&self.host, &self.script())
    }

    fn install(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        let text = self.daemon.adapted(SCRIPT);
        report.add(written::put(&self.host, &self.script(), &text, 0o755)?);
        Ok(report)
    }

    /// Its name is what starts it.
    fn enable(&self) -> Result<Report, ServiceError> {
        Ok(Report::nothing())
    }

    fn disable(&self) -> Result<Report, ServiceError> {
        Ok(Report::new(match self.is_installed() {
            true => Outcome::Impossible(NAME_STARTS_IT),
            false => Outcome::Already,
        }))
    }

    fn start(&self) -> Result<Report, ServiceError> {
        let Some(command) = &self.command else {
            return self.without_rcs().start();
        };
        match self.status()? {
            Status::Running(_) => Ok(Report::nothing()),
            _ => Ok(Report::done(command.run(&["start"])?)),
        }
    }

    fn stop(&self) -> Result<Report, ServiceError> {
        let Some(command) = &self.command else {
            return self.without_rcs().stop();
        };
        match self.status()? {
            Status::Running(_) => Ok(Report::done(command.run(&["stop"])?)),
            _ => Ok(Report::nothing()),
        }
    }

    fn status(&self) -> Result<Status, ServiceError> {
        let Some(command) = &self.command else {
            return self.without_rcs().status();
        };
        if !self.is_installed() {
            return Ok(Status::NotInstalled);
        }
        if command.ask(&["status"])?.code != Some(0) {
            return Ok(Status::Stopped);
        }
        let path = self
            .host
            .root
            .at(format!("/var/run/{}.pid", self.daemon.name));
        let text = self.host.files.read(&path, MAX_PID).unwrap_or_default();
        let pid = String::from_utf8_lossy(&text).trim().parse().ok();
        Ok(Status::Running(pid))
    }

    fn starts_at_boot(&self) -> Result<bool, ServiceError> {
        Ok(self.is_installed())
    }

    fn remove(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        report.add(written::remove(&self.host, &self.script())?);
        Ok(report)
    }
}

const SCRIPT: &str = include_str!("../../../init-scripts/busybox/S95edgecore");
const SCRIPTS: &str = "/etc/init.d";
const NAME_STARTS_IT: &str =
    "rcS starts what is called S95: use `kubeedge service remove`, or rename the script";
/// Bytes.
const MAX_PID: usize = 64;
