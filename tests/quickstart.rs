//! The tour, as a newcomer starts it: all of it, broken at each step, interrupted, and killed.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const KUBEEDGE: &str = env!("CARGO_BIN_EXE_kubeedge");
const STEPS: [&str; 9] = [
    "cloud",
    "token",
    "join",
    "certificate",
    "session",
    "node",
    "rotation",
    "status",
    "stop",
];
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder for one tour, with a path short enough for sockets; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("kq-{}-{name}", std::process::id());
        let wanted = std::env::temp_dir().join(&name);
        let path = match wanted.as_os_str().len() {
            0..=60 => wanted,
            _ => Path::new("/tmp").join(name),
        };
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    /// The processes that work below it.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("KUBEEDGE_ROOT={}/", self.0.display());
        let entries = fs::read_dir("/proc").expect("/proc");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|it| it.starts_with(mark.as_bytes()))
        })
        .collect()
    }

    fn wait_until_deserted(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.processes().is_empty() {
            assert!(
                Instant::now() < end,
                "{:?} outlive the tour",
                self.processes()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What a failing test leaves behind would disturb the next one.
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn quickstart(folder: &Folder, more: &[&str]) -> Command {
    let mut command = Command::new(KUBEEDGE);
    command
        .args(["quickstart", "--dir"])
        .arg(&folder.0)
        .args(more);
    command.env_remove("KUBEEDGE_ROOT").stdin(Stdio::null());
    command
}

fn once(folder: &Folder, more: &[&str]) -> Output {
    let mut command = quickstart(folder, more);
    command
        .arg("--once")
        .output()
        .expect("the executable starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn the_tour_is_verified_step_by_step() {
    let folder = Folder::new("clean");
    let output = once(&folder, &["--output", "json"]);
    let stderr = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{stderr}{}",
        text(&output.stdout)
    );
    let shown: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(shown["verified"], true);
    assert_eq!(shown["failure"], Value::Null);
    let steps = shown["steps"].as_array().expect("steps");
    let names: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    assert_eq!(names, STEPS);
    assert!(
        steps
            .iter()
            .all(|step| step["seconds"].as_f64().is_some_and(|it| it >= 0.0))
    );
    let seen = |step: usize, line: usize| steps[step]["seen"][line].as_str().expect("a line");
    let (_, serials) = seen(6, 0).split_once("serial").expect("serials");
    let (old, new) = serials.trim().split_once(" became ").expect("two serials");
    assert_eq!(seen(3, 1).split_whitespace().last(), Some(old));
    assert_ne!(old, new);
    assert!(seen(5, 0).starts_with("node:  ready, v"), "{}", seen(5, 0));
    let file = folder.0.join("edge/etc/quickstart/greeting");
    assert_eq!(
        fs::read(file).expect("it was delivered"),
        b"hello from the cloud"
    );
    assert_eq!(
        seen(6, 3),
        "gap:    0 ms without a tunnel, by the cloud's registry"
    );
    assert_eq!(folder.processes(), [0; 0]);
    assert!(!folder.0.join("token").exists(), "the token is still there");
    assert!(stderr.contains("The files stay in"), "{stderr}");
}

#[test]
fn each_broken_step_is_named() {
    for (number, step) in STEPS.iter().enumerate() {
        let folder = Folder::new(step);
        let output = once(&folder, &["--sabotage", step]);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let all = format!("{step}:\n{stdout}{stderr}");
        assert_eq!(output.status.code(), Some(1), "{all}");
        assert!(
            stderr.contains(&format!("\nStep \"{step}\" failed")),
            "{all}"
        );
        assert_eq!(stderr.matches("\nStep \"").count(), 1, "{all}");
        assert!(
            stderr.contains(&format!("{}/cloudcore.log", folder.0.display())),
            "{all}"
        );
        for (before, name) in STEPS.iter().enumerate() {
            let shown = stdout.contains(&format!("\n{}. {name}: ", before + 1));
            assert_eq!(shown, before < number, "{all}");
        }
        folder.wait_until_deserted();
    }
}

/// A tour that has been shown and runs on.
fn running(folder: &Folder) -> Child {
    let mut command = quickstart(folder, &[]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the executable starts");
    let stdout = child.stdout.take().expect("a pipe");
    let (shown, invited) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut lines = stdout.by_ref().lines().map_while(Result::ok);
        let found = lines.any(|line| line.contains("until Ctrl-C"));
        let _ = shown.send(found);
        // What comes later must not fill the pipe.
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    assert_eq!(
        invited.recv_timeout(PATIENCE),
        Ok(true),
        "it does not come to run on"
    );
    assert_eq!(
        folder.processes().len(),
        3,
        "a cloudcore, and the two processes of edgecore"
    );
    child
}

fn end(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().expect("a child") {
            Some(status) => return status,
            None => assert!(Instant::now() < end, "it does not end"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("a pid");
    kill(Pid::from_raw(pid), signal).expect("it lives");
}

#[test]
fn it_runs_on_until_it_is_interrupted() {
    for (name, number) in [("int", Signal::SIGINT), ("term", Signal::SIGTERM)] {
        let folder = Folder::new(name);
        let mut child = running(&folder);
        assert!(child.try_wait().expect("a child").is_none());
        signal(&child, number);
        assert_eq!(end(&mut child).code(), Some(0), "{number}");
        assert_eq!(folder.processes(), [0; 0]);
    }
}

fn keadm(folder: &Folder, side: &str, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(KUBEEDGE);
    command
        .args(words)
        .env("KUBEEDGE_ROOT", folder.0.join(side));
    let output = command.output().expect("the executable starts");
    (output.status.code(), text(&output.stdout).to_owned())
}

#[test]
fn meanwhile_every_command_works() {
    let folder = Folder::new("use");
    let mut child = running(&folder);
    let (code, status) = keadm(&folder, "edge", &["status"]);
    assert_eq!(code, Some(0), "{status}");
    assert!(
        status.starts_with("quickstart-edge is connected to 127.0.0.1:"),
        "{status}"
    );
    let json = |words: &[&str]| -> Value {
        let (code, shown) = keadm(&folder, "edge", words);
        assert_eq!(code, Some(0), "{shown}");
        serde_json::from_str(&shown).expect("JSON")
    };
    let before = json(&["status", "-o", "json"]);
    assert_eq!(before["connected"], true);
    assert_eq!(before["service"]["running"], true);
    assert_eq!(before["executable"]["missingLinks"], serde_json::json!([]));
    let renewed = json(&["certs", "renew", "-o", "json"]);
    assert_eq!(renewed["oldSerial"], before["certificate"]["serial"]);
    let after = json(&["status", "-o", "json"]);
    assert_eq!(renewed["serial"], after["certificate"]["serial"]);
    assert_ne!(renewed["serial"], renewed["oldSerial"]);
    for side in ["edge", "cloud"] {
        let (code, checked) = keadm(&folder, side, &["certs", "check"]);
        assert_eq!(code, Some(0), "{checked}");
        let titles = format!("\n{side} CA ");
        assert!(
            checked.contains(&titles) && !checked.contains("fault"),
            "{checked}"
        );
    }
    let (code, token) = keadm(&folder, "cloud", &["gettoken", "--ttl", "1h"]);
    assert_eq!(
        (code, token.matches('.').count(), token.lines().count()),
        (Some(0), 3, 1)
    );
    signal(&child, Signal::SIGINT);
    assert_eq!(end(&mut child).code(), Some(0));
    let (code, status) = keadm(&folder, "edge", &["status"]);
    assert_eq!(code, Some(69), "{status}");
    assert!(status.starts_with("quickstart-edge is not connected: edgecore does not run."));
    let (code, shown) = keadm(&folder, "edge", &["status", "--output=json"]);
    let stopped: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((code, &stopped["edgecore"]), (Some(69), &Value::Null));
    assert_eq!(stopped["certificate"]["serial"], renewed["serial"]);
    assert_eq!(keadm(&folder, "edge", &["certs", "renew"]).0, Some(69));
    // The cloud's files alone make tokens, too.
    let (code, token) = keadm(&folder, "cloud", &["gettoken"]);
    assert_eq!(
        (code, token.matches('.').count(), token.lines().count()),
        (Some(0), 3, 1)
    );
}

#[test]
fn a_tour_that_is_interrupted_leaves_nothing() {
    let folder = Folder::new("soon");
    let mut command = quickstart(&folder, &[]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the executable starts");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = stdout.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("2. token")), "no token");
    signal(&child, Signal::SIGINT);
    let rest: Vec<String> = lines.collect();
    // On a machine that is slow just here, all has been shown before the signal comes.
    let shown = rest.iter().any(|line| line.contains("until Ctrl-C"));
    assert_eq!(
        end(&mut child).code(),
        Some(if shown { 0 } else { 1 }),
        "{rest:?}"
    );
    folder.wait_until_deserted();
}

#[test]
fn nothing_outlives_it_even_when_it_is_killed() {
    let folder = Folder::new("kill");
    let mut child = running(&folder);
    signal(&child, Signal::SIGKILL);
    end(&mut child);
    folder.wait_until_deserted();
}

#[test]
fn the_end_of_either_side_is_noticed() {
    for name in ["cloudcore", "edgecore"] {
        let folder = Folder::new(&name[..4]);
        let mut child = running(&folder);
        let is_it = |pid: &&i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(name)
        };
        let processes = folder.processes();
        let pid = processes.iter().find(is_it).expect("it runs");
        kill(Pid::from_raw(*pid), Signal::SIGKILL).expect("it lives");
        assert_eq!(end(&mut child).code(), Some(1), "{name}");
        folder.wait_until_deserted();
    }
}

#[test]
fn folders_of_others_are_left_alone() {
    let folder = Folder::new("full");
    fs::create_dir_all(&folder.0).expect("a folder");
    fs::write(folder.0.join("mine"), "mine").expect("a file");
    let output = once(&folder, &[]);
    assert_eq!(output.status.code(), Some(64));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("is not empty: name a new folder"),
        "{stderr}"
    );
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 1);
}
