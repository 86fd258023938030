//! Which init system runs this machine: by what process 1 is and has left in /run, and not by which
//! programs there are.

use super::{Choice, inittab, rcs};
use crate::system::root::Root;

/// `Choice::None` when it is none that we know, as in a container.
pub fn running(root: &Root) -> Choice {
    if root.at("/run/systemd/system").is_dir() {
        return Choice::Systemd;
    }
    let names = names_of_first(root);
    let is = |name: &str| names.iter().any(|found| found == name);
    // On Alpine BusyBox is process 1, and has OpenRC do all the work.
    if is("openrc-init") || root.at("/run/openrc/softlevel").exists() {
        Choice::OpenRc
    } else if is("procd") {
        Choice::Procd
    } else if !["busybox", "init", "linuxrc"].iter().any(|name| is(name)) {
        Choice::None
    } else if inittab::is_busybox(root) {
        Choice::BusyBox
    } else if rcs::is_there(root) {
        Choice::Rcs
    } else {
        Choice::None
    }
}

/// The file name of its executable, for root alone to see, and what the kernel calls it.
fn names_of_first(root: &Root) -> Vec<String> {
    let executable = root.at("/proc/1/exe").read_link().ok();
    let file = executable.as_deref().and_then(|path| path.file_name());
    let comm = std::fs::read_to_string(root.at("/proc/1/comm")).ok();
    let file = file.map(|name| name.to_string_lossy().into_owned());
    let comm = comm.map(|comm| comm.trim_end().to_owned());
    file.into_iter().chain(comm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;
    use std::path::Path;

    fn found(executable: &str, comm: &str, files: &[(&str, &str)]) -> Choice {
        let dir = Scratch::new();
        let put = |path: &str, content: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        put("proc/1/comm", &format!("{comm}\n"));
        std::os::unix::fs::symlink(Path::new(executable), dir.path().join("proc/1/exe")).unwrap();
        for (path, content) in files {
            put(path, content);
        }
        running(&Root::new(Some(dir.path().into())))
    }

    #[test]
    fn process_1_decides() {
        let busybox = (
            "etc/inittab",
            "::sysinit:/etc/init.d/rcS\n::respawn:/bin/sh\n",
        );
        let sysv = (
            "etc/inittab",
            "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\n",
        );
        let rcs = (
            "etc/init.d/rcS",
            "for i in /etc/init.d/S??* ; do $i start; done\n",
        );
        let debian = ("etc/init.d/rcS", "exec /etc/init.d/rc S\n");
        let softlevel = ("run/openrc/softlevel", "default\n");
        let (booted, programs) = (
            ("run/systemd/system/x", ""),
            [
                ("bin/systemctl", ""),
                ("sbin/openrc-run", ""),
                ("etc/rc.common", ""),
            ],
        );
        for (executable, comm, files, expected) in [
            (
                "/usr/lib/systemd/systemd",
                "systemd",
                &[booted][..],
                Choice::Systemd,
            ),
            ("/sbin/procd", "procd", &[busybox], Choice::Procd),
            (
                "/bin/busybox",
                "init",
                &[busybox, softlevel],
                Choice::OpenRc,
            ),
            ("/sbin/openrc-init", "openrc-init", &[], Choice::OpenRc),
            ("/bin/busybox", "init", &[busybox, rcs], Choice::BusyBox),
            ("/sbin/init", "init", &[busybox], Choice::BusyBox),
            ("/bin/busybox", "init", &[rcs], Choice::Rcs),
            ("/bin/busybox", "init", &[], Choice::None),
            ("/sbin/init", "init", &[sysv, debian], Choice::None),
            ("/sbin/init", "init", &[sysv, rcs], Choice::Rcs),
            ("/bin/sh", "sh", &[busybox, rcs], Choice::None),
            ("/bin/dash", "sh", &programs, Choice::None),
        ] {
            assert_eq!(
                found(executable, comm, files),
                expected,
                "{executable} {files:?}"
            );
        }
        assert_eq!(running(&Root::new(Some("/nowhere".into()))), Choice::None);
    }
}
