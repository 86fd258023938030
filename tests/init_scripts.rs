//! The scripts of init-scripts/ as they are: run by dash, by BusyBox's ash, by a real BusyBox init, and with
//! stand-ins for the functions that procd and OpenRC bring.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::device::{CONFIG, Device};
use common::rcs::Rcs;
use common::site::{Cloudcore, Said, Site};
use common::{Folder, KUBEEDGE, not_tried, put, wait_until};
use kubeedge::protocol::control::{
    EDGE_STATUS_SOCKET, EdgeOp, EdgeState, EdgeStatus, Request, call,
};
use kubeedge::system::processes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SHELLS: [&[&str]; 2] = [&["dash"], &["busybox", "ash"]];

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("init-scripts")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("it runs");
}

#[test]
fn s95edgecore_runs_a_real_edgecore() {
    for shell in SHELLS {
        let (cloud, device) = (Cloudcore::start(&[]), Device::new("rcs"));
        device.configure_for(&cloud, &cloud.token());
        let script = Rcs::install(&device, shell, LOG_LIMIT);
        assert_eq!(script.run("start").code, 5, "there is no program");
        fs::create_dir_all(device.path("/usr/local/bin")).expect("a folder");
        symlink(KUBEEDGE, device.path("/usr/local/bin/edgecore")).expect("a link");

        assert_eq!(script.run("status").code, 3);
        script.run("stop").ends(0);
        assert_ne!(script.run("reload").code, 0);
        script.run("start").ends(0);
        let pid = script.pid();
        script.run("status").ends(0);
        script.run("start").ends(0);
        assert_eq!(script.pid(), pid, "it was started twice");
        let status = || -> Option<EdgeStatus> {
            call(
                &device.path(EDGE_STATUS_SOCKET),
                &Request::new(EdgeOp::Status),
                common::LIMIT,
            )
            .ok()
        };
        let connected = || status().is_some_and(|it| it.state == EdgeState::Connected);
        wait_until("a session", connected);
        // A session of its own: no terminal takes it away.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let session = stat.rsplit(')').next().expect("fields").split(' ').nth(4);
        assert_eq!(session, Some(pid.to_string().as_str()));

        // A reload is heard of; the running edgecore goes on with what it had.
        let yaml = device.read(CONFIG);
        device.write(CONFIG, "modules: [", 0o640);
        script.run("reload").ends(0);
        wait_until("a complaint", || {
            status().is_some_and(|it| it.last_error.is_some())
        });
        device.write(CONFIG, &yaml, 0o640);
        assert_eq!(script.pid(), pid);

        // The log begins anew when it is full, and is a text then as before.
        let first = script.log().lines().next().map(str::to_owned);
        let first = first.expect("a line");
        let mut heartbeat = 20;
        wait_until("a log that began anew", || {
            heartbeat += 1;
            let faster = format!("  edgeHub:\n    heartbeat: {heartbeat}\n");
            device.write(CONFIG, &yaml.replace("  edgeHub:\n", &faster), 0o640);
            script.run("reload").ends(0);
            wait_until("a session", connected);
            !script.log().contains(&first)
        });
        let log = script.log();
        assert!(!log.contains('\0'), "{log:?}");
        assert!(log.len() as u64 <= LOG_LIMIT + LONGEST_LINES, "{log}");
        device.write(CONFIG, &yaml, 0o640);
        script.run("restart").ends(0);
        assert_ne!(script.pid(), pid);
        wait_until("a session", connected);
        let pid = script.pid();
        script.run("stop").ends(0);
        assert!(!processes::alive(pid) && !script.pid_file().exists());

        // After a crash the number is nobody's, or another's, who is left alone.
        let own = std::process::id().to_string();
        for stale in ["4194300", &own, "", "x"] {
            put(&script.pid_file(), stale, 0o644);
            assert_eq!(script.run("status").code, 1, "{stale}");
            script.run("start").ends(0);
            script.run("stop").ends(0);
        }
        assert_eq!(script.run("explode").code, 64);
    }
}

/// Bytes, in place of 256 KiB.
const LOG_LIMIT: u64 = 600;
/// Bytes of lines that are written at once.
const LONGEST_LINES: u64 = 1000;

/// A machine in namespaces of its own, with a BusyBox init as process 1 and what matters on disk.
struct Machine {
    folder: Folder,
    unshare: Option<Child>,
    init: u32,
}

impl Machine {
    /// None where that needs rights that we don't have.
    fn new() -> Option<Machine> {
        let folder = Folder::new();
        for name in ["etc", "run", "var", "local/bin"] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        symlink("/run", folder.path().join("var/run")).expect("a link");
        let mut allowed = Command::new("unshare");
        let allowed = allowed
            .args(["--mount", "--pid", "--fork", "true"])
            .status();
        if !processes::is_root() || !allowed.is_ok_and(|status| status.success()) {
            not_tried("BusyBox's init: it needs root, and namespaces of its own");
            return None;
        }
        Some(Machine {
            folder,
            unshare: None,
            init: 0,
        })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// With what an earlier life has left on the disk.
    fn boot(&mut self) {
        let script = "mount --bind etc /etc && mount --bind run /run && mount --bind var /var &&
            mount --bind local /usr/local && cd / && exec busybox init";
        let child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", script])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let parent = child.id();
        self.unshare = Some(child);
        wait_until("an init", || {
            let mut found = processes::find("init").into_iter();
            let found = found.find(|it| it.parent == parent && it.name == "busybox");
            self.init = found.map_or(0, |it| it.pid);
            self.init != 0
        });
    }

    /// Everything ends at once.
    fn cut_power(&mut self) {
        if let Some(mut unshare) = self.unshare.take() {
            send(self.init, Signal::SIGKILL);
            unshare.wait().expect("it ends");
        }
        // What was in memory.
        let _ = fs::remove_dir_all(self.path("run"));
        fs::create_dir(self.path("run")).expect("a folder");
    }

    fn command(&self, words: &[&str]) -> Said {
        let init = self.init.to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &init, "-m", "-p", "--"]).args(words);
        command.env_remove("KUBEEDGE_ROOT").stdin(Stdio::null());
        Said::of(command.output())
    }

    fn run(&self, words: &[&str]) -> Said {
        self.command(&[&[KUBEEDGE], words].concat())
    }

    fn join(&self, cloud: &Cloudcore, node: &str) -> Said {
        let (hub, api) = (format!("127.0.0.1:{}", cloud.hub), cloud.https.to_string());
        let token = cloud.token_file();
        let words = [
            "join",
            "-e",
            &hub,
            "-s",
            &api,
            "--token-file",
            &token,
            "-i",
            node,
        ];
        self.run(&[&words[..], &["-o", "json"]].concat())
    }

    /// Of the service, as the machine counts.
    fn pid(&self) -> u64 {
        let told = self.run(&["service", "status", "-o", "json"]).json();
        told["pid"].as_u64().unwrap_or(0)
    }

    fn is_connected(&self) -> bool {
        let socket = self.path(EDGE_STATUS_SOCKET.trim_start_matches('/'));
        let status: Result<EdgeStatus, _> =
            call(&socket, &Request::new(EdgeOp::Status), common::LIMIT);
        status.is_ok_and(|it| it.state == EdgeState::Connected)
    }

    fn reset_leaves_nothing(&self) {
        self.run(&["reset", "--force"]).ends(0);
        assert_eq!(self.pid(), 0);
        assert!(!self.path("etc/kubeedge").exists());
        assert!(!self.path("run/edgecore.pid").exists());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut_power();
    }
}

#[test]
fn a_real_busybox_init_supervises_it_by_inittab() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let cloud = Cloudcore::start(&[]);
    let before = "# ours\n::sysinit:/bin/true\n::respawn:/bin/sleep 1000000";
    put(&machine.path("etc/inittab"), before, 0o640);
    machine.boot();
    let told = machine.join(&cloud, "inittab").ends(0).json();
    assert_eq!(told["init"], "busybox");
    assert_eq!(told["startsAtBoot"], true);
    let line = format!("\n{}", text("busybox/inittab").trim_end());
    let inittab = || fs::read_to_string(machine.path("etc/inittab")).expect("inittab");
    assert!(inittab().starts_with(before) && inittab().ends_with(&line));
    assert_eq!(common::mode(&machine.path("etc/inittab")), 0o640);

    // Supervised.
    let pid = machine.pid();
    machine.command(&["kill", "-9", &pid.to_string()]).ends(0);
    wait_until("another edgecore", || ![0, pid].contains(&machine.pid()));
    wait_until("a session", || machine.is_connected());

    // Stopped is stopped: init makes another round, which the end of its sleep shows.
    machine.run(&["service", "stop"]).ends(0);
    machine.run(&["service", "status"]).ends(3);
    assert!(inittab().ends_with("\n#::respawn:/usr/local/bin/edgecore"));
    let sleeps = || {
        let mut found = processes::find("sleep").into_iter();
        found.find(|it| it.parent == machine.init)
    };
    let sleep = sleeps().expect("a sleep");
    send(sleep.pid, Signal::SIGKILL);
    wait_until("another sleep", || {
        sleeps().is_some_and(|it| it.pid != sleep.pid)
    });
    assert_eq!(machine.pid(), 0);
    machine.run(&["service", "start"]).ends(0);
    wait_until("a session", || machine.is_connected());

    let mut machine = machine;
    machine.cut_power();
    machine.boot();
    wait_until("a session after the boot", || machine.is_connected());
    machine.reset_leaves_nothing();
    let after = fs::read_to_string(machine.path("etc/inittab")).expect("inittab");
    assert_eq!(after, before);
}

#[test]
fn a_real_busybox_init_starts_it_by_rcs() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let cloud = Cloudcore::start(&[]);
    let rcs = "#!/bin/sh\nfor i in /etc/init.d/S??*; do [ ! -e \"$i\" ] || $i start; done\n";
    put(&machine.path("etc/init.d/rcS"), rcs, 0o755);
    // Without an inittab there are shells on consoles, which a test has not.
    machine.boot();
    let told = machine.join(&cloud, "rcs").ends(0).json();
    assert_eq!(told["init"], "rcs");
    assert_eq!(told["startsAtBoot"], true);
    machine.run(&["service", "status"]).ends(0);
    let said = machine.run(&["service", "disable"]).ends(69);
    assert!(said.out.contains("service remove"), "{}", said.out);
    machine.cut_power();
    machine.boot();
    wait_until("a session after the boot", || machine.is_connected());
    machine.run(&["service", "restart"]).ends(0);
    wait_until("a session", || machine.is_connected());
    machine.reset_leaves_nothing();
    assert!(!machine.path("etc/init.d/S95edgecore").exists());
    assert!(machine.path("etc/init.d/rcS").exists());
}

/// What rc.common brings, as far as our script uses it; every call of procd's functions is told.
const RC_COMMON: &str = r#"
initscript=$1
action=$2
config_load() { [ "$1" = kubeedge ]; }
config_get_bool() { eval "$1=\$ENABLED"; }
config_get() { eval "$1=\$LOG_LEVEL"; }
tell() { printf '%s\n' "$*"; }
for name in procd_open_instance procd_set_param procd_close_instance procd_add_reload_trigger \
    procd_add_interface_trigger procd_running procd_send_signal; do
    eval "$name() { tell $name \"\$@\"; }"
done
. "$initscript"
start() { start_service; service_triggers; }
tell "START=$START STOP=$STOP USE_PROCD=$USE_PROCD"
case $action in
    reload) reload_service ;;
    running) service_running ;;
    *) start ;;
esac
"#;

fn procd(shell: &[&str], script: &Path, action: &str, enabled: &str, level: &str) -> Vec<String> {
    let mut command = Command::new(shell[0]);
    command
        .args(&shell[1..])
        .args(["-c", RC_COMMON, "rc.common"]);
    // The script is the first word, as rc.common has it.
    command
        .arg(script)
        .arg(action)
        .env("ENABLED", enabled)
        .env("LOG_LEVEL", level);
    let said = Said::of(command.output()).ends(0);
    assert_eq!(said.err, "");
    said.out.lines().map(str::to_owned).collect()
}

#[test]
fn procd_is_told_to_keep_it_alive() {
    let folder = Folder::new();
    for (shell, (name, daemon)) in SHELLS.iter().flat_map(|shell| {
        let names = [
            ("edgecore", "edgecore"),
            ("S95edgecore", "edgecore"),
            ("K10cloudcore", "cloudcore"),
        ];
        names.map(|names| (shell, names))
    }) {
        let path = folder.path().join(name);
        put(&path, text("procd/edgecore"), 0o755);
        let told = procd(shell, &path, "start", "1", "");
        let instance = format!(
            "START=95 STOP=10 USE_PROCD=1
procd_open_instance
procd_set_param command /usr/local/bin/{daemon}
procd_set_param file /etc/kubeedge/config/{daemon}.yaml
procd_set_param respawn 3600 5 0
procd_set_param stdout 1
procd_set_param stderr 1
procd_set_param term_timeout 20
procd_set_param reload_signal HUP
procd_close_instance"
        );
        let triggers = format!(
            "procd_add_reload_trigger kubeedge
procd_add_interface_trigger interface.*.up wan /etc/init.d/{daemon} reload"
        );
        assert_eq!(told.join("\n"), format!("{instance}\n{triggers}"));
        let told = procd(shell, &path, "start", "1", "debug");
        assert!(told.contains(&"procd_set_param env KUBEEDGE_LOG=debug".to_owned()));
        // A change of UCI is heard of while it is off, too.
        let told = procd(shell, &path, "start", "0", "");
        assert_eq!(told[1..].join("\n"), triggers);
        let told = procd(shell, &path, "reload", "1", "");
        assert_eq!(told[1], format!("procd_send_signal {daemon}"));
        assert_eq!(told.last().map(String::as_str), triggers.lines().last());
        let told = procd(shell, &path, "running", "1", "");
        assert_eq!(told[1..], [format!("procd_running {daemon}")]);
    }
}

#[test]
fn openrc_is_told_to_keep_it_alive() {
    let folder = Folder::new();
    let path = folder.path().join("edgecore");
    put(&path, text("openrc/edgecore"), 0o755);
    let run = |shell: &[&str], script: &str, settings: &str| {
        let mut command = Command::new(shell[0]);
        command
            .args(&shell[1..])
            .args(["-eu", "-c", script, "openrc-run"]);
        command
            .arg(&path)
            .env("RC_SVCNAME", "edgecore")
            .env("SETTINGS", settings);
        let said = Said::of(command.output()).ends(0);
        assert_eq!(said.err, "");
        said.out
    };
    for shell in SHELLS {
        let show = "eval \"$SETTINGS\"; . \"$1\"
            echo $supervisor $command $pidfile $respawn_delay $respawn_max $extra_started_commands
            use() { echo use $*; }; after() { echo after $*; }; depend";
        let told = run(shell, show, "");
        let expected = "supervise-daemon /usr/local/bin/edgecore /run/edgecore.pid 5 0 reload\n\
                        use net dns logger\nafter firewall ntp-client\n";
        assert_eq!(told, expected);
        // conf.d is read before, and counts.
        assert!(run(shell, show, "respawn_delay=9").contains(" 9 0 reload"));
        run(
            shell,
            &format!("{}\n. \"$1\"", text("openrc/edgecore.confd")),
            "",
        );
        let reload = ". \"$1\"; ebegin() { :; }; eend() { return $1; }; reload";
        let stub = folder.path().join("supervise-daemon");
        put(&stub, "#!/bin/sh\necho $*\n", 0o755);
        let reload = format!("PATH={}:$PATH; {reload}", folder.path().display());
        let told = run(shell, &reload, "");
        assert_eq!(told, "edgecore --signal HUP --pidfile /run/edgecore.pid\n");
    }
}

/// What a package brings into `/usr/bin`.
fn packaged_program(site: &Site) -> PathBuf {
    let program = site.path("/usr/bin/kubeedge");
    fs::create_dir_all(site.path("/usr/bin")).expect("a folder");
    fs::copy(KUBEEDGE, &program).expect("the program is copied");
    for name in ["keadm", "edgecore", "cloudcore"] {
        symlink("kubeedge", site.path("/usr/bin").join(name)).expect("a link");
    }
    program
}

#[test]
fn what_a_package_brought_is_used_as_it_is() {
    let (cloud, site) = (Cloudcore::start(&[]), Site::new());
    let program = packaged_program(&site);
    let packaged = text("openrc/edgecore").replace("/usr/local/bin", "/usr/bin");
    site.write("/etc/init.d/edgecore", &packaged, 0o755);
    let run = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).env("KUBEEDGE_ROOT", site.path("/"));
        Said::of(command.stdin(Stdio::null()).output())
    };
    let (hub, api) = (format!("127.0.0.1:{}", cloud.hub), cloud.https.to_string());
    let token = cloud.token_file();
    let words = [
        "join",
        "-e",
        &hub,
        "-s",
        &api,
        "--token-file",
        &token,
        "-i",
        "packaged",
    ];
    run(&[&words[..], &["--init", "openrc"]].concat()).ends(0);
    assert_eq!(site.read("/etc/init.d/edgecore"), packaged);
    assert!(site.has("/etc/runlevels/default/edgecore") && !site.has("/usr/local"));
    let pid = site.connected().pid;
    let executable = fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
    assert_eq!(executable, program.canonicalize().expect("it is there"));
    run(&["reset", "--force"]).ends(0);
    assert!(!processes::alive(pid) && program.exists());
    assert_eq!(site.read("/etc/init.d/edgecore"), packaged);
    assert!(!site.has("/etc/runlevels/default/edgecore") && !site.has("/etc/kubeedge"));
    // Where the package has no script, one is written for where the program is.
    fs::remove_file(site.path("/etc/init.d/edgecore")).expect("it was there");
    run(&["service", "install", "--init", "openrc"]).ends(0);
    assert!(
        site.read("/etc/init.d/edgecore")
            .contains("command=/usr/bin/")
    );
    assert!(site.has("/etc/conf.d/edgecore"));
    run(&["service", "remove", "--init", "openrc"]).ends(0);
    assert!(!site.has("/etc/init.d/edgecore") && !site.has("/etc/conf.d/edgecore"));
}

/// By the words of docs/installing.md, "From the archive to a package".
#[test]
fn a_package_takes_over_from_the_archive() {
    let (script, options) = ("/etc/init.d/edgecore", "/etc/config/kubeedge");
    let after_join = || {
        let site = Site::new();
        site.write(CONFIG, "# mine\n", 0o600);
        site.run(&["--install", "/usr/local/bin"]).ends(0);
        for action in ["install", "enable"] {
            site.run(&["service", action, "--init", "procd"]).ends(0);
        }
        let text = site.read(options) + "\toption log_level 'debug'\n";
        site.write(options, &text, 0o600);
        packaged_program(&site);
        (site, text)
    };
    let by_package = |site: &Site| {
        for action in ["install", "enable"] {
            let mut command = Command::new(site.path("/usr/bin/kubeedge"));
            command.args(["service", action, "--init", "procd"]);
            command.env("KUBEEDGE_ROOT", site.path("/"));
            Said::of(command.stdin(Stdio::null()).output()).ends(0);
        }
    };
    // opkg has put its own in the place of what join wrote.
    let (site, before) = after_join();
    let packaged = text("procd/edgecore").replace("/usr/local/bin", "/usr/bin");
    site.write(script, &packaged, 0o755);
    by_package(&site);
    assert_eq!(site.read(script), packaged);
    assert!(site.has("/etc/rc.d/S95edgecore"));
    assert_eq!(
        (site.read(options), site.read(CONFIG)),
        (before, "# mine\n".to_owned())
    );
    // A firmware upgrade has kept what join wrote.
    let (site, before) = after_join();
    assert!(site.read(script).contains("/usr/local/bin/"));
    by_package(&site);
    let now = site.read(script);
    assert!(now.contains("\"/usr/bin/$N\"") && !now.contains("/usr/local/bin/"));
    assert_eq!(
        (site.read(options), site.read(CONFIG)),
        (before, "# mine\n".to_owned())
    );
}

#[test]
fn service_by_hand() {
    let site = Site::new();
    // A script alone is printed as it is, mark and all.
    let printed = site.run(&["service", "print", "--init", "rcs"]).ends(0).out;
    let script = text("busybox/S95edgecore");
    let (first, rest) = script.split_once('\n').expect("lines");
    assert!(printed.starts_with(first) && printed.ends_with(rest));
    for daemon in ["edgecore", "cloudcore"] {
        let words = ["service", "print", "--init=busybox", "--daemon", daemon];
        let line = format!("\n::respawn:/usr/local/bin/{daemon}\n");
        assert!(site.run(&words).ends(0).out.ends_with(&line));
    }
    let words = [
        "service",
        "print",
        "--init=procd",
        "--daemon=cloudcore",
        "-o=json",
    ];
    let told = site.run(&words).ends(0).json();
    assert_eq!(told["init"], "procd");
    let path = site.path("/etc/init.d/cloudcore").display().to_string();
    assert_eq!(told["files"][0]["path"], path);

    let service = |action: &str| site.run(&["service", action, "--init", "busybox"]);
    let said = service("install").ends(1);
    assert!(
        said.fault("kubeedge service")
            .contains("/usr/local/bin/edgecore"),
        "{}",
        said.err
    );
    site.run(&["--install", "/usr/local/bin"]).ends(0);
    let said = service("start").ends(1);
    assert!(
        said.fault("kubeedge service").contains("service install"),
        "{}",
        said.err
    );
    let told = site
        .run(&["service", "install", "--init=busybox", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(
        (&told["startsAtBoot"], &told["running"]),
        (&true.into(), &false.into())
    );
    assert!(
        site.read("/etc/inittab")
            .ends_with("\n::respawn:/usr/local/bin/edgecore\n")
    );
    service("disable").ends(0);
    service("status").ends(3);
    service("enable").ends(0);
    service("remove").ends(0);
    assert_eq!(site.read("/etc/inittab"), "");
    let said = site.run(&["service", "status", "--init", "openrc"]).ends(4);
    assert!(said.out.contains("is not installed"), "{}", said.out);

    let said = site.run(&["service", "strat"]).ends(64);
    assert!(said.err.contains("did you mean start?"), "{}", said.err);
    site.run(&["service", "start", "--init", "upstart"])
        .ends(64);
    site.run(&["service", "start", "--daemon", "kubelet"])
        .ends(64);
    let completed = site.run(&["completion", "bash"]).ends(0).out;
    assert!(
        completed.contains("install remove start stop restart"),
        "{completed}"
    );
}
