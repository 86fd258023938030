//! A daemon of ours: its names, and the folder it is started from.

use std::path::{Path, PathBuf};

use crate::system::processes;
use crate::system::root::Root;

#[derive(Clone, Debug)]
pub struct Daemon {
    /// Of the service and of the program.
    pub name: &'static str,
    /// The file to start when we start it ourselves, root prefix included.
    pub executable: PathBuf,
    /// For the same case.
    pub arguments: Vec<String>,
    /// Of the executables, without root prefix.
    pub(super) folder: &'static str,
    pub(super) unit: &'static str,
}

impl Daemon {
    pub fn edgecore(root: &Root) -> Daemon {
        Daemon::new(
            root,
            "edgecore",
            include_str!("../../../init-scripts/systemd/edgecore.service"),
        )
    }

    pub fn cloudcore(root: &Root) -> Daemon {
        Daemon::new(
            root,
            "cloudcore",
            include_str!("../../../init-scripts/systemd/cloudcore.service"),
        )
    }

    fn new(root: &Root, name: &'static str, unit: &'static str) -> Daemon {
        let own = processes::own_executable().unwrap_or_default();
        let folder = folder_of(root, &own);
        Daemon {
            name,
            executable: root.at(Path::new(folder).join(name)),
            arguments: Vec::new(),
            folder,
            unit,
        }
    }

    /// A text that names `/usr/local/bin`, for the folder where the executables are.
    pub(super) fn adapted(&self, text: &str) -> String {
        text.replace(LOCAL, self.folder)
    }

    /// Whether those executables came with a package.
    pub(super) fn is_packaged(&self) -> bool {
        self.folder == PACKAGED
    }
}

/// Where the executables are, or belong, when `executable` is what they are links to: what a
/// package brought stays where it is.
pub fn folder_of(root: &Root, executable: &Path) -> &'static str {
    let packaged = root.at(PACKAGED).join("kubeedge");
    match (packaged.canonicalize(), executable.canonicalize()) {
        (Ok(packaged), Ok(executable)) if packaged == executable => PACKAGED,
        _ => LOCAL,
    }
}

/// Where executables of ours may be.
pub const FOLDERS: [&str; 2] = [LOCAL, PACKAGED];
const LOCAL: &str = "/usr/local/bin";
const PACKAGED: &str = "/usr/bin";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::Files;
    use crate::system::scratch::Scratch;

    #[test]
    fn what_a_package_brought_stays_where_it_is() {
        let (dir, files) = (Scratch::new(), Files::real());
        let root = Root::new(Some(dir.path().into()));
        let [own, packaged] = ["mine", "usr/bin/kubeedge"].map(|name| dir.path().join(name));
        files.replace(&own, b"", 0o755).unwrap();
        assert_eq!(folder_of(&root, &own), LOCAL);
        files.make_dir(&root.at(PACKAGED), 0o755).unwrap();
        files.replace(&packaged, b"", 0o755).unwrap();
        let link = dir.path().join("usr/bin/keadm");
        files.symlink(Path::new("kubeedge"), &link).unwrap();
        assert_eq!(folder_of(&root, &own), LOCAL);
        assert_eq!(folder_of(&root, &packaged), PACKAGED);
        assert_eq!(folder_of(&root, &link), PACKAGED);
        assert_eq!(folder_of(&root, Path::new("")), LOCAL);
    }

    #[test]
    fn units_have_what_keeps_a_device_alive() {
        let root = Root::default();
        for daemon in [Daemon::edgecore(&root), Daemon::cloudcore(&root)] {
            let executable = format!("ExecStart={}", daemon.executable.display());
            for line in [
                executable.as_str(),
                "After=network-online.target",
                "KillMode=mixed",
                "Restart=always",
                "RestartSec=5",
                "StartLimitIntervalSec=0",
                "Type=notify",
                "Wants=network-online.target",
                "WantedBy=multi-user.target",
            ] {
                assert!(
                    daemon.unit.lines().any(|found| found == line),
                    "{}: {line}",
                    daemon.name
                );
            }
            for forbidden in [
                "CapabilityBoundingSet=CAP_",
                "LockPersonality=yes",
                "MemoryDenyWriteExecute=yes",
                "NoNewPrivileges=yes",
                "PrivateTmp=yes",
                "ProtectControlGroups=yes",
                "ProtectHome=",
                "ProtectKernelModules=yes",
                "ProtectKernelTunables=yes",
                "ProtectSystem=strict",
                "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX",
                "RestrictNamespaces=yes",
                "RestrictRealtime=yes",
                "RestrictSUIDSGID=yes",
                "UMask=0077",
            ] {
                let mut lines = daemon.unit.lines();
                assert!(
                    lines.any(|found| found.starts_with(forbidden)),
                    "{}: {forbidden}",
                    daemon.name
                );
            }
            let is_watched = daemon.unit.contains("\nWatchdogSec=120\n");
            assert_eq!(is_watched, daemon.name == "edgecore");
            let other = if daemon.name == "edgecore" {
                "cloudcore"
            } else {
                "edgecore"
            };
            assert!(!daemon.unit.contains(other));
        }
    }
}
