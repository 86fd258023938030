//! Work for minutes leaves nothing behind: memory and open files of cloudcore and edgecore stay as they are.
//! `KUBEEDGE_LONG=1` takes half an hour instead of three minutes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cloud::Cloud;
use crate::support::edge::Edge;
use crate::support::process;

#[test]
fn memory_and_open_files_stay_flat() {
    let long = std::env::var_os("KUBEEDGE_LONG").is_some();
    let length = Duration::from_secs(if long { 1800 } else { 180 });
    let cloud = Cloud::start(executable());
    let ports = [cloud.ports.https, cloud.ports.hub];
    let mut edge = Edge::start(executable(), "busy", ports, &cloud.token().0);
    let mut generation = edge.session_after(0).0.generation;
    let pids = [cloud.pid(), edge.hub()];
    let mut samples = [Vec::new(), Vec::new()];
    let started = Instant::now();
    let mut round = 0;
    while started.elapsed() < length {
        for _ in 0..ROUND {
            round += 1;
            give(&cloud, round);
        }
        edge.renew();
        generation = edge.session_after(generation).0.generation;
        for (pid, samples) in pids.into_iter().zip(&mut samples) {
            samples.push(Sample {
                anonymous: process::memory(pid).anonymous,
                files: process::open_files(pid),
            });
        }
    }
    for (name, samples) in ["cloudcore", "edgecore"].into_iter().zip(&samples) {
        // What fills up once, such as caches and pools, has done so in the first third.
        let third = samples.len() / 3;
        let (early, late) = (&samples[third..2 * third], &samples[2 * third..]);
        let (before, after) = (Sample::most(early), Sample::most(late));
        println!("{name}: {before:?}, later {after:?}, in {round} changes");
        assert!(samples.len() >= 9, "too slow: {} rounds", samples.len());
        assert!(
            after.anonymous <= before.anonymous + MORE_KB,
            "{name} grows: {samples:?}"
        );
        assert!(
            after.files <= before.files + MORE_FILES,
            "{name} keeps files: {samples:?}"
        );
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// kB
    anonymous: u64,
    files: usize,
}

impl Sample {
    fn most(samples: &[Sample]) -> Sample {
        Sample {
            anonymous: samples.iter().map(|it| it.anonymous).max().unwrap_or(0),
            files: samples.iter().map(|it| it.files).max().unwrap_or(0),
        }
    }
}

/// A ConfigMap that is new each time, of a few that take turns.
fn give(cloud: &Cloud, round: usize) {
    let mut yaml = String::new();
    let _ = write!(
        yaml,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: turn-{}, namespace: default}}\n\
         data: {{text: \"{}\"}}\n",
        round % 10,
        format!("{round} ").repeat(500),
    );
    let mut command = Command::new(executable());
    command
        .args(["cloudcore", "ctl", "apply", "--node", "busy", "-f", "-"])
        .env("KUBEEDGE_ROOT", cloud.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().expect("the executable starts");
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(yaml.as_bytes()).expect("it reads");
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

fn executable() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kubeedge"))
}

/// Changes between two renewals.
const ROUND: usize = 20;
/// What the allocator may have kept between two samples.
const MORE_KB: u64 = 512;
/// Connections of commands that are just ending.
const MORE_FILES: usize = 3;
