//! Upgrades whose processes are killed at any moment: the device ends up with one of the two, connected.
//!
//! 4 of them; 50 with `KUBEEDGE_LONG=1`. `KUBEEDGE_SEED=N` repeats the instants of a run.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::site::Cloudcore;
use crate::common::{KUBEEDGE, figures, wait_until};
use crate::stage::{MARKER, NEW, OLD, address, device, is_installed, is_tidy, new, old};

#[test]
fn upgrades_may_be_killed_at_any_moment() {
    let kills = match std::env::var_os("KUBEEDGE_LONG").is_some() {
        true => 50,
        false => 4,
    };
    let given = std::env::var("KUBEEDGE_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("KUBEEDGE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "battered");
    let mut edge = device.start();
    edge.connected();
    let (mut changed, mut stayed) = (0, 0);
    for round in 0..kills {
        let from = match is_installed(&device, &old()) {
            true => new(),
            false => old(),
        };
        let before = address(&edge);
        let mut keadm = std::process::Command::new(KUBEEDGE)
            .args(["upgrade", "edge", "--force", "--disable-backup", "--from"])
            .arg(&from)
            .env("KUBEEDGE_ROOT", device.path("/"))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the executable starts");
        // Spread over all that happens, the swap above all.
        let pause = Duration::from_millis(random.u64(0..1500));
        let until = Instant::now() + pause;
        while Instant::now() < until && keadm.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // As when the power goes: all at once, or the one before the other.
        if round % 3 != 1 {
            let _ = keadm.kill();
        }
        if round % 3 != 0 {
            let pid = i32::try_from(edge.pid()).expect("a number");
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
            drop(edge);
            edge = device.start();
        }
        let _ = keadm.wait();
        // A change that was begun and not handed over waits for the next start.
        if device.path(MARKER).exists() && address(&edge) == before {
            edge.signal(Signal::SIGHUP);
        }
        wait_until("the end of the trial", || !device.path(MARKER).exists());
        edge.connected();
        let there = match is_installed(&device, &old()) {
            true => OLD,
            false => NEW,
        };
        assert!(there == OLD || is_installed(&device, &new()));
        wait_until("the build that is there", || address(&edge) == there);
        match before == there {
            true => stayed += 1,
            false => changed += 1,
        }
    }
    // What was left half staged goes with the next one.
    let last = match is_installed(&device, &old()) {
        true => new(),
        false => old(),
    };
    crate::stage::upgrade(&device, &last, &[]).ends(0);
    is_tidy(&device);
    edge.stop();
    println!("{changed} changed, {stayed} stayed");
    figures::tried(
        "kills-upgrade",
        "upgrades were killed at any moment; the device came back with one of the two, connected",
        kills as usize,
    );
}
