//! Joins, cut and disturbed everywhere: whatever is left of one, the next one succeeds.

mod settled;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::config::edge::EdgeConfig;
use crate::keadm::lock::LockError;
use crate::keadm::testing::{Cloud, host, kill_edgecore};
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, faults_in_turn, is_clear};
use crate::system::scratch::Scratch;
use crate::system::service::ServiceError;

/// A name that no other device has, as long as every other.
pub fn new_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("edge-{:06}", NEXT.fetch_add(1, Ordering::SeqCst))
}

/// Joins as the command does, with a small file to install.
pub fn attempt(
    cloud: &Cloud,
    program: &Path,
    files: Files,
    folder: &Path,
    node: &str,
) -> Result<Joined, JoinError> {
    attempt_with(&cloud.words(node), program, files, folder)
}

fn attempt_with(
    words: &[String],
    program: &Path,
    files: Files,
    folder: &Path,
) -> Result<Joined, JoinError> {
    let host = host(files, folder);
    let given = args::enter::<Flags>(&SPEC, words).unwrap();
    let mut wish = Wish::read(&host, &given.flags)?;
    wish.program = program.to_owned();
    let joined = loop {
        match join(&host, &wish, &Progress::new(Format::Json)) {
            Err(JoinError::Lock(error)) if is_held_by_a_fork(&error) => {}
            Err(JoinError::Service(ServiceError::Spawn { source, .. }))
                if source.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            joined => break joined,
        }
    };
    if let Err(error) = &joined {
        let log = std::fs::read_to_string(folder.join("var/log/kubeedge/edgecore.log"));
        println!("{error}: {}", log.unwrap_or_default());
    }
    joined
}

/// A process that another thread starts has our open files until it is the program it shall be:
/// the lock is then held, and the executable busy.
pub fn is_held_by_a_fork(error: &LockError) -> bool {
    let own = Some(std::process::id());
    // After a fault the note in it may be missing.
    matches!(error, LockError::Busy(pid) if pid.is_none() || *pid == own)
}

/// Joins after a power cut, under a name that its cloud does not know from another state.
fn again(
    words: impl Fn(&str) -> Vec<String>,
    program: &Path,
    folder: &Path,
    before: &str,
) -> Result<Joined, JoinError> {
    let (node, yaml) = (new_name(), folder.join("etc/kubeedge/config/edgecore.yaml"));
    if let Ok(text) = std::fs::read_to_string(&yaml) {
        std::fs::write(&yaml, text.replace(before, &node)).unwrap();
    }
    let joined = attempt_with(&words(&node), program, Files::real(), folder);
    if joined.is_ok() {
        wait_for_end_of_token(folder);
    }
    kill_edgecore(folder);
    joined
}

/// An identity that was there before is given the token's place only by a session, so that the
/// token ends a moment after the join.
fn wait_for_end_of_token(folder: &Path) {
    let token = folder.join("etc/kubeedge/bootstrap-edgecore.conf");
    let until = Instant::now() + Duration::from_secs(60);
    while token.exists() {
        assert!(Instant::now() < until, "the token is not erased");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What edgecore does meanwhile.
const FOREIGN: &[&str] = &[
    "etc/kubeedge/bootstrap-edgecore.conf",
    "etc/kubeedge/ca",
    "etc/kubeedge/certs",
    "run/kubeedge/edgecore",
    "run/kubeedge/edgecore-status.sock",
    "run/kubeedge/edgecore.lock",
    "run/kubeedge/edgecore.sock",
    "run/kubeedge/local.kubeconfig",
    "var/lib/kubeedge/edgecore",
    "var/log/kubeedge/edgecore.log",
];

fn record(words: &[String], program: &Path, folder: &Path) -> Recording {
    Recording::beside(folder, FOREIGN, |recorder| {
        attempt_with(words, program, recorder.files(), folder).unwrap();
        recorder.promise("joined");
        kill_edgecore(folder);
    })
}

/// Everything has its place, its content and its mode, and nothing else is there.
fn in_order(folder: &Path, program: &Path) {
    let (files, at) = (Files::real(), |path: &str| folder.join(path));
    let content = |path: &Path| std::fs::read(path).unwrap();
    assert_eq!(content(&at("usr/local/bin/kubeedge")), content(program));
    for (path, mode) in [
        ("etc", 0o755),
        ("etc/kubeedge", 0o755),
        ("etc/kubeedge/config", 0o755),
        ("etc/kubeedge/config/edgecore.yaml", 0o644),
        ("etc/kubeedge/certs", 0o700),
        ("etc/kubeedge/certs/server.key", 0o600),
        ("usr/local/bin", 0o755),
        ("usr/local/bin/kubeedge", 0o755),
        ("var/lib/kubeedge", 0o755),
        ("var/log/kubeedge", 0o755),
    ] {
        assert_eq!(files.mode(&at(path)).unwrap(), mode, "{path}");
    }
    let yaml = String::from_utf8(content(&at("etc/kubeedge/config/edgecore.yaml"))).unwrap();
    assert!(EdgeConfig::load(&yaml, "").unwrap().0.node_name.is_some());
    for (path, wanted) in [
        (
            "usr/local/bin",
            &["cloudcore", "edgecore", "keadm", "kubeedge"][..],
        ),
        ("etc/kubeedge", &["ca", "certs", "config"][..]),
        ("etc/kubeedge/config", &["edgecore.yaml"][..]),
        ("etc/kubeedge/certs", &["server.crt", "server.key"][..]),
    ] {
        let entries = std::fs::read_dir(at(path)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        assert_eq!(names, wanted, "in {path}");
    }
}

#[test]
fn a_join_may_lose_its_power_at_any_moment() {
    let (cloud, folder, node) = (Cloud::start(), Scratch::new(), new_name());
    let program = cloud.program();
    let recording = record(&cloud.words(&node), &program, folder.path());
    let states = recording.each_state(|state| {
        let at = |path: &str| state.root().join(path);
        if state.promised("joined") {
            let content = std::fs::read(at("usr/local/bin/edgecore")).unwrap();
            assert_eq!(content, std::fs::read(&program).unwrap());
            assert!(at("etc/kubeedge/bootstrap-edgecore.conf").exists());
        }
        again(|node| cloud.words(node), &program, state.root(), &node).unwrap();
        in_order(state.root(), &program);
    });
    tried("cuts-join", "states a power cut leaves of a join", states);
}

#[test]
fn a_join_survives_every_fault_of_the_disk() {
    // One would want them slower.
    let clouds = [(); 4].map(|()| Cloud::start());
    let program = clouds[0].program();
    let next = AtomicUsize::new(0);
    let setup = || {
        let cloud = &clouds[next.fetch_add(1, Ordering::SeqCst) % clouds.len()];
        (Scratch::new(), new_name(), cloud)
    };
    let flow = |(folder, node, cloud): &(Scratch, String, &Cloud), files| {
        let joined = attempt(cloud, &program, files, folder.path(), node);
        kill_edgecore(folder.path());
        joined
    };
    let faults = faults_in_turn(setup, flow, |(folder, node, cloud), outcome, fault| {
        if let Err(error) = outcome {
            let sentence = error.to_string();
            assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
        }
        attempt(cloud, &program, Files::real(), folder.path(), &node).unwrap();
        wait_for_end_of_token(folder.path());
        kill_edgecore(folder.path());
        in_order(folder.path(), &program);
    });
    tried("faults-join", "faults of the disk during a join", faults);
}

#[test]
fn a_join_writes_each_of_its_files_once() {
    let (cloud, folder) = (Cloud::start(), Scratch::new());
    let program = cloud.program();
    let written = record(&cloud.words(&new_name()), &program, folder.path()).written();
    // What lies below /run is in memory.
    let on_flash = written.iter().filter(|path| !path.starts_with("run"));
    let names: Vec<_> = on_flash.map(|path| path.to_str().unwrap()).collect();
    let wanted = [
        "etc/kubeedge/bootstrap-edgecore.conf",
        "etc/kubeedge/config/edgecore.yaml",
        "usr/local/bin/kubeedge",
    ];
    assert_eq!(names, wanted);
    tried(
        "wear-join",
        "files written by a join, each once",
        names.len(),
    );
}
