//! Executables of several versions and manners: each a small program that is the one under test, but for
//! what it says of itself and how it behaves as edgecore.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::common::{Folder, KUBEEDGE};

/// How a build behaves as edgecore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As the one under test, with this address of the node; on a device with a file `/deaf` or `/frail`, as those.
    Works(&'static str),
    /// It gets nowhere from where it starts its connections, but probes well.
    Deaf,
    /// What does the work ends after 5 s, every time.
    Frail,
    /// It is no kubeedge, and says so.
    Other,
    /// For little flash: it has no trials.
    Bare,
}

/// The executable; made once for all tests of this process.
pub fn build(version: &str, manner: Manner) -> PathBuf {
    static MADE: OnceLock<(Folder, Mutex<Vec<String>>)> = OnceLock::new();
    let (folder, made) = MADE.get_or_init(|| (Folder::new(), Mutex::default()));
    let name = format!("{version}-{manner:?}").replace(['"', '(', ')'], "_");
    let path = folder.path().join(&name);
    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
    if !made.contains(&name) {
        compile(&path, version, manner);
        made.push(name);
    }
    path
}

fn compile(path: &Path, version: &str, manner: Manner) {
    let source = PathBuf::from(format!("{}.rs", path.display()));
    fs::write(&source, SOURCE).expect("the source is written");
    let (manner, value) = match manner {
        Manner::Works(address) => ("works", address),
        Manner::Deaf => ("deaf", ""),
        Manner::Frail => ("frail", ""),
        Manner::Other => ("other", ""),
        Manner::Bare => ("bare", ""),
    };
    let features = match manner {
        "bare" => "edge",
        _ => "edge,oci,upgrade",
    };
    let status = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "strip=symbols",
            "-C",
            "panic=abort",
            "--crate-name",
            "build",
        ])
        .arg(&source)
        .arg("-o")
        .arg(path)
        .env("REAL", KUBEEDGE)
        .env("VERSION", version)
        .env("MANNER", manner)
        .env("VALUE", value)
        .env("FEATURES", features)
        .status()
        .expect("there is a compiler, since this was built");
    assert!(status.success());
}

const SOURCE: &str = r#"
use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    let mut words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "saboteur") {
        return saboteur(&words[2]);
    }
    let called = words.remove(0);
    if env!("MANNER") == "other" {
        return println!("busybox 1.2");
    }
    if words.iter().any(|word| word == "version") {
        // Whoever asks hands on what signals it holds back.
        if let Ok(root) = std::env::var("KUBEEDGE_ROOT") {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let held = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
            std::fs::write(root + "/held-back", held.unwrap().trim()).unwrap();
        }
        return println!(
            "{{\"version\":\"{}\",\"gitVersion\":\"v1.23.1\",\"features\":\"{}\"}}",
            env!("VERSION"),
            env!("FEATURES")
        );
    }
    let is_edgecore = called.ends_with("edgecore") || words.first().is_some_and(|it| it == "edgecore");
    if is_edgecore && !words.iter().any(|word| word == "--probe") {
        // What another build has added.
        if let Some(at) = words.iter().position(|word| word == "--node-ip" || word == "--bind-address") {
            words.drain(at..at + 2);
        }
        let root = std::env::var("KUBEEDGE_ROOT").unwrap_or_default();
        let moods = ["deaf", "frail"].into_iter();
        let mood = moods.filter(|mood| std::path::Path::new(&root).join(mood).exists()).next();
        let old = env!("VERSION") == "0.1.0";
        match mood.filter(|_| !old).unwrap_or(env!("MANNER")) {
            "works" => words.extend(["--node-ip".to_owned(), env!("VALUE").to_owned()]),
            "deaf" => words.extend(["--bind-address".to_owned(), "192.0.2.1".to_owned()]),
            _ => {
                let own = std::env::current_exe().unwrap();
                let pid = std::process::id().to_string();
                Command::new(own).args(["saboteur", &pid]).spawn().unwrap();
            }
        }
    }
    let error = Command::new(env!("REAL")).arg0(&called).args(&words).exec();
    eprintln!("{error}");
    std::process::exit(1);
}

/// Ends three hubs of that process, each at the age of 5 s.
fn saboteur(pid: &str) {
    let mut ended = Vec::new();
    while ended.len() < 3 && std::path::Path::new("/proc").join(pid).exists() {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if name.trim() == "edgecore-hub" && !ended.contains(&child.to_owned()) {
                std::thread::sleep(std::time::Duration::from_secs(5));
                let _ = Command::new("kill").args(["-9", child]).status();
                ended.push(child.to_owned());
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
"#;
