//! No init system: a daemon in the background, known by its pidfile, until the next boot.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use crate::system::host::Host;
use crate::system::processes::{self, Background, Process};
use crate::system::root;

use super::{Daemon, Outcome, Report, Service, ServiceError, Status, Touch};

/// Starts and stops the daemon itself.
pub struct NoInit {
    host: Host,
    daemon: Daemon,
}

impl NoInit {
    pub fn new(host: &Host, daemon: Daemon) -> NoInit {
        NoInit {
            host: host.clone(),
            daemon,
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.host
            .root
            .at(format!("{RUN_FOLDER}/{}.pid", self.daemon.name))
    }

    /// The process of the pidfile. After a crash or a reboot its number may be another's by now.
    fn process(&self) -> Result<Option<Process>, ServiceError> {
        let text = self
            .host
            .files
            .read_opt(&self.pid_file(), MAX_PID_FILE)?
            .unwrap_or_default();
        let pid = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        Ok(pid
            .and_then(Process::get)
            .filter(|process| process.is(self.daemon.name)))
    }
}

impl Service for NoInit {
    fn kind(&self) -> &'static str {
        "none"
    }

    fn files(&self) -> Result<Vec<(PathBuf, String)>, ServiceError> {
        Ok(Vec::new())
    }

    /// There is nothing to install; what it has started counts.
    fn is_installed(&self) -> bool {
        self.pid_file().exists()
    }

    fn is_ours(&self) -> bool {
        self.is_installed()
    }

    fn install(&self) -> Result<Report, ServiceError> {
        Ok(Report::new(Outcome::Already))
    }

    fn enable(&self) -> Result<Report, ServiceError> {
        Ok(Report::new(Outcome::Impossible(NOT_AT_BOOT)))
    }

    fn disable(&self) -> Result<Report, ServiceError> {
        Ok(Report::nothing())
    }

    fn start(&self) -> Result<Report, ServiceError> {
        if self.process()?.is_some() {
            return Ok(Report::new(Outcome::Already));
        }
        let Host { root, files, .. } = &self.host;
        files.make_dir(&root.at(RUN_FOLDER), 0o755)?;
        files.make_dir(&root.at(LOG_FOLDER), 0o755)?;
        let log = root.at(format!("{LOG_FOLDER}/{}.log", self.daemon.name));
        let prefix = root
            .prefix()
            .map(|prefix| (root::VARIABLE, prefix.as_os_str()));
        let environment: Vec<(&str, &OsStr)> = prefix.into_iter().collect();
        let pid = processes::spawn_detached(&Background {
            executable: &self.daemon.executable,
            name: self.daemon.name,
            arguments: &self.daemon.arguments,
            environment: &environment,
            log: Some(&log),
        })
        .map_err(|source| ServiceError::Spawn {
            program: self.daemon.executable.clone(),
            source,
        })?;
        let pid_file = self.pid_file();
        files.replace(&pid_file, format!("{pid}\n").as_bytes(), 0o644)?;
        Ok(Report::new(Outcome::Done)
            .with(Touch::Started(pid))
            .with(Touch::Wrote(pid_file)))
    }

    fn stop(&self) -> Result<Report, ServiceError> {
        let mut report = Report::new(Outcome::Already);
        if let Some(process) = self.process()? {
            processes::terminate(&process, GRACE)?;
            report.outcome = Outcome::Done;
            report = report.with(Touch::Ended(process.pid));
        }
        let pid_file = self.pid_file();
        if self.host.files.remove(&pid_file)? {
            report = report.with(Touch::Removed(pid_file));
        }
        Ok(report)
    }

    fn status(&self) -> Result<Status, ServiceError> {
        Ok(match self.process()? {
            Some(process) => Status::Running(Some(process.pid)),
            None if self.daemon.executable.exists() => Status::Stopped,
            None => Status::NotInstalled,
        })
    }

    fn starts_at_boot(&self) -> Result<bool, ServiceError> {
        Ok(false)
    }

    fn remove(&self) -> Result<Report, ServiceError> {
        Ok(Report::new(Outcome::Already))
    }
}

const RUN_FOLDER: &str = "/run/kubeedge";
const LOG_FOLDER: &str = "/var/log/kubeedge";
const NOT_AT_BOOT: &str =
    "without an init system it will not start at boot: have your boot scripts start it";
/// Bytes.
const MAX_PID_FILE: usize = 64;
/// A daemon stops within 5 s.
const GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    #[test]
    fn a_whole_life() {
        let dir = Scratch::new();
        let root = Root::new(Some(dir.path().into()));
        let host = Host::real(root.clone());
        let daemon = Daemon {
            executable: "/bin/sh".into(),
            arguments: vec![
                "-c".into(),
                "echo $KUBEEDGE_ROOT; while :; do sleep 0.1; done".into(),
            ],
            ..Daemon::edgecore(&root)
        };
        let service = NoInit::new(&host, daemon);
        assert_eq!(service.status().unwrap(), Status::Stopped);
        assert_eq!(service.stop().unwrap(), Report::new(Outcome::Already));
        assert!(matches!(
            service.enable().unwrap().outcome,
            Outcome::Impossible(_)
        ));

        let started = service.start().unwrap();
        let Touch::Started(pid) = started.touched[0] else {
            panic!("{started:?}")
        };
        assert_eq!(service.status().unwrap(), Status::Running(Some(pid)));
        assert_eq!(service.start().unwrap().outcome, Outcome::Already);
        let stopped = service.stop().unwrap();
        assert_eq!(stopped.outcome, Outcome::Done);
        let pid_file = dir.path().join("run/kubeedge/edgecore.pid");
        assert_eq!(
            stopped.touched,
            [Touch::Ended(pid), Touch::Removed(pid_file)]
        );
        assert_eq!(service.status().unwrap(), Status::Stopped);
    }

    #[test]
    fn a_pidfile_that_lies_is_not_believed() {
        let dir = Scratch::new();
        let root = Root::new(Some(dir.path().into()));
        let host = Host::real(root.clone());
        let service = NoInit::new(&host, Daemon::edgecore(&root));
        assert_eq!(service.status().unwrap(), Status::NotInstalled);
        host.files.make_dir(&root.at(RUN_FOLDER), 0o755).unwrap();
        for text in [
            format!("{}\n", std::process::id()),
            "x".into(),
            "-1".into(),
            "".into(),
        ] {
            host.files
                .replace(&service.pid_file(), text.as_bytes(), 0o644)
                .unwrap();
            assert_eq!(service.status().unwrap(), Status::NotInstalled, "{text}");
            assert_eq!(service.stop().unwrap().outcome, Outcome::Already);
            assert!(!service.pid_file().exists());
        }
        let error = service.start().unwrap_err().to_string();
        assert!(error.contains("no such file"), "{error}");
    }
}
