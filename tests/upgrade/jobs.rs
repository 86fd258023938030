//! An upgrade that the cloud orders and a person agrees to, from the first word to the report.

use crate::common::site::Cloudcore;
use crate::common::{put, wait_until};
use crate::offer::{Offer, actions, ctl, device, job};
use crate::stage::{NEW, OLD, Seal, address, address_at, is_installed, is_tidy, new, old};

#[test]
fn a_job_waits_for_a_person_and_ends_with_the_new_version() {
    let cloud = Cloudcore::start(&[]);
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
    // The session over which it was said is the new version's.
    assert_eq!(address(&edge), NEW);
    edge.connected();
    wait_until("the node with its new address", || {
        address_at(&cloud, "asked") == NEW
    });
    assert!(is_installed(&device, &new()) && !is_installed(&device, &old()));
    is_tidy(&device);
    edge.stop();
}
