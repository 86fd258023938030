//! `gettoken` as scripts use it: the token alone on stdout, and one sentence when there is none.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const KUBEEDGE: &str = env!("CARGO_BIN_EXE_kubeedge");
const PATIENCE: Duration = Duration::from_secs(120);

/// A root prefix of one test, with a path short enough for sockets.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Machine {
        let path = PathBuf::from(format!("/tmp/kt-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Machine(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(KUBEEDGE);
        command
            .args(words)
            .env("KUBEEDGE_ROOT", &self.0)
            .env("HOME", &self.0)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the executable starts")
    }

    /// A cloudcore that serves.
    fn cloudcore(&self) -> Cloudcore {
        let ports = self.0.join("ports");
        let words = [
            "--listen=127.0.0.1",
            "--https-port=0",
            "--hub-port=0",
            "--metrics-port=0",
        ];
        let mut command = self.command(&["cloudcore", "--allow-volatile-ca"]);
        command
            .args(words)
            .arg("--ports-file")
            .arg(&ports)
            .stderr(Stdio::null());
        let child = Cloudcore(command.spawn().expect("the executable starts"));
        let end = Instant::now() + PATIENCE;
        while !ports.exists() {
            assert!(Instant::now() < end, "cloudcore does not serve");
            thread::sleep(Duration::from_millis(10));
        }
        child
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Cloudcore(Child);

impl Drop for Cloudcore {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// The hash of the CA in a token that was printed as it should be.
fn ca_hash(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let token = stdout(output)
        .strip_suffix('\n')
        .expect("a newline at the end");
    assert_eq!(token.split('.').count(), 4);
    assert!(!token.contains(char::is_whitespace));
    let said = stderr(output);
    assert!(
        said.starts_with("The token is good until 20") && said.ends_with("Z.\n"),
        "{said}"
    );
    assert!(!said.contains(token));
    token.split('.').next().unwrap_or_default().to_owned()
}

#[test]
fn with_a_cloudcore_and_without() {
    let machine = Machine::new("both");
    let cloudcore = machine.cloudcore();
    let running = ca_hash(&machine.run(&["gettoken"]));
    assert_eq!(
        ca_hash(&machine.run(&["keadm", "gettoken", "--ttl=90m"])),
        running
    );
    drop(cloudcore);
    assert_eq!(
        ca_hash(&machine.run(&["gettoken", "--ttl", "1h30m"])),
        running
    );
    let output = machine.run(&["gettoken", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        json["token"]
            .as_str()
            .expect("a token")
            .starts_with(&running)
    );
    assert!(json["expires"].as_str().expect("a time").ends_with('Z'));
}

/// As a person pastes it: the cloud of a new machine has no CA yet when the token is asked for.
#[test]
fn a_cloudcore_that_was_started_just_before_is_waited_for() {
    let machine = Machine::new("first");
    let script = format!(
        "'{KUBEEDGE}' cloudcore --allow-volatile-ca --listen=127.0.0.1 --https-port=0 --hub-port=0 --metrics-port=0 \
         > /dev/null 2>&1 & '{KUBEEDGE}' gettoken; code=$?; kill $!; wait $!; exit $code"
    );
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &script])
        .env("KUBEEDGE_ROOT", &machine.0)
        .env("HOME", &machine.0)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null());
    ca_hash(&shell.output().expect("a shell"));
}

#[test]
fn without_a_ca_it_says_what_to_do_and_makes_nothing() {
    let machine = Machine::new("none");
    let output = machine.run(&["gettoken"]);
    assert_eq!(output.status.code(), Some(69));
    assert_eq!(stdout(&output), "");
    assert!(
        stderr(&output).contains("start cloudcore first"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_dir(&machine.0).expect("a folder").count(), 0);
}

#[test]
fn a_cloudcore_that_is_silent_is_told_from_one_that_is_not_there() {
    let machine = Machine::new("mute");
    let run = machine.0.join("run/kubeedge");
    fs::create_dir_all(&run).expect("a folder");
    let _mute = std::os::unix::net::UnixListener::bind(run.join("cloudcore.sock"));
    let output = machine.run(&["gettoken"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        stderr(&output).contains("gives no answer"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_can_not_be_is_refused_in_one_sentence() {
    let machine = Machine::new("bad");
    for (words, code, part) in [
        (&["gettoken", "--ttl", "0"][..], 64, "a second at least"),
        (&["gettoken", "--ttl", "-5m"], 64, "negative"),
        (&["gettoken", "--ttl", "soon"], 64, "--ttl"),
        (&["gettoken", "--ttl", "1000000h"], 64, "ten years"),
        (&["gettoken", "--output", "yaml"], 64, "json"),
        (
            &["gettoken", "--kube-config=/nonexistent/config"],
            78,
            "cannot read /nonexistent/config",
        ),
    ] {
        let output = machine.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert_eq!(stdout(&output), "", "{words:?}");
        let said = stderr(&output);
        assert!(
            said.contains(part) && said.lines().count() == 1,
            "{words:?}: {said}"
        );
    }
}
