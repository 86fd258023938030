//! An upgrade that the cloud orders and a person agrees to, from the first word to the report.

use serde_json::Value;

use crate::common::site::Cloudcore;
use crate::common::{put, wait_until};
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
    edge.stop();
}
