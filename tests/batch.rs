//! `batch` against a real sshd of this machine: what arrives there, who is trusted, and what the report says.

mod common;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use common::{Folder, KUBEEDGE, put};
use serde_json::Value;

/// An operator's folder, and a device that all its nodes are.
struct Site {
    folder: Folder,
    sshd: Sshd,
}

/// Takes connections and gives each to an sshd of its own.
struct Sshd {
    port: u16,
    ends: Arc<AtomicBool>,
    door: Option<JoinHandle<()>>,
    children: Arc<Mutex<Vec<Child>>>,
}

impl Sshd {
    fn start(folder: &Path) -> Sshd {
        let config = folder.join("sshd_config");
        let text = format!(
            "HostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n",
            folder.display()
        );
        put(&config, text, 0o600);
        if nix::unistd::Uid::effective().is_root() {
            // As its package does at boot.
            fs::create_dir_all("/run/sshd").expect("sshd's own folder");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (ends, children) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (end, kept): (_, Arc<Mutex<Vec<Child>>>) = (ends.clone(), Arc::clone(&children));
        let door = thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let stream: OwnedFd = stream.expect("a connection").into();
                let child = Command::new("/usr/sbin/sshd")
                    .arg("-i")
                    .arg("-f")
                    .arg(&config)
                    .stdin(stream.try_clone().expect("a second one"))
                    .stdout(stream)
                    .stderr(Stdio::null())
                    .spawn();
                let child = child.expect("sshd is there: tests/setup.sh installs it");
                kept.lock().expect("no panic").push(child);
            }
        });
        Sshd {
            port,
            ends,
            door: Some(door),
            children,
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(door) = self.door.take() {
            let _ = door.join();
        }
        for child in self.children.lock().expect("no panic").iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Site {
    fn new() -> Site {
        let folder = Folder::new();
        for name in ["host", "user", "stranger"] {
            let file = folder.path().join(name);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&file)
                .status();
            assert!(made.expect("ssh-keygen is there").success());
        }
        let sshd = Sshd::start(folder.path());
        let site = Site { folder, sshd };
        let public = |name: &str| fs::read_to_string(site.path(name)).expect("a key");
        put(&site.path("authorized"), public("user.pub"), 0o600);
        let known = format!("[127.0.0.1]:{} {}", site.sshd.port, public("host.pub"));
        put(&site.path("known"), known, 0o600);
        site.ssh_config("known");
        // What stands for keadm there tells what it was told.
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = fail ] && {{ echo it went wrong >&2; exit 3; }}\n\
             while [ \"$1\" = hang ] && [ -e {0}/hang ]; do sleep 0.1; done\n\
             {{ echo \"$@\"; cat; echo; ls; pwd; }} > {0}/told-$2\necho all is well\n",
            site.folder.path().display()
        );
        let own = site.path("dist").join(go_arch());
        fs::create_dir_all(&own).expect("a folder");
        put(&own.join("kubeedge"), script, 0o755);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ssh_config(&self, known: &str) {
        let known = self.path(known);
        let text = format!(
            "UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nIdentityAgent none\n",
            known.display()
        );
        put(&self.path("ssh_config"), text, 0o600);
    }

    /// A node of the file: its name, what it is told, the key that is shown to it.
    fn node(&self, name: &str, command: &str, key: &str) -> String {
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective());
        let user = user.expect("users are known").expect("a user").name;
        format!(
            "- nodeName: {name}\n  keadmCmd: {command}\n  ssh:\n    ip: 127.0.0.1\n    port: {}\n    username: {user}\n    \
             auth: {{type: privateKey, privateKeyAuth: {{privateKeyPath: {}}}}}\n",
            self.sshd.port,
            self.path(key).display()
        )
    }

    fn write(&self, nodes: &[String]) {
        let text = format!(
            "keadm:\n  offlinePackageDir: {}\n  archGroup: [{}]\n  cmdTplArgs: {{token: \"{TOKEN}\", cloud: 'h:1'}}\n\
             maxRunNum: 2\nnodes:\n{}",
            self.path("dist").display(),
            go_arch(),
            nodes.concat()
        );
        put(&self.path("config.yaml"), text, 0o600);
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(KUBEEDGE);
        command
            .args(["batch", "-c", "config.yaml", "--ssh-config", "ssh_config"])
            .args(more)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Exit code and report.
    fn run(&self, more: &[&str]) -> (i32, Value) {
        let out = self.command(more).args(["-o", "json"]).output();
        let out = out.expect("it runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let report = serde_json::from_str(&text);
        let report = report.unwrap_or_else(|error| panic!("{error}: {text}{}", errors(&out)));
        (out.status.code().expect("a code"), report)
    }

    fn told(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("told-{name}"))).unwrap_or_default()
    }
}

fn errors(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn states(report: &Value) -> Vec<(&str, &str)> {
    fn word<'a>(node: &'a Value, key: &str) -> &'a str {
        node[key].as_str().expect("a word")
    }
    let nodes = report["nodes"].as_array().expect("nodes").iter();
    nodes
        .map(|it| (word(it, "node"), word(it, "state")))
        .collect()
}

fn reason<'a>(report: &'a Value, name: &str) -> &'a str {
    let nodes = report["nodes"].as_array().expect("nodes");
    let node = nodes
        .iter()
        .find(|it| it["node"] == name)
        .expect("it is there");
    node["reason"].as_str().expect("a reason")
}

const TOKEN: &str = "0123abcd.e30.e30.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

#[test]
fn devices_get_the_program_the_files_and_the_token() {
    let site = Site::new();
    let files = site.path("files");
    fs::create_dir_all(files.join("deeper")).expect("a folder");
    put(&files.join("site.conf"), "x=1\n", 0o600);
    let node = |name: &str| {
        let command =
            format!("\"join {name} -e {{{{.cloud}}}} --token {{{{ .token }}}} --set 'a=$(id) b'\"");
        site.node(name, &command, "user") + &format!("  copyFrom: {}\n", files.display())
    };
    site.write(&["one", "two", "three"].map(node));
    let (code, report) = site.run(&[]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(
        states(&report),
        [("one", "done"), ("two", "done"), ("three", "done")]
    );
    for name in ["one", "two", "three"] {
        let told = site.told(name);
        let lines: Vec<&str> = told.lines().collect();
        let words = format!("join {name} -e h:1 --set a=$(id) b --token-file -");
        assert_eq!(
            lines[..4],
            [words.as_str(), TOKEN, "keadm", "site.conf"],
            "{told}"
        );
        let there = Path::new(lines[4]);
        assert!(there.starts_with("/tmp") && !there.exists(), "{told}");
        let said = fs::read_to_string(site.path(&format!("batch_process_log.d/{name}.log")));
        assert_eq!(said.expect("its log"), "all is well\n");
    }
    let log = fs::read_to_string(site.path("batch_process_log.txt")).expect("the log");
    assert_eq!(
        log.lines().filter(|line| line.contains(" done ")).count(),
        3,
        "{log}"
    );
    assert!(!format!("{log}{report}").contains(TOKEN));

    // Done is done, until something else is wanted.
    let again =
        |name: &str| fs::remove_file(site.path(&format!("told-{name}"))).expect("it was told");
    ["one", "two", "three"].into_iter().for_each(again);
    let (code, report) = site.run(&["--resume"]);
    assert_eq!((code, &report["skipped"]), (0, &Value::from(3)));
    assert_eq!(site.told("one"), "");
    site.write(&[node("one"), site.node("two", "version two", "user")]);
    let (code, report) = site.run(&["--resume"]);
    assert_eq!(
        (code, states(&report)),
        (0, vec![("one", "skipped"), ("two", "done")])
    );
    assert!(site.told("two").starts_with("version two\n"));
}

#[test]
fn one_that_fails_stops_no_other_and_is_tried_again() {
    let site = Site::new();
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    let gone = site.node("gone", "version gone", "user");
    let gone = gone.replace(
        &format!("port: {}", site.sshd.port),
        &format!("port: {port}"),
    );
    let bad = site.node("bad", "fail bad", "user");
    let strange = site.node("strange", "version strange", "stranger");
    site.write(&[
        bad,
        gone,
        strange,
        site.node("good", "version good", "user"),
    ]);
    let (code, report) = site.run(&[]);
    assert_eq!(code, 1);
    let failed = ["bad", "gone", "strange"].map(|name| (name, "failed"));
    assert_eq!(states(&report), [&failed[..], &[("good", "done")]].concat());
    assert_eq!(
        (&report["good"], &report["failed"]),
        (&Value::from(false), &Value::from(3))
    );
    assert_eq!(reason(&report, "bad"), "keadm ended with 3: it went wrong");
    assert!(reason(&report, "gone").contains("refused"), "{report}");
    assert!(
        reason(&report, "strange").contains("ssh-copy-id"),
        "{report}"
    );

    // Text for people, and only those again that are not done.
    site.write(&[
        site.node("bad", "version bad", "user"),
        site.node("good", "version good", "user"),
    ]);
    let out = site.command(&["--resume"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}{}", errors(&out));
    assert!(text.ends_with("1 done, 0 failed, 1 skipped.\n"), "{text}");
    assert!(
        errors(&out).starts_with("bad: done in "),
        "{}",
        errors(&out)
    );
}

#[test]
fn a_device_is_known_by_its_key() {
    let site = Site::new();
    site.ssh_config("unknown");
    site.write(&[site.node("one", "version one", "user")]);
    let (code, report) = site.run(&[]);
    assert_eq!(code, 1);
    assert!(
        reason(&report, "one").contains("--accept-new-host-keys"),
        "{report}"
    );
    assert_eq!(site.told("one"), "");
    let (code, report) = site.run(&["--accept-new-host-keys"]);
    assert_eq!(code, 0, "{report}");
    // From now on it is known; another one in its place is not taken.
    let (code, _) = site.run(&[]);
    assert_eq!(code, 0);
    let another = fs::read_to_string(site.path("stranger.pub")).expect("a key");
    let known = format!("[127.0.0.1]:{} {another}", site.sshd.port);
    put(&site.path("unknown"), known, 0o600);
    let (code, report) = site.run(&["--accept-new-host-keys"]);
    assert_eq!(code, 1);
    assert!(reason(&report, "one").contains("ssh-keygen -R"), "{report}");
}

#[test]
fn one_that_hangs_has_its_time() {
    let site = Site::new();
    put(&site.path("hang"), "", 0o600);
    site.write(&[site.node("slow", "hang slow", "user")]);
    let (code, report) = site.run(&["--timeout", "3"]);
    fs::remove_file(site.path("hang")).expect("it was there");
    assert_eq!(code, 1);
    assert!(reason(&report, "slow").contains("--timeout"), "{report}");
}

#[test]
fn this_very_program_serves_its_own_kind() {
    let site = Site::new();
    site.write(&[site.node("one", "version -o json", "user")]);
    let text = fs::read_to_string(site.path("config.yaml")).expect("the file");
    let own: String = text
        .lines()
        .filter(|line| !line.contains("offlinePackageDir"))
        .map(|line| format!("{line}\n"))
        .collect();
    put(&site.path("config.yaml"), own, 0o600);
    let (code, report) = site.run(&[]);
    assert_eq!(code, 0, "{report}");
    let said = fs::read_to_string(site.path("batch_process_log.d/one.log")).expect("its log");
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

#[test]
fn what_can_not_begin_says_why() {
    let site = Site::new();
    site.write(&[site.node("one", "version one", "user")]);
    let out = site.command(&[]).env("PATH", "/nonexistent").output();
    let out = out.expect("it runs");
    assert_eq!(out.status.code(), Some(69));
    assert!(errors(&out).contains("openssh-client"), "{}", errors(&out));
    let (code, report) = site.run(&["--dry-run"]);
    assert_eq!((code, states(&report)), (0, vec![("one", "planned")]));
    assert_eq!(site.told("one"), "");
    put(&site.path("config.yaml"), "nodes: [{nodeName: a}]\n", 0o600);
    let out = site.command(&[]).output().expect("it runs");
    assert_eq!(out.status.code(), Some(78));
    assert!(
        errors(&out).contains("config.yaml:1: nodes[0]."),
        "{}",
        errors(&out)
    );
    // The template is written once.
    let write = || {
        let mut command = Command::new(KUBEEDGE);
        let command = command.args(["batch", "gen-config", "--file", "new.yaml"]);
        command
            .current_dir(site.folder.path())
            .output()
            .expect("it runs")
    };
    assert_eq!(String::from_utf8_lossy(&write().stdout), "new.yaml\n");
    assert_eq!(write().status.code(), Some(1));
}
