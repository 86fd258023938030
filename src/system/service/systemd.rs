//! systemd: a unit file, and a few calls of systemctl with a bound on each; below a root prefix, a link instead.

use std::env;
use std::path::{Path, PathBuf};

use crate::system::host::Host;

use super::call::Program;
use super::none::NoInit;
use super::{Daemon, Outcome, Report, Service, ServiceError, Status, Touch, written};

/// Below a root prefix, and where it does not run, systemd is never called: only files are
/// written, and the daemon is started as without an init system.
pub struct Systemd {
    host: Host,
    daemon: Daemon,
    systemctl: Option<Program>,
}

impl Systemd {
    pub fn new(host: &Host, daemon: Daemon) -> Systemd {
        let runs = host.root.at("/run/systemd/system").is_dir();
        let is_given = env::var_os(VARIABLE).is_some();
        let systemctl = Program::find(&host.root, "systemctl", VARIABLE);
        let systemctl = systemctl.filter(|_| runs || is_given);
        Systemd {
            host: host.clone(),
            daemon,
            systemctl: systemctl.map(|program| program.with(QUIET)),
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

    /// What a package has brought, which is used as it is, without the root prefix.
    fn packaged(&self) -> Option<PathBuf> {
        let mut units = PACKAGED_UNITS
            .iter()
            .map(|folder| Path::new(folder).join(self.unit()));
        units.find(|unit| self.host.root.at(unit).exists())
    }

    fn is_packaged(&self) -> bool {
        self.packaged().is_some()
    }
}

impl Service for Systemd {
    fn kind(&self) -> &'static str {
        "systemd"
    }

    fn files(&self) -> Result<Vec<(PathBuf, String)>, ServiceError> {
        Ok(vec![(
            self.unit_file(),
            self.daemon.adapted(self.daemon.unit),
        )])
    }

    fn is_installed(&self) -> bool {
        self.unit_file().symlink_metadata().is_ok() || self.is_packaged()
    }

    fn is_ours(&self) -> bool {
        self.unit_file().symlink_metadata().is_ok()
    }

    fn install(&self) -> Result<Report, ServiceError> {
        let (files, path) = (&self.host.files, self.unit_file());
        let unit = self.daemon.adapted(self.daemon.unit);
        let mut report = Report::new(Outcome::Already);
        written::sweep(&self.host, &path)?;
        // What is longer than any unit differs from ours.
        let current = files.read_opt(&path, MAX_UNIT).unwrap_or_default();
        if self.is_packaged() && self.daemon.is_packaged() {
            // Ours, of an earlier join, would be read instead.
            if files.remove(&path)? {
                report.add(Some(Touch::Removed(path)));
            }
        } else if current.as_deref() != Some(unit.as_bytes()) {
            files.make_dir(&self.host.root.at(UNIT_FOLDER), 0o755)?;
            files.replace(&path, unit.as_bytes(), 0o644)?;
            report.add(Some(Touch::Wrote(path)));
        }
        match &self.systemctl {
            Some(systemctl) => Ok(report.with(systemctl.run(&["daemon-reload"])?)),
            None => Ok(report),
        }
    }

    fn enable(&self) -> Result<Report, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            if self.host.root.prefix().is_none() {
                return self.without_systemd().enable();
            }
            let own = || Path::new(UNIT_FOLDER).join(self.unit());
            let packaged = self.packaged().filter(|_| !self.is_ours());
            let target = packaged.unwrap_or_else(own);
            let mut report = Report::nothing();
            report.add(written::link(&self.host, &target, &self.wanted_link())?);
            return Ok(report);
        };
        let ran = systemctl.run(&["enable", &self.unit()])?;
        Ok(Report::new(Outcome::Done).with(ran))
    }

    fn disable(&self) -> Result<Report, ServiceError> {
        match &self.systemctl {
            Some(systemctl) if self.is_installed() => {
                Ok(Report::done(systemctl.run(&["disable", &self.unit()])?))
            }
            _ => {
                let mut report = Report::nothing();
                let link = self.wanted_link();
                if self.host.files.remove(&link)? {
                    report.add(Some(Touch::Removed(link)));
                }
                Ok(report)
            }
        }
    }

    fn start(&self) -> Result<Report, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            return self.without_systemd().start();
        };
        if matches!(self.status()?, Status::Running(_)) {
            return Ok(Report::new(Outcome::Already));
        }
        let ran = systemctl.run(&["start", &self.unit()])?;
        Ok(Report::new(Outcome::Done).with(ran))
    }

    fn stop(&self) -> Result<Report, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            return self.without_systemd().stop();
        };
        if !matches!(self.status()?, Status::Running(_)) {
            return Ok(Report::new(Outcome::Already));
        }
        let ran = systemctl.run(&["stop", &self.unit()])?;
        Ok(Report::new(Outcome::Done).with(ran))
    }

    fn status(&self) -> Result<Status, ServiceError> {
        let Some(systemctl) = &self.systemctl else {
            return self.without_systemd().status();
        };
        let properties = "--property=LoadState,ActiveState,MainPID";
        let shown = systemctl.output(&["show", properties, &self.unit()])?;
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
            let is_image = self.host.root.prefix().is_some();
            return Ok(is_image && self.wanted_link().is_symlink());
        };
        let shown = systemctl.output(&["show", "--property=UnitFileState", &self.unit()])?;
        let state = shown.trim().strip_prefix("UnitFileState=");
        Ok(matches!(
            state,
            Some("enabled" | "enabled-runtime" | "static")
        ))
    }

    fn remove(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        let disabled = match &self.systemctl {
            Some(systemctl) if self.is_installed() => {
                Some(systemctl.run(&["disable", &self.unit()])).transpose()
            }
            _ => Ok(None),
        };
        for path in [self.wanted_link(), self.unit_file()] {
            if self.host.files.remove(&path)? {
                report.add(Some(Touch::Removed(path)));
            }
        }
        // Our files are gone, whatever it makes of them.
        report.touched.extend(disabled?);
        match &self.systemctl {
            Some(systemctl) if report.outcome == Outcome::Done => {
                Ok(report.with(systemctl.run(&["daemon-reload"])?))
            }
            _ => Ok(report),
        }
    }
}

const VARIABLE: &str = "SYSTEMCTL";
const UNIT_FOLDER: &str = "/etc/systemd/system";
const PACKAGED_UNITS: &[&str] = &["/lib/systemd/system", "/usr/lib/systemd/system"];
const QUIET: &[&str] = &["--no-pager", "--no-ask-password"];
/// Bytes.
const MAX_UNIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;
    use std::io;
    use std::process::Command;
    use std::thread::sleep;
    use std::time::Duration;

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
            sleep(Duration::from_millis(10));
        }
        let daemon = Daemon::edgecore(&root);
        Systemd {
            host,
            daemon,
            systemctl: with_systemctl.then(|| Program::at(&systemctl, "systemctl").with(QUIET)),
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
        assert!(!service.starts_at_boot().unwrap());
        let link = service.wanted_link();
        let linked = service.enable().unwrap();
        assert_eq!(linked, Report::done(Touch::Linked(link.clone())));
        let own = Path::new("/etc/systemd/system/edgecore.service");
        assert_eq!(link.read_link().unwrap(), own);
        assert_eq!(service.enable().unwrap(), Report::nothing());
        assert!(service.starts_at_boot().unwrap());
        assert_eq!(service.disable().unwrap().outcome, Outcome::Done);
        assert!(!service.starts_at_boot().unwrap());
        assert_eq!(service.status().unwrap(), Status::NotInstalled);
        service.enable().unwrap();
        assert_eq!(service.remove().unwrap().outcome, Outcome::Done);
        assert!(!link.is_symlink());
        // A package's unit is what the link leads to.
        let packaged = Path::new("/lib/systemd/system/edgecore.service");
        let (files, at) = (&service.host.files, service.host.root.at(packaged));
        files.make_dir(at.parent().unwrap(), 0o755).unwrap();
        files.replace(&at, b"", 0o644).unwrap();
        service.enable().unwrap();
        assert_eq!(link.read_link().unwrap(), packaged);
        assert_eq!(calls(dir.path()), [""; 0]);
    }
}
