//! Networks of the tests' own: this process in one network namespace, its cloud in another, and lines between them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Runs an ignored test of this program where it has a network, and mounts, of its own.
pub fn run(test: &str) {
    let program = std::env::current_exe().expect("this program");
    let ran = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "sh",
            "-c",
            "ip link set lo up && exec \"$@\"",
            "sh",
        ])
        .arg(program)
        .args(["--ignored", "--exact", test, "--nocapture"])
        .output()
        .expect("unshare starts: run tests/setup.sh");
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "this test needs root (for namespaces), ip and nft (tests/setup.sh):\n{said}"
    );
    print!("{said}");
}

/// Another network namespace, for as long as this lives.
pub struct Elsewhere {
    holder: Child,
    words: Vec<String>,
}

impl Elsewhere {
    pub fn new() -> Elsewhere {
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up; echo there; exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts: run tests/setup.sh");
        let mut line = String::new();
        let out = holder.stdout.take().expect("it was piped");
        let read = BufReader::new(out).read_line(&mut line);
        assert_eq!((read.ok(), line.as_str()), (Some(6), "there\n"));
        let words = ["nsenter", "--net", "--target", &holder.id().to_string()];
        let words = words.map(str::to_owned).to_vec();
        Elsewhere { holder, words }
    }

    /// The words that start a command there.
    pub fn within(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    /// A line between here and there: an interface with this name at either end.
    pub fn line(&self, name: &str) {
        let pid = self.holder.id();
        here(&format!(
            "ip link add {name} type veth peer name {name} netns {pid}"
        ));
        here(&format!("ip link set {name} up"));
        self.there(&format!("ip link set {name} up"));
    }

    /// A command there, which must succeed.
    pub fn there(&self, words: &str) {
        let all = [self.within(), words.split(' ').collect()].concat();
        succeed(&all);
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A command here, which must succeed.
pub fn here(words: &str) {
    succeed(&words.split(' ').collect::<Vec<_>>());
}

fn succeed(words: &[&str]) {
    let done = Command::new(words[0]).args(&words[1..]).output();
    let done = done.expect("it starts: run tests/setup.sh");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {said}", words.join(" "));
}
