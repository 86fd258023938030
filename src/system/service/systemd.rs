//! systemd: a unit file, and a few calls of systemctl with a bound on each.

use std::env;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::system::host::Host;
use crate::system::root::Root;

use super::none::NoInit;
use super::{Daemon, Outcome, Report, Service, ServiceError, Status, Touch};

/// Below a root prefix systemd itself is never called: only the unit file is written, and the
/// daemon is started as without an init system.
pub struct Systemd {
    host: Host,
    daemon: Daemon,
    systemctl: Option<PathBuf>,
}

impl Systemd {
    /// Whether systemd runs this machine.
    pub fn is_running(root: &Root) -> bool {
        root.at("/run/systemd/system").is_dir()
    }

    /// With `SYSTEMCTL` set, that program is called, root prefix or not.
    pub fn new(host: &Host, daemon: Daemon) -> Systemd {
        let given = env::var_os("SYSTEMCTL")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let default = || {
            host.root
                .prefix()
                .is_none()
                .then(|| PathBuf::from("systemctl"))
        };
        Systemd {
            host: host.clone(),
            daemon,
            systemctl: given.or_else(default),
        }
    }

    fn unit(&self) -> String {
        format!("{}.service", self.daemon.name)
    }

    fn unit_file(&self) -> PathBuf {
        self.host.root.at(UNIT_FOLDER).join(self.unit())
    }

    /// Where `systemctl enable` puts its link.
    fn wanted_link(&self) -> PathBuf {
        self.host
            .root
            .at(UNIT_FOLDER)
            .join("multi-user.target.wants")
            .join(self.unit())
    }

    fn without_systemd(&self) -> NoInit {
        NoInit::new(&self.host, self.daemon.clone())
    }

    /// Runs systemctl; what it printed.
    fn call(&self, systemctl: &PathBuf, arguments: &[&str]) -> Result<String, ServiceError> {
        let command = described(arguments);
        let child = Command::new(systemctl)
            .args(["--no-pager", "--no-ask-password"])
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|source| ServiceError::Spawn {
            program: systemctl.clone(),
            source,
        })?;
        let status = wait(&mut child, PATIENCE).map_err(|source| ServiceError::Spawn {
            program: systemctl.clone(),
            source,
        })?;
        match status {
            Some(status) if status.success() => Ok(said(child.stdout.take())),
            Some(_) => {
                let said = said(child.stderr.take());
                let first = said
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .trim_end_matches('.');
                Err(ServiceError::Command {
                    command,
                    said: first.to_owned(),
                })
            }
            None => Err(ServiceError::CommandTimedOut { command }),
        }
    }

    fn run(&self, systemctl: &PathBuf, arguments: &[&str]) -> Result<Touch, ServiceError> {
        self.call(systemctl, arguments)
            .map(|_| Touch::Ran(described(arguments)))
    }
}

impl Service for Systemd {
    fn kind(&self) -> &'static str {
        "systemd"
    }

    fn install(&self) -> Result<Report, ServiceError> {
        let (files, path, unit) = (
            &self.host.files,
            self.unit_file(),
            self.daemon.unit.as_bytes(),
        );
        let mut report = Report::new(Outcome::Already);
        // What is longer than any unit differs from ours.
        let current = files.read_opt(&path, MAX_UNIT).unwrap_or_default();
        if current.as_deref() != Some(unit) {
            files.make_dir(&self.host.root.at(UNIT_FOLDER), 0o755)?;
            files.replace(&path, unit, 0o644)?;
            report.outcome = Outcome::Done;
            report = report.with(Touch::Wrote(path));
        }
        match &self.systemctl {
            Some(systemctl) => Ok(report.with(self.run(systemctl, &["daemon-reload"])?)),
            None => Ok(report),
        }
    }

    fn enable(&self) -> Result<Report, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            return self.without_systemd().enable();
        };
        let ran = self.run(systemctl, &["enable", &self.unit()])?;
        Ok(Report::new(Outcome::Done).with(ran))
    }

    fn start(&self) -> Result<Report, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            return self.without_systemd().start();
        };
        if matches!(self.status()?, Status::Running(_)) {
            return Ok(Report::new(Outcome::Already));
        }
        let ran = self.run(systemctl, &["start", &self.unit()])?;
        Ok(Report::new(Outcome::Done).with(ran))
    }

    fn stop(&self) -> Result<Report, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            return self.without_systemd().stop();
        };
        if !matches!(self.status()?, Status::Running(_)) {
            return Ok(Report::new(Outcome::Already));
        }
        let ran = self.run(systemctl, &["stop", &self.unit()])?;
        Ok(Report::new(Outcome::Done).with(ran))
    }

    fn status(&self) -> Result<Status, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            return self.without_systemd().status();
        };
        let properties = "--property=LoadState,ActiveState,MainPID";
        let shown = self.call(systemctl, &["show", properties, &self.unit()])?;
        let value = |name: &str| {
            let mut pairs = shown.lines().filter_map(|line| line.split_once('='));
            pairs
                .find(|(key, _)| *key == name)
                .map_or("", |(_, value)| value)
        };
        Ok(match (value("LoadState"), value("ActiveState")) {
            // Between two attempts to start it, a unit is "activating".
            (_, "active" | "activating" | "reloading") => {
                Status::Running(value("MainPID").parse().ok().filter(|pid| *pid != 0))
            }
            ("not-found", _) => Status::NotInstalled,
            _ => Status::Stopped,
        })
    }

    fn starts_at_boot(&self) -> Result<bool, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            return Ok(false);
        };
        let shown = self.call(
            systemctl,
            &["show", "--property=UnitFileState", &self.unit()],
        )?;
        let state = shown.trim().strip_prefix("UnitFileState=");
        Ok(matches!(
            state,
            Some("enabled" | "enabled-runtime" | "static")
        ))
    }

    fn remove(&self) -> Result<Report, ServiceError> {
        let mut report = Report::new(Outcome::Already);
        let unit_file = self.unit_file();
        if let Some(systemctl) = &self.systemctl
            && unit_file.exists()
        {
            report = report.with(self.run(systemctl, &["disable", &self.unit()])?);
        }
        for path in [self.wanted_link(), unit_file] {
            if self.host.files.remove(&path)? {
                report.outcome = Outcome::Done;
                report = report.with(Touch::Removed(path));
            }
        }
        match &self.systemctl {
            Some(systemctl) if report.outcome == Outcome::Done => {
                Ok(report.with(self.run(systemctl, &["daemon-reload"])?))
            }
            _ => Ok(report),
        }
    }
}

fn described(arguments: &[&str]) -> String {
    format!("systemctl {}", arguments.join(" "))
}

/// None when it took too long; then it has been killed.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        sleep(POLL);
    }
}

/// What fits into a pipe is all that we want to know.
fn said(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(MAX_SAID).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const UNIT_FOLDER: &str = "/etc/systemd/system";
/// Bytes.
const MAX_UNIT: usize = 64 * 1024;
const MAX_SAID: u64 = 16 * 1024;
/// Longer than the unit's own limits for start and stop.
const PATIENCE: Duration = Duration::from_secs(100);
const POLL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;
    use std::path::Path;

    /// A systemctl that writes down how it is called, and keeps the state in a file.
    const STUB: &str = r#"#!/bin/sh
cd "${0%/*}"
shift 2
echo "$*" >> calls
case "$1" in
    show)
        if [ "$2" = --property=UnitFileState ]; then
            if grep -q '^enable ' calls; then echo UnitFileState=enabled; else echo UnitFileState=disabled; fi
        else cat state; fi ;;
    start) printf 'LoadState=loaded\nActiveState=active\nMainPID=77\n' > state ;;
    stop) printf 'LoadState=loaded\nActiveState=inactive\nMainPID=0\n' > state ;;
    enable) if [ -e broken ]; then echo "Failed to enable unit: Access denied." >&2; exit 1; fi ;;
esac
"#;

    fn service(dir: &Path, with_systemctl: bool) -> Systemd {
        let root = Root::new(Some(dir.into()));
        let host = Host::real(root.clone());
        let systemctl = dir.join("systemctl");
        host.files
            .replace(&systemctl, STUB.as_bytes(), 0o755)
            .unwrap();
        let state = b"LoadState=not-found\nActiveState=inactive\nMainPID=0\n";
        host.files
            .replace(&dir.join("state"), state, 0o644)
            .unwrap();
        // A child of another test may hold the file that has just been written open for a moment.
        let busy = Some(io::ErrorKind::ExecutableFileBusy);
        let try_it = || Command::new(&systemctl).args(["", "", "show"]).output();
        while try_it().err().map(|error| error.kind()) == busy {
            sleep(POLL);
        }
        let daemon = Daemon::edgecore(&root);
        Systemd {
            host,
            daemon,
            systemctl: with_systemctl.then_some(systemctl),
        }
    }

    fn calls(dir: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(dir.join("calls")).unwrap_or_default();
        let calls = text.lines().filter(|line| !line.starts_with("show"));
        calls.map(str::to_owned).collect()
    }

    #[test]
    fn a_whole_life() {
        let dir = Scratch::new();
        let service = service(dir.path(), true);
        let unit = dir.path().join("etc/systemd/system/edgecore.service");
        assert_eq!(service.status().unwrap(), Status::NotInstalled);
        assert_eq!(service.stop().unwrap().outcome, Outcome::Already);

        assert_eq!(
            service.install().unwrap().touched[0],
            Touch::Wrote(unit.clone())
        );
        assert_eq!(service.host.files.mode(&unit).unwrap(), 0o644);
        assert_eq!(std::fs::read_to_string(&unit).unwrap(), service.daemon.unit);
        assert_eq!(service.install().unwrap().outcome, Outcome::Already);
        assert!(!service.starts_at_boot().unwrap());
        service.enable().unwrap();
        assert!(service.starts_at_boot().unwrap());
        service.start().unwrap();
        assert_eq!(service.status().unwrap(), Status::Running(Some(77)));
        assert_eq!(service.start().unwrap().outcome, Outcome::Already);
        service.stop().unwrap();
        assert_eq!(service.status().unwrap(), Status::Stopped);
        let removed = service.remove().unwrap();
        assert!(
            removed.touched.contains(&Touch::Removed(unit)),
            "{removed:?}"
        );
        assert_eq!(service.remove().unwrap(), Report::new(Outcome::Already));
        assert_eq!(
            calls(dir.path()),
            [
                "daemon-reload",
                "daemon-reload",
                "enable edgecore.service",
                "start edgecore.service",
                "stop edgecore.service",
                "disable edgecore.service",
                "daemon-reload",
            ]
        );
    }

    #[test]
    fn what_systemctl_says_is_passed_on() {
        let dir = Scratch::new();
        let service = service(dir.path(), true);
        service
            .host
            .files
            .replace(&dir.path().join("broken"), b"", 0o644)
            .unwrap();
        let error = service.enable().unwrap_err().to_string();
        assert_eq!(
            error,
            "systemctl enable edgecore.service failed: Failed to enable unit: Access denied: \
             correct that, or use --init none"
        );
    }

    #[test]
    fn below_a_prefix_only_files_are_written() {
        let dir = Scratch::new();
        let service = service(dir.path(), false);
        assert_eq!(service.install().unwrap().outcome, Outcome::Done);
        assert!(matches!(
            service.enable().unwrap().outcome,
            Outcome::Impossible(_)
        ));
        assert!(!service.starts_at_boot().unwrap());
        assert_eq!(service.status().unwrap(), Status::NotInstalled);
        assert_eq!(service.remove().unwrap().outcome, Outcome::Done);
        assert_eq!(calls(dir.path()), [""; 0]);
    }

    #[test]
    fn patience_ends() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(
            wait(&mut child, Duration::from_millis(20))
                .unwrap()
                .is_none()
        );
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn systemd_is_known_by_its_folder() {
        let dir = Scratch::new();
        let root = Root::new(Some(dir.path().into()));
        assert!(!Systemd::is_running(&root));
        std::fs::create_dir_all(dir.path().join("run/systemd/system")).unwrap();
        assert!(Systemd::is_running(&root));
    }
}
