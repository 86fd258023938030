//! What a device feels: how soon it is up, what it costs at rest, how long the cloud is gone.
//!
//! `cargo bench --bench edge [-- version | start | join | idle | rotation | outage]`

#[path = "../tests/common/mod.rs"]
mod common;
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::cloud::Cloud;
use support::edge::Edge;
use support::{Folder, median, percentile, process, row, span, until};

fn main() {
    support::run(&[
        ("version", version),
        ("start", start),
        ("join", join),
        ("idle", idle),
        ("rotation", rotation),
        ("outage", outage),
    ]);
}

fn version(executable: &Path) {
    let once = || {
        let started = Instant::now();
        let said = Command::new(executable)
            .arg("version")
            .stdin(Stdio::null())
            .output();
        let took = started.elapsed();
        assert!(
            said.is_ok_and(|said| said.status.success()),
            "version fails"
        );
        took
    };
    once();
    let samples: Vec<_> = (0..50).map(|_| once()).collect();
    row(
        "`kubeedge version`, whole process",
        "≤ 3 ms; upstream 145 ms",
        span(median(&samples)),
        &format!(
            "`cargo bench --bench edge -- version`: median of 50, from fork to the end of its \
             output; p95 {}",
            span(percentile(&samples, 95))
        ),
    );
}

/// A fresh edgecore each time, its configuration and token on disk.
fn start(executable: &Path) {
    let cloud = Cloud::start(executable);
    let once = |number: u32| {
        let (token, _) = cloud.token();
        let started = Instant::now();
        let mut edge = Edge::start(
            executable,
            &format!("fresh-{number}"),
            ports(&cloud),
            &token,
        );
        edge.session_after(0).1 - started
    };
    once(0);
    let samples: Vec<_> = (1..=20).map(once).collect();
    row(
        "token in hand → tunnel up, loopback, median",
        "≤ 50 ms; upstream 164 ms",
        span(median(&samples)),
        &format!(
            "`cargo bench --bench edge -- start`: fresh edgecore and cloudcore, median of 20, \
             from fork to the line `connected` on its status socket; p95 {}",
            span(percentile(&samples, 95))
        ),
    );
}

fn join(executable: &Path) {
    let cloud = Cloud::start(executable);
    let [https, hub] = ports(&cloud);
    let once = |number: u32| {
        let (token, _) = cloud.token();
        let folder = Folder::new();
        let token_file = folder.at("token");
        std::fs::write(&token_file, token.secret_string()).expect("the folder is writable");
        let mut command = Command::new(executable);
        command
            .env("KUBEEDGE_ROOT", folder.path())
            .stdin(Stdio::null());
        command
            .args(["join", "--init", "none", "--token-file"])
            .arg(&token_file);
        command.arg(format!("--cloudcore-ipport=127.0.0.1:{hub}"));
        command.arg(format!("--certport={https}"));
        command.arg(format!("--edgenode-name=joined-{number}"));
        let started = Instant::now();
        let said = command.output().expect("the executable starts");
        let took = started.elapsed();
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "join fails: {text}");
        end_background(&folder);
        took
    };
    let samples: Vec<_> = (0..10).map(once).collect();
    row(
        "`kubeedge join --init none`, loopback",
        "≤ 1 s; upstream ≥ 10 s",
        span(median(&samples)),
        &format!(
            "`cargo bench --bench edge -- join`: the whole process, from fork until it has seen \
             the tunnel up, median of 10; the longest {}",
            span(percentile(&samples, 100))
        ),
    );
}

/// What `--init none` left running.
fn end_background(folder: &Folder) {
    let pid_file = folder.at("/run/kubeedge/edgecore.pid");
    let text = std::fs::read_to_string(pid_file).expect("edgecore runs in the background");
    let pid: u32 = text.trim().parse().expect("the file holds a pid");
    process::terminate(pid);
    let gone = || (!is_alive(pid)).then_some(());
    until("end of edgecore", Duration::from_secs(10), gone);
}

/// A process that has ended and that nobody has waited for does not live.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| !fields.starts_with('Z'))
}

fn idle(executable: &Path) {
    let cloud = Cloud::start(executable);
    let mut edge = Edge::start(executable, "idle", ports(&cloud), &cloud.token().0);
    edge.session_after(0);
    // Helper threads end, and what the start needed is given back.
    std::thread::sleep(Duration::from_secs(12));
    let pids = edge.pids();
    let cpu = || pids.into_iter().map(process::precise_cpu).sum::<Duration>();
    let sleeps = || pids.into_iter().map(process::sleeps).sum::<u64>();
    let before = (cpu(), sleeps());
    std::thread::sleep(MINUTE);
    let (cpu, sleeps) = (cpu() - before.0, sleeps() - before.1);
    let [supervisor, pid] = pids;
    let (memory, above) = (process::memory(pid), process::memory(supervisor));
    row(
        "edgecore, a Ready node, idle 60 s: RSS",
        "≤ 5 MB; upstream 86 MB",
        format!("{:.1} MB", memory.rss as f64 / 1024.0),
        &format!(
            "`cargo bench --bench edge -- idle`: /proc/PID/smaps_rollup; PSS {} kB, of that \
             anonymous {} kB; {} threads, {} open files; the supervisor besides: RSS {} kB, of \
             that anonymous {} kB, the rest is the same file in the same memory",
            memory.pss,
            memory.anonymous,
            process::threads(pid).len(),
            process::open_files(pid),
            above.rss,
            above.anonymous,
        ),
    );
    row(
        "edgecore, connected, idle 60 s: processor time and wake-ups",
        "≤ 20 ms; ≤ 1 burst per 5 s",
        format!("{}; {sleeps} wake-ups", span(cpu)),
        "in the same run: /proc/PID/task/*/schedstat and voluntary_ctxt_switches",
    );
}

/// The certificate is renewed again and again while the tunnel stays up.
fn rotation(executable: &Path) {
    let cloud = Cloud::start(executable);
    let mut edge = Edge::start(executable, "renewed", ports(&cloud), &cloud.token().0);
    let mut session = edge.session_after(0).0;
    let mut gaps = Vec::new();
    for _ in 0..20 {
        let known = |generation| {
            let session = cloud.session("renewed")?;
            (session.generation > generation).then_some(session)
        };
        let before = until("session", PATIENCE, || known(0));
        edge.renew();
        let after = until("new session", PATIENCE, || known(before.generation));
        assert_ne!(
            before.serial, after.serial,
            "the certificate is still the old one"
        );
        gaps.push(Duration::from_millis(
            after.last_gap_ms.expect("not the first session"),
        ));
        session = edge.session_after(session.generation).0;
    }
    let with_go = rotation_at_go_cloud(executable);
    row(
        "tunnel gap during rotation",
        "0; upstream 30 s",
        format!("{} ms", percentile(&gaps, 100).as_millis()),
        &format!(
            "`cargo bench --bench edge -- rotation`: the longest time in 20 renewals that \
             cloudcore's registry held no session of the node. Against a cloud that ends both \
             tunnels when a second one comes, as a Go cloudcore may: {}",
            span(with_go)
        ),
    );
}

/// Against the peer of the tests, which is written from the protocol.
fn rotation_at_go_cloud(executable: &Path) -> Duration {
    let mut cloud = common::cloud::Cloud::start(&["--kill-newcomer"]);
    let token = cloud.token().trim().parse().expect("a token");
    let mut edge = Edge::start(executable, "renewed", [cloud.https, cloud.hub], &token);
    edge.session_after(0);
    cloud.event("connect");
    let gaps = (0..10).map(|_| {
        edge.renew();
        let gap = cloud.event("connect")["gap"]
            .as_f64()
            .expect("not the first session");
        Duration::from_secs_f64(gap)
    });
    gaps.max().expect("there are some")
}

/// cloudcore is stopped for two seconds and comes back.
fn outage(executable: &Path) {
    let mut cloud = Cloud::start(executable);
    let mut edge = Edge::start(executable, "patient", ports(&cloud), &cloud.token().0);
    let mut generation = edge.session_after(0).0.generation;
    let mut samples = Vec::new();
    for _ in 0..5 {
        // Only after that long a session the edge takes the next outage for a new one.
        std::thread::sleep(Duration::from_secs(31));
        cloud.stop();
        std::thread::sleep(Duration::from_secs(2));
        cloud.start_again(executable);
        let serves = Instant::now();
        let (session, back) = edge.session_after(generation);
        samples.push(back.saturating_duration_since(serves));
        generation = session.generation;
    }
    row(
        "back after an outage of 2 s, median",
        "≤ 3 s after cloudcore serves again; upstream 32–37 s",
        span(median(&samples)),
        &format!(
            "`cargo bench --bench edge -- outage`: cloudcore ends and starts again 2 s later, on \
             the same ports; median of 5, the longest {}",
            span(percentile(&samples, 100))
        ),
    );
}

fn ports(cloud: &Cloud) -> [u16; 2] {
    [cloud.ports.https, cloud.ports.hub]
}

const MINUTE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(30);
