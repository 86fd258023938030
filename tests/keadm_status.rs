//! `status`, `certs check` and `certs renew` where nothing has joined, or something is broken.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

const KUBEEDGE: &str = env!("CARGO_BIN_EXE_kubeedge");

/// A root prefix of one test, with a path short enough for sockets.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Machine {
        let path = PathBuf::from(format!("/tmp/ks-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("etc/kubeedge/config")).expect("a folder");
        fs::create_dir_all(path.join("run/kubeedge")).expect("a folder");
        Machine(path)
    }

    fn configure(&self, yaml: &str) {
        fs::write(self.0.join("etc/kubeedge/config/edgecore.yaml"), yaml).expect("a file");
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(KUBEEDGE);
        command.args(words).env("KUBEEDGE_ROOT", &self.0);
        command.output().expect("the executable starts")
    }

    /// Exit code and stdout; for errors, where nothing is on stdout, stderr.
    fn says(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.run(words);
        let said = if output.stdout.is_empty() {
            output.stderr
        } else {
            output.stdout
        };
        (
            output.status.code(),
            String::from_utf8(said).expect("UTF-8"),
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn minimal() -> String {
    let output = Command::new(KUBEEDGE)
        .args(["edgecore", "--minconfig"])
        .output();
    String::from_utf8(output.expect("the executable starts").stdout).expect("UTF-8")
}

#[test]
fn a_device_that_never_joined() {
    let machine = Machine::new("new");
    let (code, said) = machine.says(&["status"]);
    assert_eq!(code, Some(69));
    assert!(
        said.starts_with("This device has not joined a cloud.\n"),
        "{said}"
    );
    assert!(said.contains("kubeedge join"), "{said}");
    assert!(
        said.lines().count() <= 24 && said.lines().all(|line| !line.ends_with(' ')),
        "{said}"
    );
    let (code, said) = machine.says(&["keadm", "status", "--output", "json"]);
    let json: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &json["connected"]), (Some(69), &Value::Bool(false)));
    assert_eq!(json["executable"]["installed"], false);
    let (code, said) = machine.says(&["certs", "check"]);
    assert_eq!(code, Some(69));
    assert!(said.contains("there are no certificates here"), "{said}");
    let (code, said) = machine.says(&["certs", "renew"]);
    assert_eq!(code, Some(69));
    assert!(said.contains("edgecore does not run"), "{said}");
}

#[test]
fn a_device_that_was_configured_and_not_started() {
    let machine = Machine::new("conf");
    machine.configure(&minimal().replace("hostnameOverride: ", "hostnameOverride: barn-"));
    let (code, said) = machine.says(&["status"]);
    assert_eq!(code, Some(69));
    assert!(said.starts_with("barn-"), "{said}");
    assert!(said.contains("edgecore does not run"), "{said}");
    let (code, said) = machine.says(&["certs", "check"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("edge key: there is no "), "{said}");
}

#[test]
fn a_configuration_that_can_not_be_read() {
    let machine = Machine::new("bad");
    machine.configure("modules: [\n");
    let (code, said) = machine.says(&["status"]);
    assert_eq!(code, Some(69));
    assert!(said.contains("edgecore.yaml:"), "{said}");
    assert_eq!(machine.says(&["certs", "check"]).0, Some(78));
}

#[test]
fn an_edgecore_that_is_silent() {
    let machine = Machine::new("mute");
    machine.configure(&minimal());
    let socket = machine.0.join("run/kubeedge/edgecore-status.sock");
    let _mute = UnixListener::bind(socket).expect("a socket");
    let (code, said) = machine.says(&["status"]);
    assert_eq!(code, Some(69));
    assert!(said.contains("edgecore does not say"), "{said}");
}
