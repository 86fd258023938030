//! OpenRC: a script for supervise-daemon, and a link in the run level `default`.

use std::path::PathBuf;

use super::call::Program;
use super::error::ServiceError;
use super::none::NoInit;
use super::report::{Report, Status};
use super::{Daemon, Service, written};
use crate::system::files::FileError;
use crate::system::host::Host;

/// Below a root prefix only files are written, and the daemon is started as without an init
/// system.
pub struct OpenRc {
    host: Host,
    daemon: Daemon,
    pub(super) rc_service: Option<Program>,
}

impl OpenRc {
    pub fn new(host: &Host, daemon: Daemon) -> OpenRc {
        OpenRc {
            rc_service: Program::find(&host.root, "rc-service", "RC_SERVICE"),
            host: host.clone(),
            daemon,
        }
    }

    fn at(&self, folder: &str) -> PathBuf {
        self.host.root.at(folder).join(self.daemon.name)
    }

    fn without_openrc(&self) -> NoInit {
        NoInit::new(&self.host, self.daemon.clone())
    }

    /// Of the daemon below supervise-daemon, as that notes it.
    fn pid(&self) -> Option<u32> {
        let path = self.at("/run/openrc/options").join("child_pid");
        let text = self.host.files.read(&path, MAX_PID).ok()?;
        std::str::from_utf8(&text).ok()?.trim().parse().ok()
    }
}

impl Service for OpenRc {
    fn kind(&self) -> &'static str {
        "openrc"
    }

    fn files(&self) -> Result<Vec<(PathBuf, String)>, ServiceError> {
        let script = self.daemon.adapted(SCRIPT);
        Ok(vec![
            (self.at(SCRIPTS), written::marked(&script)),
            (self.at(SETTINGS), SETTINGS_TEXT.to_owned()),
        ])
    }

    fn is_installed(&self) -> bool {
        let script = self.host.files.read(&self.at(SCRIPTS), written::MAX);
        script.is_ok_and(|text| text.starts_with(SHEBANG))
    }

    fn is_ours(&self) -> bool {
        written::is_ours(&self.host, &self.at(SCRIPTS))
    }

    fn install(&self) -> Result<Report, ServiceError> {
        let (mut report, script) = (Report::nothing(), self.at(SCRIPTS));
        if written::is_foreign(&self.host, &script)? {
            return Ok(report);
        }
        // The script comes first and goes last: it tells whose the rest is, should the power fail.
        let text = self.daemon.adapted(SCRIPT);
        report.add(written::put(&self.host, &script, &text, 0o755)?);
        let settings = self.at(SETTINGS);
        match self.host.files.exists(&settings) {
            true => written::sweep(&self.host, &settings)?,
            false => report.add(written::put(&self.host, &settings, SETTINGS_TEXT, 0o644)?),
        }
        Ok(report)
    }

    fn enable(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        let target = PathBuf::from(SCRIPTS).join(self.daemon.name);
        report.add(written::link(&self.host, &target, &self.at(LEVEL))?);
        Ok(report)
    }

    fn disable(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        report.add(written::delete(&self.host, &self.at(LEVEL))?);
        Ok(report)
    }

    fn start(&self) -> Result<Report, ServiceError> {
        let Some(program) = &self.rc_service else {
            return self.without_openrc().start();
        };
        if matches!(self.status()?, Status::Running(_)) {
            return Ok(Report::nothing());
        }
        // What has crashed is not started unless that is forgotten.
        let _ = program.ask(&[self.daemon.name, "zap"])?;
        let ran = program.run(&[self.daemon.name, "start"])?;
        Ok(Report::done(ran))
    }

    fn stop(&self) -> Result<Report, ServiceError> {
        let Some(program) = &self.rc_service else {
            return self.without_openrc().stop();
        };
        if !matches!(self.status()?, Status::Running(_)) {
            return Ok(Report::nothing());
        }
        let ran = program.run(&[self.daemon.name, "stop"])?;
        Ok(Report::done(ran))
    }

    fn status(&self) -> Result<Status, ServiceError> {
        let Some(program) = &self.rc_service else {
            return self.without_openrc().status();
        };
        if !self.is_installed() {
            return Ok(Status::NotInstalled);
        }
        let ended = program.ask(&[self.daemon.name, "status"])?;
        Ok(match ended.code {
            Some(0) => Status::Running(self.pid()),
            _ => Status::Stopped,
        })
    }

    fn starts_at_boot(&self) -> Result<bool, ServiceError> {
        Ok(self.is_installed() && self.at(LEVEL).symlink_metadata().is_ok())
    }

    fn remove(&self) -> Result<Report, ServiceError> {
        let mut report = self.disable()?;
        // Somebody's settings stay.
        let (settings, ours) = (self.at(SETTINGS), written::marked(SETTINGS_TEXT));
        let found = match self.host.files.read_opt(&settings, written::MAX) {
            Err(FileError::TooLarge { .. }) => None,
            found => found?,
        };
        if found.is_some_and(|found| found == ours.as_bytes()) {
            report.add(written::delete(&self.host, &settings)?);
        }
        report.add(written::remove(&self.host, &self.at(SCRIPTS))?);
        Ok(report)
    }
}

const SCRIPT: &str = include_str!("../../../init-scripts/openrc/edgecore");
const SETTINGS_TEXT: &str = include_str!("../../../init-scripts/openrc/edgecore.confd");
const SHEBANG: &[u8] = b"#!/sbin/openrc-run\n";
const SCRIPTS: &str = "/etc/init.d";
const SETTINGS: &str = "/etc/conf.d";
const LEVEL: &str = "/etc/runlevels/default";
/// Bytes.
const MAX_PID: usize = 64;
