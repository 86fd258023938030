//! An upgrade that the cloud orders and a person agrees to, from the first word to the report; and jobs during
//! which the power is cut.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::device::Device;
use crate::common::site::Cloudcore;
use crate::common::{figures, put, wait_until};
use crate::offer::{Offer, actions, ctl, device, job};
use crate::stage::{NEW, OLD, Seal, address, address_at, is_installed, is_tidy, new, old};

#[test]
fn a_job_waits_for_a_person_and_ends_with_the_new_version() {
    let mut cloud = Cloudcore::start(&[]);
    let seal = Seal::new();
    let signature = seal.sign(&std::fs::read(new()).expect("a build"));
    let offer = Offer::of(&new(), "v0.2.0", Some(&signature));
    // No image is allowed here: the key is what allows it.
    let device = device(&cloud, "asked", "{enable: true}");
    put(
        &device.path("/etc/kubeedge/upgrade.pub"),
        seal.public(),
        0o644,
    );
    let edge = device.start();
    edge.connected();
    wait_until("the node with its address", || {
        address_at(&cloud, "asked") == OLD
    });
    let said = device.run(&["ctl", "confirm"]).ends(1);
    assert!(said.err.contains("no job waits"), "{}", said.err);
    let words = [
        "upgrade",
        "--version",
        "v0.2.0",
        "--image",
        &offer.image,
        "--node",
        "asked",
        "--require-confirmation",
        "--detach",
    ];
    ctl(&cloud, &words).ends(0);
    wait_until("a job that waits", || {
        actions(&job(&cloud, "upgrade-v0.2.0"), "asked") == ["Check"]
            && edge.log().contains("waits for `kubeedge ctl confirm`")
    });
    assert_eq!(address(&edge), OLD);
    let said = device.run(&["ctl", "confirm"]).ends(0);
    assert!(said.out.contains("agreed"), "{}", said.out);
    // The cloud falls while the new version is on trial.
    wait_until("the new version", || address(&edge) == NEW);
    edge.connected();
    cloud.kill();
    cloud.start_again(&[]);
    wait_until("the end of the job", || {
        job(&cloud, "upgrade-v0.2.0")["phase"] == "Completed"
    });
    let job = job(&cloud, "upgrade-v0.2.0");
    assert_eq!(
        actions(&job, "asked"),
        ["Check", "WaitingConfirmation", "BackUp", "Upgrade"],
        "{job}"
    );
    let node = &job["nodes"]["asked"];
    assert_eq!(node["phase"], "Successful", "{job}");
    assert_eq!(node["actions"][3]["extend"], "v0.1.0,v0.2.0", "{job}");
    // Nothing was said twice, and nothing is kept for another time.
    wait_until("reports that have arrived", || {
        let record = device.read("/var/lib/kubeedge/edgecore/job.json");
        let record: Value = serde_json::from_str(&record).expect("JSON");
        record["unsent"] == serde_json::json!([])
    });
    edge.connected();
    assert_eq!(address(&edge), NEW);
    wait_until("the node with its new address", || {
        address_at(&cloud, "asked") == NEW
    });
    assert!(is_installed(&device, &new()) && !is_installed(&device, &old()));
    is_tidy(&device);
    // keadm has tried the new version without the signals that edgecore holds back for itself.
    assert_eq!(device.read("/held-back"), "0".repeat(16));
    // It was started by the version before, and this one has waited for its end all the same.
    wait_until("no child that has ended", || {
        ended_children(edge.pid()).is_empty()
    });
    edge.stop();
}

/// The names of children for which the process has not waited.
fn ended_children(parent: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("processes").flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let ended = stats.filter_map(|stat| {
        let (head, tail) = stat.rsplit_once(')')?;
        let mut fields = tail.split_ascii_whitespace();
        let is_ended = fields.next() == Some("Z") && fields.next()?.parse() == Ok(parent);
        is_ended.then(|| head.to_owned())
    });
    ended.collect()
}

/// 2 of them; 40 with `KUBEEDGE_LONG=1`. `KUBEEDGE_SEED=N` repeats the instants of a run.
#[test]
fn the_power_may_be_cut_at_any_moment_of_a_job() {
    let cuts = match std::env::var_os("KUBEEDGE_LONG").is_some() {
        true => 40,
        false => 2,
    };
    let given = std::env::var("KUBEEDGE_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("KUBEEDGE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let cloud = Cloudcore::start(&[]);
    let mut device = device(&cloud, "cut", "{enable: true}");
    // It is so already, and needs no trial: trials are cut elsewhere.
    device.hub_keys = vec!["messageQPS: 31".to_owned()];
    device.configure_for(&cloud, &cloud.token());
    let mut edge = device.start();
    edge.connected();
    wait_until("the node with its address", || {
        address_at(&cloud, "cut") == OLD
    });
    for round in 0..cuts {
        let name = format!("round-{round}");
        let words = [
            "config-update",
            "--name",
            &name,
            "--set",
            "modules.edgeHub.messageQPS=31",
            "--node",
            "cut",
            "--detach",
        ];
        ctl(&cloud, &words).ends(0);
        // The steps are short, and so are the pauses between them that are worth a cut.
        let longest = if round % 2 == 0 { 150 } else { 1200 };
        std::thread::sleep(Duration::from_millis(random.u64(0..longest)));
        end_all_of(&device);
        drop(edge);
        edge = device.start();
        wait_until("the end of the job", || {
            job(&cloud, &name)["phase"] == "Completed"
        });
        let job = job(&cloud, &name);
        assert_eq!(job["nodes"]["cut"]["phase"], "Successful", "{job}");
        assert_eq!(actions(&job, "cut"), ["Check", "BackUp", "Update"], "{job}");
    }
    let again = edge.log().matches("was interrupted: once more").count();
    println!("{again} steps were begun again");
    edge.stop();
    figures::tried(
        "kills-jobs",
        "jobs during which everything on the device was killed at once; each was done, and reported once",
        cuts,
    );
}

/// Kills every process on the device at once.
fn end_all_of(device: &Device) {
    let root = format!("KUBEEDGE_ROOT={}", device.path("/").display());
    let root = root.trim_end_matches('/');
    for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_on_it = environment
            .split(|byte| *byte == 0)
            .any(|variable| String::from_utf8_lossy(variable).trim_end_matches('/') == root);
        let name = entry.file_name();
        if let (true, Some(pid)) = (is_on_it, name.to_str().and_then(|it| it.parse().ok())) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
