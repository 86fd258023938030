//! Whole devices and a cloud for unit tests of commands: this very test program plays the roles.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::system::clock::Clock;
use crate::system::files::Files;
use crate::system::host::Host;
use crate::system::lifeline::{self, Anchor};
use crate::system::processes;
use crate::system::root::{self, Root};
use crate::system::scratch::Scratch;

/// A cloudcore, with files of its own; ended when dropped.
pub struct Cloud {
    folder: Scratch,
    child: Child,
    /// What it starts ends with it, and with this process.
    anchor: Anchor,
    pub https: u16,
    pub hub: u16,
    pub token: PathBuf,
}

impl Cloud {
    pub fn start() -> Cloud {
        let folder = Scratch::new();
        let at = |name: &str| folder.path().join(name);
        let anchor = Anchor::new(&at("anchor")).unwrap();
        let ports = at("ports");
        let words = format!(
            "cloudcore --listen 127.0.0.1 --allow-volatile-ca --https-port 0 --hub-port 0 \
             --metrics-port 0 --ports-file {}",
            ports.display()
        );
        let mut command = acting(&words, folder.path(), &anchor);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let serves = lines.by_ref().map_while(Result::ok);
        assert!(
            serves
                .into_iter()
                .any(|line| line.contains("cloudcore serves"))
        );
        // Somebody has to read on.
        std::thread::spawn(move || lines.for_each(drop));
        let ports: serde_json::Value = serde_json::from_slice(&fs::read(&ports).unwrap()).unwrap();
        let port = |key: &str| ports[key].as_u64().unwrap() as u16;
        let token = gettoken(folder.path(), &anchor);
        let file = at("token");
        Files::real()
            .replace(&file, token.as_bytes(), 0o600)
            .unwrap();
        Cloud {
            https: port("https"),
            hub: port("hub"),
            token: file,
            folder,
            child,
            anchor,
        }
    }

    /// The words of a join, without `join`.
    pub fn words(&self, node: &str) -> Vec<String> {
        self.words_for(node, "none")
    }

    /// As `words`, by this init system.
    pub fn words_for(&self, node: &str, init: &str) -> Vec<String> {
        let (hub, api) = (format!("127.0.0.1:{}", self.hub), self.https.to_string());
        let token = self.token.display().to_string();
        let words = ["-e", &hub, "-s", &api, "--token-file", &token, "-i", node];
        let more = ["--init", init, "--timeout", "60s"];
        words
            .iter()
            .chain(&more)
            .map(|word| (*word).to_owned())
            .collect()
    }

    /// A file to install, of some size, that acts as edgecore under this name.
    pub fn program(&self) -> PathBuf {
        let path = self.folder.path().join("kubeedge");
        let itself = std::env::current_exe().unwrap();
        // One process: a second one would be started from the test program itself.
        let script = format!(
            "#!/bin/bash\nexport {ACTS}='edgecore --no-supervisor' RUST_MIN_STACK={STACK} {}='{}'\n\
             exec -a edgecore {} {} --nocapture --test-threads=1\n{}",
            lifeline::VARIABLE,
            self.anchor.path().display(),
            itself.display(),
            EXACTLY.join(" "),
            "# as long as a program\n".repeat(4000)
        );
        Files::real()
            .replace(&path, script.as_bytes(), 0o755)
            .unwrap();
        path
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn host(files: Files, folder: &Path) -> Host {
    Host {
        root: Root::new(Some(folder.to_owned())),
        files,
        clock: Clock::system(),
    }
}

/// Ends the edgecore of a device as a power cut does, if there is one.
pub fn kill_edgecore(folder: &Path) {
    let note = fs::read_to_string(folder.join("run/kubeedge/edgecore.lock"));
    let Some(pid) = note.ok().and_then(|note| note.trim().parse::<u32>().ok()) else {
        return;
    };
    let Some(process) = processes::Process::get(pid).filter(|it| it.is("edgecore")) else {
        return;
    };
    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
    let until = Instant::now() + Duration::from_secs(60);
    while process.is_alive() {
        assert!(Instant::now() < until, "edgecore does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A token; a cloudcore on a busy machine may need more patience than the command has.
fn gettoken(folder: &Path, anchor: &Anchor) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    // Among what a test program says itself.
    let is_token = |word: &&str| word.matches('.').count() == 3 && word.len() > 99;
    loop {
        let asked = acting("gettoken", folder, anchor).output().unwrap();
        let said = String::from_utf8(asked.stdout).unwrap();
        if let Some(token) = said.split_whitespace().find(is_token) {
            return token.to_owned();
        }
        let why = String::from_utf8_lossy(&asked.stderr);
        assert!(Instant::now() < until, "no token: {why}");
    }
}

/// This test program as the one it tests.
fn acting(words: &str, folder: &Path, anchor: &Anchor) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(EXACTLY)
        .args(["--nocapture", "--test-threads=1"])
        .env(ACTS, words)
        .env("RUST_MIN_STACK", STACK)
        .env(root::VARIABLE, folder)
        .env(lifeline::VARIABLE, anchor.path())
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null());
    command
}

/// A proxy that wants `barn:s3cret`, on a port of this machine, until the process ends.
pub fn proxy() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || pass(stream));
        }
    });
    port
}

/// One connection; what goes wrong with it is for its client to tell.
fn pass(mut client: TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    if !head.contains("Basic YmFybjpzM2NyZXQ=\r\n") {
        let refused = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refused).ok();
    }
    let mut cloud = TcpStream::connect(head.split_whitespace().nth(1)?).ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let (mut up, mut down) = (client.try_clone().ok()?, cloud.try_clone().ok()?);
    let upwards = std::thread::spawn(move || {
        let _ = copy(&mut up, &mut cloud);
        let _ = cloud.shutdown(Shutdown::Write);
    });
    let _ = copy(&mut down, &mut client);
    let _ = client.shutdown(Shutdown::Write);
    upwards.join().ok()
}

const EXACTLY: [&str; 2] = ["--exact", "applet::tests::acts_as_it_is_told"];
/// Bytes, as a first thread has: those of tests have less.
const STACK: &str = "8388608";
/// What it acts as: the words of a command line, without the first.
const ACTS: &str = "KUBEEDGE_TEST_ACTS";
