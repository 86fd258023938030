//! SIGKILL at random instants of a join and of a renewal: the next run succeeds, and nothing is lost.
//!
//! 50 each; 1,000 each with `KUBEEDGE_LONG=1`. `KUBEEDGE_SEED=N` repeats the instants of a run.

mod common;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::device::{BOOTSTRAP, CA, CERTIFICATE, KEY};
use common::site::{Cloudcore, EXECUTABLE, Site};
use common::{KUBEEDGE, LIMIT, figures, files_below, wait_until};
use fastrand::Rng;
use kubeedge::pki::certificate::Certificate;
use kubeedge::pki::key::PrivateKey;
use kubeedge::protocol::control::{
    EDGE_SOCKET, EdgeOp, EdgeState, EdgeStatus, Reply, Request, call,
};
use kubeedge::system::processes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn rounds() -> u32 {
    match std::env::var_os("KUBEEDGE_LONG").is_some() {
        true => 1000,
        false => 50,
    }
}

/// Its seed is told, so that a run that went wrong can be had again.
fn random(test: &str) -> Rng {
    let given = std::env::var("KUBEEDGE_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("{test}: KUBEEDGE_SEED={seed}");
    Rng::with_seed(seed)
}

fn instant(random: &mut Rng, whole: Duration) -> Duration {
    whole.mul_f64(random.f64() * 1.1)
}

fn sigkill(pid: u32) {
    let pid = i32::try_from(pid).expect("a process number");
    // It may have come to its end by itself.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

fn words(cloud: &Cloudcore, token: &str, node: &str) -> Vec<String> {
    let (hub, api) = (format!("127.0.0.1:{}", cloud.hub), cloud.https.to_string());
    let words = ["join", "-e", &hub, "-s", &api, "--token-file", token];
    let more = ["-i", node, "--init", "none"];
    words
        .iter()
        .chain(&more)
        .map(|word| (*word).to_owned())
        .collect()
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn spawn(site: &Site, words: &[String]) -> Child {
    let mut command = site.command(&strs(words));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the executable starts")
}

/// The serial of the identity on the disk, which is whole or not there.
fn identity(site: &Site, node: &str) -> Option<String> {
    let unit = std::fs::read_to_string(site.path(KEY)).ok()?;
    let key = PrivateKey::from_pem(unit.as_bytes()).expect("a whole key");
    let certificate = Certificate::from_pem(unit.as_bytes()).expect("a whole certificate");
    assert_eq!(key.spki_hash(), certificate.spki_hash(), "a mixture");
    let name = certificate.subject().node_name().expect("a node's");
    assert_eq!(name.as_str(), node);
    assert_eq!(
        unit.matches("END CERTIFICATE").count(),
        2,
        "no CA behind it"
    );
    Some(certificate.serial())
}

/// After a run to its end: connected, whole, and nothing left over.
fn in_order(site: &Site, node: &str) -> EdgeStatus {
    let status = site.connected();
    let serial = identity(site, node).expect("an identity");
    let known = status.certificate.as_ref().map(|facts| &facts.serial);
    assert_eq!(known, Some(&serial));
    let copies = site.read(CERTIFICATE) + &site.read(CA);
    assert!(
        site.read(KEY).ends_with(&copies),
        "copies of something else"
    );
    // Of a device that had an identity before, the token ends with the first session.
    wait_until("the end of the token", || !site.has(BOOTSTRAP));
    for (path, _) in files_below(&site.path("/etc")) {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(!name.contains(".tmp-"), "{name} is left");
    }
    status
}

fn same(one: &Path, other: &Path) -> bool {
    std::fs::read(one).expect("a file") == std::fs::read(other).expect("a file")
}

#[test]
fn a_join_that_is_killed_at_any_instant_can_be_repeated() {
    let (cloud, mut random) = (Cloudcore::start(&[]), random("join"));
    let token = cloud.token_file();
    let quiet = |round| {
        let (site, node) = (Site::new(), format!("quiet-{round}"));
        let words = words(&cloud, &token, &node);
        let started = Instant::now();
        site.run(&strs(&words)).ends(0);
        started.elapsed()
    };
    let mut whole = Duration::ZERO;
    let (mut with_identity, mut of_edgecore) = (0, 0);
    for round in 0..rounds() {
        if round % MEASURE == 0 {
            whole = quiet(round);
        }
        let (site, node) = (Site::new(), format!("kill-{round}"));
        let words = words(&cloud, &token, &node);
        let mut join = spawn(&site, &words);
        std::thread::sleep(instant(&mut random, whole));
        let _ = join.kill();
        let _ = join.wait();
        // What it has started goes on; or it doesn't, and may be killed a little later.
        if random.bool() {
            std::thread::sleep(instant(&mut random, whole / 4));
            if let Some(pid) = site.edgecore() {
                let pid = u32::try_from(pid.as_raw()).expect("a process number");
                sigkill(pid);
                wait_until("the end of edgecore", || !processes::alive(pid));
                of_edgecore += 1;
            }
        }
        // In this order: an identity that came in between is no fault.
        let (waits, found) = (site.has(BOOTSTRAP), identity(&site, &node));
        let has_run = site.has("/run/kubeedge/edgecore.lock");
        assert!(
            waits || found.is_some() || !has_run,
            "the token is lost in round {round}"
        );
        with_identity += u32::from(found.is_some());
        site.run(&strs(&words)).ends(0);
        in_order(&site, &node);
        assert!(same(&site.path(EXECUTABLE), Path::new(KUBEEDGE)));
        let folder = site.path("/usr/local/bin");
        let names = std::fs::read_dir(folder).expect("a folder");
        assert_eq!(names.count(), 4, "something is left beside the executable");
    }
    println!(
        "join: {of_edgecore} of edgecore too, {with_identity} with an identity on the disk already"
    );
    assert!(
        with_identity > 0 && with_identity < rounds(),
        "the instants miss the join"
    );
    figures::tried(
        "kills-join",
        "joins killed at a random instant, then repeated",
        rounds(),
    );
}

#[test]
fn a_renewal_that_is_killed_at_any_instant_leaves_a_whole_identity() {
    let (cloud, mut random) = (Cloudcore::start(&[]), random("renewal"));
    let (site, node) = (Site::new(), "phoenix");
    let words = words(&cloud, &cloud.token_file(), node);
    site.run(&strs(&words)).ends(0);
    let mut status = in_order(&site, node);
    let mut whole = Duration::ZERO;
    let (mut renewed, mut of_hub) = (0, 0);
    let (mut seen, mut reach) = (0, 1.0);
    for round in 0..rounds() {
        if round % MEASURE == 0 {
            whole = (0..3).map(|_| renew_quietly(&site)).min().expect("three");
            status = in_order(&site, node);
            // None of them was as late as that.
            if round > 0 && renewed == seen {
                reach *= 2.0;
            }
            seen = renewed;
        }
        let before = identity(&site, node).expect("an identity");
        let socket = site.path(EDGE_SOCKET);
        let asked = std::thread::spawn(move || {
            let reply = call::<Reply>(&socket, &Request::new(EdgeOp::Renew), LIMIT);
            reply.is_ok_and(|reply| reply.error.is_none())
        });
        // Most of it is waiting for the new session: what is before that is hit more often.
        let share = random.f64();
        std::thread::sleep(instant(&mut random, whole.mul_f64(share * reach)));
        // The process that works, or its supervisor, with which it ends.
        let supervisor = status.pid;
        let hub = status.hub_pid.unwrap_or(supervisor);
        let only_hub = hub != supervisor && random.u8(..4) == 0;
        sigkill(if only_hub { hub } else { supervisor });
        wait_until("the end of both", || !processes::alive(hub));
        let promised = asked.join().expect("no panic");
        let found = identity(&site, node).expect("the identity is lost");
        assert!(
            found != before || !promised,
            "told and not kept in round {round}"
        );
        renewed += u32::from(found != before);
        if only_hub {
            of_hub += 1;
            // Nobody helps it: the supervisor does.
            wait_until("another session", || {
                let now = site.status();
                now.is_some_and(|now| now.state == EdgeState::Connected && now.hub_pid != Some(hub))
            });
        } else {
            wait_until("the end of edgecore", || !processes::alive(supervisor));
            site.run(&strs(&words)).ends(0);
        }
        status = in_order(&site, node);
        assert_eq!(identity(&site, node), Some(found));
    }
    println!("renewal: {of_hub} of the hub alone, {renewed} with the new identity on the disk");
    assert!(
        renewed > 0 && renewed < rounds(),
        "the instants miss the renewal"
    );
    figures::tried(
        "kills-rotate",
        "renewals killed at a random instant, then started again",
        rounds(),
    );
}

fn renew_quietly(site: &Site) -> Duration {
    let started = Instant::now();
    let reply: Reply =
        call(&site.path(EDGE_SOCKET), &Request::new(EdgeOp::Renew), LIMIT).expect("a reply");
    assert_eq!(reply.error.map(|it| format!("{it:?}")), None);
    started.elapsed()
}

/// After so many rounds it is seen anew how long the whole thing takes: the machine may have got busier.
const MEASURE: u32 = 10;
