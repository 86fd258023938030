//! Each system below a scratch root: the files it writes, and what it asks of stubs. The real
//! scripts are run in tests/init_scripts.rs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::call::Program;
use super::*;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

struct Site {
    dir: Scratch,
    host: Host,
}

impl Site {
    fn new() -> Site {
        let dir = Scratch::new();
        let host = Host::real(Root::new(Some(dir.path().into())));
        Site { dir, host }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, content: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        self.host
            .files
            .replace(&path, content.as_bytes(), 0o755)
            .unwrap();
        path
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    /// Every file and link but the stubs'.
    fn files(&self) -> Vec<String> {
        let (mut found, mut folders) = (Vec::new(), vec![self.dir.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push(entry.path()),
                }
            }
        }
        let relative = |path: &PathBuf| {
            let path = path.strip_prefix(self.dir.path()).unwrap();
            path.display().to_string()
        };
        let mut names: Vec<String> = found.iter().map(relative).collect();
        names.retain(|name| !name.starts_with("stub") && name != "etc/rc.common");
        names.sort();
        names
    }

    /// A program that can be started: a child of another test may hold it open for a moment.
    fn stub(&self, script: &str) -> PathBuf {
        let path = self.put("stub/program", script);
        let busy = Some(io::ErrorKind::ExecutableFileBusy);
        while Command::new(&path).output().err().map(|error| error.kind()) == busy {
            sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_file(self.at("stub/calls"));
        path
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.at("stub/calls")).unwrap_or_default()
    }

    fn daemon(&self) -> Daemon {
        Daemon::edgecore(&self.host.root)
    }
}

const UBUS: &str = r#"#!/bin/sh
cd "${0%/*}"
[ "$*" = 'call service list {"name":"edgecore"}' ] || exit 4
if [ -e running ]; then
    echo '{"edgecore":{"instances":{"instance1":{"running":true,"pid":4194300}}}}'
elif [ -e waiting ]; then
    echo '{"edgecore":{"instances":{"instance1":{"running":false}}}}'
else
    echo '{}'
fi
"#;
const RC_COMMON: &str = r#"cd "${0%/*}/../stub"
echo "${1##*/etc/} $2" >> calls
case $2 in start) [ -e broken ] || touch running ;; stop) rm -f running waiting ;; esac
"#;

#[test]
fn procd_from_install_to_remove() {
    let site = Site::new();
    site.put("etc/rc.common", RC_COMMON);
    let mut service = Procd::new(&site.host, site.daemon());
    let stub = site.stub(UBUS);
    service.ubus = Some(Program::at(&stub, "ubus"));
    assert_eq!(service.status().unwrap(), Status::NotInstalled);
    assert_eq!(service.install().unwrap().outcome, Outcome::Done);
    assert_eq!(service.install().unwrap(), Report::nothing());
    assert_eq!(service.status().unwrap(), Status::Stopped);
    assert!(!service.starts_at_boot().unwrap());
    assert_eq!(service.enable().unwrap().touched.len(), 3);
    assert_eq!(service.enable().unwrap(), Report::nothing());
    assert!(service.starts_at_boot().unwrap());
    let all = [
        "etc/config/kubeedge",
        "etc/init.d/edgecore",
        "etc/rc.d/K10edgecore",
        "etc/rc.d/S95edgecore",
        "lib/upgrade/keep.d/kubeedge",
    ];
    assert_eq!(site.files(), all);
    let modes = [
        ("etc/config/kubeedge", 0o600),
        ("etc/init.d/edgecore", 0o755),
    ];
    for (path, mode) in modes {
        assert_eq!(
            site.host.files.mode(&site.at(path)).unwrap(),
            mode,
            "{path}"
        );
    }
    let link = fs::read_link(site.at("etc/rc.d/S95edgecore")).unwrap();
    assert_eq!(link, Path::new("../init.d/edgecore"));
    // Whatever an upgrade would take away is in the list, and the list too.
    let kept = site.read("lib/upgrade/keep.d/kubeedge");
    let programs = ["kubeedge", "edgecore", "keadm"].map(|name| format!("usr/local/bin/{name}"));
    for path in all.iter().map(|path| (*path).to_owned()).chain(programs) {
        assert!(
            kept.lines().any(|line| line == format!("/{path}")),
            "{path}"
        );
    }
    assert!(kept.lines().any(|line| line == "/etc/kubeedge/"));

    service.start().unwrap();
    assert_eq!(service.status().unwrap(), Status::Running(Some(4_194_300)));
    assert_eq!(service.start().unwrap(), Report::nothing());
    service.stop().unwrap();
    assert_eq!(service.stop().unwrap(), Report::nothing());
    assert_eq!(
        site.calls(),
        "init.d/edgecore start\ninit.d/edgecore stop\n"
    );
    site.put("stub/broken", "");
    let error = service.start().unwrap_err().to_string();
    assert!(error.contains("did not start edgecore"), "{error}");

    service.disable().unwrap();
    assert!(!service.starts_at_boot().unwrap());
    service.enable().unwrap();
    service.remove().unwrap();
    assert_eq!(site.files(), [""; 0]);
    assert_eq!(service.remove().unwrap(), Report::nothing());
}

#[test]
fn procd_knows_that_it_is_off_before_it_stops() {
    let site = Site::new();
    let look = "; grep -o \"enabled '.'\" ../etc/config/kubeedge >> calls ;;";
    site.put(
        "etc/rc.common",
        &RC_COMMON.replace("waiting ;;", &format!("waiting{look}")),
    );
    let mut service = Procd::new(&site.host, site.daemon());
    service.ubus = Some(Program::at(&site.stub(UBUS), "ubus"));
    service.install().unwrap();
    service.enable().unwrap();
    service.start().unwrap();
    for result in end(&service) {
        result.unwrap();
    }
    let calls = site.calls();
    let (_, then) = calls.split_once("init.d/edgecore stop\n").unwrap();
    assert_eq!(then.lines().next(), Some("enabled '0'"), "{calls}");
}

#[test]
fn procd_stops_what_waits_for_its_next_start() {
    let site = Site::new();
    site.put("etc/rc.common", RC_COMMON);
    let mut service = Procd::new(&site.host, site.daemon());
    service.ubus = Some(Program::at(&site.stub(UBUS), "ubus"));
    service.install().unwrap();
    site.put("stub/waiting", "");
    assert_eq!(service.status().unwrap(), Status::Stopped);
    assert_eq!(service.stop().unwrap().outcome, Outcome::Done);
    assert_eq!(site.calls(), "init.d/edgecore stop\n");
    assert_eq!(service.stop().unwrap(), Report::nothing());
}

#[test]
fn procd_leaves_to_a_package_what_is_its_own() {
    let site = Site::new();
    let script = include_str!("../../../init-scripts/procd/edgecore");
    let script = script.replace("/usr/local/bin", "/usr/bin");
    site.put("etc/init.d/edgecore", &script);
    site.put("lib/upgrade/keep.d/kubeedge", "/etc/kubeedge/\n");
    site.put(
        "etc/config/kubeedge",
        "config edgecore 'edgecore'\n\toption enabled '0'\n",
    );
    let before = site.files();
    let service = Procd::new(&site.host, site.daemon());
    assert!(service.is_installed() && !service.is_ours());
    assert_eq!(service.install().unwrap(), Report::nothing());
    service.enable().unwrap();
    assert!(service.starts_at_boot().unwrap());
    service.remove().unwrap();
    assert!(!service.starts_at_boot().unwrap());
    assert_eq!(site.read("etc/init.d/edgecore"), script);
    assert!(before.iter().all(|path| site.at(path).exists()));
}

#[test]
fn procd_gives_back_what_a_firmware_brings_anew() {
    let site = Site::new();
    let daemon = Daemon {
        folder: "/usr/bin",
        ..site.daemon()
    };
    let [loose, packaged] = [site.daemon(), daemon].map(|it| Procd::new(&site.host, it));
    let kept = || site.read("lib/upgrade/keep.d/kubeedge");
    loose.install().unwrap();
    assert!(kept().contains("\n/usr/local/bin/kubeedge\n"));
    // Put there by hand, nothing brings it back.
    packaged.install().unwrap();
    assert!(kept().contains("\n/usr/bin/kubeedge\n"));
    for name in [
        "lib/apk/packages/kubeedge",
        "usr/lib/opkg/info/kubeedge-edge",
    ] {
        loose.install().unwrap();
        let list = site.put(&format!("{name}.list"), "");
        assert_eq!(packaged.install().unwrap().touched.len(), 2, "{name}");
        assert_eq!(kept(), include_str!("../../../init-scripts/procd/keep.d"));
        let script = site.read("etc/init.d/edgecore");
        assert!(script.contains("/usr/bin/$N") && !packaged.is_ours());
        packaged.remove().unwrap();
        assert_eq!(site.read("etc/init.d/edgecore"), script);
        // So has a reset at once.
        fs::remove_file(site.at("etc/init.d/edgecore")).unwrap();
        fs::remove_file(site.at("lib/upgrade/keep.d/kubeedge")).unwrap();
        loose.install().unwrap();
        packaged.remove().unwrap();
        assert_eq!(site.read("etc/init.d/edgecore"), script);
        fs::remove_file(list).unwrap();
        fs::remove_file(site.at("etc/init.d/edgecore")).unwrap();
        fs::remove_file(site.at("lib/upgrade/keep.d/kubeedge")).unwrap();
    }
}

#[test]
fn procd_keeps_what_the_other_daemon_needs() {
    let site = Site::new();
    let edge = Procd::new(&site.host, site.daemon());
    let cloud = Procd::new(&site.host, Daemon::cloudcore(&site.host.root));
    for service in [&edge, &cloud] {
        service.install().unwrap();
        service.enable().unwrap();
    }
    edge.remove().unwrap();
    assert!(cloud.starts_at_boot().unwrap());
    assert!(site.at("lib/upgrade/keep.d/kubeedge").exists());
    cloud.remove().unwrap();
    assert_eq!(site.files(), [""; 0]);
}

const RC_SERVICE: &str = r#"#!/bin/sh
cd "${0%/*}"
echo "$*" >> calls
case $2 in
    start) touch running ;;
    stop) rm running ;;
    status) [ -e running ] || exit 3 ;;
esac
"#;

#[test]
fn openrc_from_install_to_remove() {
    let site = Site::new();
    let mut service = OpenRc::new(&site.host, site.daemon());
    let stub = site.stub(RC_SERVICE);
    service.rc_service = Some(Program::at(&stub, "rc-service"));
    assert_eq!(service.status().unwrap(), Status::NotInstalled);
    assert_eq!(service.install().unwrap().touched.len(), 2);
    assert_eq!(service.install().unwrap(), Report::nothing());
    service.enable().unwrap();
    assert!(service.starts_at_boot().unwrap());
    let all = [
        "etc/conf.d/edgecore",
        "etc/init.d/edgecore",
        "etc/runlevels/default/edgecore",
    ];
    assert_eq!(site.files(), all);
    let link = fs::read_link(site.at("etc/runlevels/default/edgecore")).unwrap();
    assert_eq!(link, Path::new("/etc/init.d/edgecore"));

    service.start().unwrap();
    site.put("run/openrc/options/edgecore/child_pid", "77\n");
    assert_eq!(service.status().unwrap(), Status::Running(Some(77)));
    assert_eq!(service.start().unwrap(), Report::nothing());
    service.stop().unwrap();
    assert_eq!(service.status().unwrap(), Status::Stopped);
    let calls = site.calls();
    let calls: Vec<&str> = calls
        .lines()
        .filter(|line| !line.ends_with("status"))
        .collect();
    assert_eq!(calls, ["edgecore zap", "edgecore start", "edgecore stop"]);

    service.disable().unwrap();
    assert!(!service.starts_at_boot().unwrap());
    fs::remove_dir_all(site.at("run")).unwrap();
    service.remove().unwrap();
    assert_eq!(site.files(), [""; 0]);

    // Somebody's settings stay.
    site.put("etc/conf.d/edgecore", "command_args=-v4\n");
    service.install().unwrap();
    service.remove().unwrap();
    assert_eq!(site.files(), ["etc/conf.d/edgecore"]);
}

#[test]
fn rcs_and_inittab_start_what_is_there() {
    let site = Site::new();
    let script = Rcs::new(&site.host, site.daemon());
    assert_eq!(script.disable().unwrap(), Report::nothing());
    script.install().unwrap();
    assert_eq!(script.install().unwrap(), Report::nothing());
    assert_eq!(site.files(), ["etc/init.d/S95edgecore"]);
    assert!(script.starts_at_boot().unwrap());
    assert!(matches!(
        script.disable().unwrap().outcome,
        Outcome::Impossible(_)
    ));
    script.remove().unwrap();
    assert_eq!(site.files(), [""; 0]);

    let before = "::sysinit:/etc/init.d/rcS\n::respawn:/bin/sh\n";
    let path = site.put("etc/inittab", before);
    site.host.files.set_mode(&path, 0o600).unwrap();
    let line = Inittab::new(&site.host, site.daemon());
    assert!(!line.is_installed());
    let whole = line.files().unwrap();
    line.install().unwrap();
    assert_eq!(whole, [(path.clone(), site.read("etc/inittab"))]);
    assert!(whole[0].1.starts_with(before));
    assert_eq!(line.install().unwrap(), Report::nothing());
    assert!(line.starts_at_boot().unwrap() && line.is_ours());
    assert!(
        site.read("etc/inittab")
            .ends_with("\n::respawn:/usr/local/bin/edgecore\n")
    );
    line.disable().unwrap();
    assert!(line.is_installed() && !line.starts_at_boot().unwrap());
    line.remove().unwrap();
    assert_eq!(site.read("etc/inittab"), before);
    assert_eq!(site.host.files.mode(&path).unwrap(), 0o600);

    let sysv = "id:2:initdefault:\n";
    site.put("etc/inittab", sysv);
    let error = line.install().unwrap_err().to_string();
    assert!(error.contains("BusyBox"), "{error}");
    assert!(line.files().is_err());
    assert_eq!(site.read("etc/inittab"), sysv);
}

#[test]
fn what_another_choice_left_is_given_up() {
    let site = Site::new();
    site.put("etc/inittab", "::sysinit:/etc/init.d/rcS\n");
    let others = [
        Choice::Systemd,
        Choice::OpenRc,
        Choice::BusyBox,
        Choice::Rcs,
    ];
    for choice in others {
        let service = detect(&site.host, site.daemon(), choice);
        service.install().unwrap();
        assert!(is_any_ours(&site.host, &site.daemon()));
    }
    let kept = detect(&site.host, site.daemon(), Choice::OpenRc);
    for result in give_up(&site.host, &site.daemon(), Some(&*kept)) {
        result.unwrap();
    }
    let files = ["etc/conf.d/edgecore", "etc/init.d/edgecore", "etc/inittab"];
    assert_eq!(site.files(), files);
    for result in give_up(&site.host, &site.daemon(), None) {
        result.unwrap();
    }
    assert_eq!(site.files(), ["etc/inittab"]);
    assert!(!is_any_ours(&site.host, &site.daemon()));
}

#[test]
fn on_busybox_a_script_that_is_there_does() {
    let site = Site::new();
    site.put("etc/inittab", "::sysinit:/etc/init.d/rcS\n");
    site.put("proc/1/comm", "init\n");
    let kind = || detect(&site.host, site.daemon(), Choice::Auto).kind();
    assert_eq!(kind(), "busybox");
    site.put("etc/init.d/S95edgecore", "#!/bin/sh\n");
    assert_eq!(kind(), "rcs");
    detect(&site.host, site.daemon(), Choice::BusyBox)
        .install()
        .unwrap();
    assert_eq!(kind(), "busybox");
}

#[test]
fn texts_for_both_daemons_are_one() {
    for [edge, cloud] in [
        [
            include_str!("../../../init-scripts/procd/edgecore"),
            include_str!("../../../init-scripts/procd/cloudcore"),
        ],
        [
            include_str!("../../../init-scripts/openrc/edgecore"),
            include_str!("../../../init-scripts/openrc/cloudcore"),
        ],
        [
            include_str!("../../../init-scripts/openrc/edgecore.confd"),
            include_str!("../../../init-scripts/openrc/cloudcore.confd"),
        ],
        [
            include_str!("../../../init-scripts/busybox/S95edgecore"),
            include_str!("../../../init-scripts/busybox/S95cloudcore"),
        ],
    ] {
        assert_eq!(edge, cloud);
    }
    let site = Site::new();
    let daemon = Daemon {
        folder: "/usr/bin",
        ..site.daemon()
    };
    let files = |choice| detect(&site.host, daemon.clone(), choice).files().unwrap();
    for choice in Choice::ALL {
        for (path, text) in files(*choice) {
            assert!(!text.contains("/usr/local/bin"), "{}", path.display());
        }
    }
}
