//! `reset edge`: what join made goes, what is somebody else's stays, and one summary tells both.

mod common;

use std::fs;

use common::device::{CONFIG, KEY};
use common::site::{Cloudcore, EXECUTABLE, Said, Site, stub_systemctl};
use kubeedge::system::processes;
use serde_json::json;

/// A joined device.
fn joined(cloud: &Cloudcore, node: &str) -> Site {
    let site = Site::new();
    join(&site, cloud, node, &[]).ends(0);
    site
}

fn join(site: &Site, cloud: &Cloudcore, node: &str, more: &[&str]) -> Said {
    let hub = format!("127.0.0.1:{}", cloud.hub);
    site.join(&hub, cloud.https, &cloud.token_file(), node, more)
}

const OWN: &[&str] = &[
    "/etc/kubeedge",
    "/var/log/kubeedge",
    "/var/lib/kubeedge",
    "/run/kubeedge",
];

#[test]
fn everything_goes_but_the_program_and_twice_is_fine() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "gone");
    let pid = site.connected().pid;
    fs::create_dir_all(site.path("/var/lib/edged/pods/x")).expect("a folder of older versions");
    let said = site.run(&["reset", "edge", "--force"]).ends(0);
    assert!(!processes::alive(pid));
    for path in OWN.iter().chain(&["/var/lib/edged"]) {
        assert!(!site.has(path), "{path}");
        assert!(said.out.contains(path), "{path}: {}", said.out);
    }
    assert!(site.has(EXECUTABLE) && site.has("/usr/local/bin/edgecore"));
    for part in [
        "gone is reset",
        "keadm certs revoke gone",
        "kubectl delete node gone",
        EXECUTABLE,
        &pid.to_string(),
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert_eq!(said.err, "");
    let again = site.run(&["reset", "edge", "--force"]).ends(0);
    assert!(again.out.contains("nothing to do"), "{}", again.out);
    // Without any trace there is nothing to ask either.
    site.run(&["reset"]).ends(0);
    assert!(
        !site.has("/run/kubeedge"),
        "a command that has nothing to do leaves a folder"
    );
}

#[cfg(feature = "upgrade")]
#[test]
fn a_change_that_is_refused_before_the_device_has_joined_leaves_nothing() {
    let site = Site::new();
    let file = site.path("/no-such-file");
    let file = file.to_str().expect("UTF-8");
    for (words, code) in [
        (
            &["config-update", "--set", "modules.edgeHub.heartbeat=30"][..],
            78,
        ),
        (&["upgrade", "edge", "--from", file], 78),
        (&["upgrade", "edge", "--force", "--from", file], 78),
        (&["rollback", "edge"], 1),
        (&["backup", "edge"], 78),
    ] {
        let said = site.run(words).ends(code);
        assert!(!said.err.contains("[y/N]"), "{words:?}: {}", said.err);
        let left = fs::read_dir(site.path("/")).expect("a folder").count();
        assert_eq!(left, 0, "{words:?} leaves something behind");
    }
    let said = site.run(&["reset"]).ends(0);
    assert!(said.out.contains("no edge on this machine"), "{}", said.out);
}

#[test]
fn a_device_that_was_reset_joins_again() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "again");
    let first = site.connected().certificate.expect("a certificate");
    site.run(&["reset", "--force"]).ends(0);
    // For the cloud it is another device now, until the operator says otherwise.
    join(&site, &cloud, "again", &[]).ends(77);
    join(&site, &cloud, "again", &["--force"]).ends(0);
    let second = site.connected().certificate.expect("a certificate");
    assert_ne!(first.serial, second.serial);
    site.run(&["reset", "--force"]).ends(0);
    join(&site, &cloud, "another", &[]).ends(0);
}

/// The ways that the summary of a reset, and the refusal of the join after it, name.
#[test]
fn the_name_of_a_device_that_was_reset_is_freed_on_the_cloud() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "free");
    let said = site.run(&["reset", "--force"]).ends(0);
    let way = "keadm certs revoke free";
    assert!(said.out.contains(way), "{}", said.out);
    let deleted = "cloudcore ctl delete node free";
    assert!(said.out.contains(deleted), "{}", said.out);
    cloud.run(&deleted.split(' ').collect::<Vec<_>>()).ends(0);
    // That is for the list; the name is the key's still.
    let refused = join(&site, &cloud, "free", &[]).ends(77);
    assert!(
        refused.fault("kubeedge join").contains(way),
        "{}",
        refused.err
    );
    cloud.run(&way.split(' ').collect::<Vec<_>>()).ends(0);
    join(&site, &cloud, "free", &[]).ends(0);
    site.connected();
}

#[test]
fn only_a_clear_yes_is_one() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "asked");
    let files = site.own_files();
    for answer in ["", "\n", "n\n", "yeah\n", "ja\n"] {
        let said = site.run_with_input(&["reset", "edge"], answer).ends(1);
        assert!(
            said.err.contains("asked") && said.err.contains("[y/N]"),
            "{}",
            said.err
        );
        let fault = said.fault("kubeedge reset edge");
        assert!(fault.contains("nothing was changed"), "{fault}");
    }
    assert!(site.own_files() == files, "files have changed");
    site.connected();
    site.run_with_input(&["reset", "edge"], "y\n").ends(0);
    assert!(!site.has("/etc/kubeedge"));
}

#[test]
fn json_is_one_object() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "json");
    let refused = site.run(&["reset", "edge", "-o", "json"]).ends(1);
    assert_eq!(refused.json()["exitCode"], 1);
    let told = site
        .run(&["reset", "edge", "--force", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(told["node"], "json");
    assert_eq!(told["left"], json!([]));
    let removed = told["removed"].as_array().expect("a list");
    let path = json!(site.path("/etc/kubeedge").display().to_string());
    assert!(removed.contains(&path), "{told}");
    assert_eq!(
        site.run(&["reset", "-o", "json"]).ends(0).json()["removed"],
        json!([])
    );
}

#[test]
fn what_a_cloudcore_has_on_the_same_machine_stays() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "both");
    let of_cloud = [
        "/etc/kubeedge/cloudcore/ca.key",
        "/etc/kubeedge/config/cloudcore.yaml",
        "/var/lib/kubeedge/cloudcore/nodes",
        "/run/kubeedge/cloudcore.pid",
    ];
    for path in of_cloud {
        site.write(path, "x", 0o600);
    }
    let said = site.run(&["reset", "edge", "--force"]).ends(0);
    for path in of_cloud {
        assert!(site.has(path), "{path}: {}", said.out);
    }
    assert!(
        said.out.contains("/var/lib/kubeedge/cloudcore: belongs to"),
        "{}",
        said.out
    );
    for path in [
        CONFIG,
        KEY,
        "/etc/kubeedge/ca",
        "/run/kubeedge/edgecore.lock",
    ] {
        assert!(!site.has(path), "{path}: {}", said.out);
    }
    // A cloud alone is no edge.
    let again = site.run(&["reset", "--force"]).ends(0);
    assert!(again.out.contains("nothing to do"), "{}", again.out);
    assert!(of_cloud.iter().all(|path| site.has(path)));
}

#[test]
fn the_ca_of_kubeedges_own_cloudcore_stays() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "old-cloud");
    site.write("/etc/kubeedge/ca/rootCA.key", "x", 0o600);
    site.run(&["reset", "edge", "--force"]).ends(0);
    assert!(site.has("/etc/kubeedge/ca/rootCA.key") && site.has("/etc/kubeedge/ca/rootCA.crt"));
    assert!(!site.has(KEY));
}

#[test]
fn an_edgecore_that_hangs_without_its_files_is_ended() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "lost");
    let pid = site.connected().pid;
    fs::remove_file(site.path("/run/kubeedge/edgecore.pid")).expect("it was there");
    fs::remove_file(site.path("/run/kubeedge/edgecore-status.sock")).expect("it was there");
    let stopped = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a number"));
    nix::sys::signal::kill(stopped, nix::sys::signal::Signal::SIGSTOP).expect("it runs");
    let said = site.run(&["reset", "edge", "--force"]).ends(0);
    assert!(!processes::alive(pid), "{}", said.out);
}

#[test]
fn systemd_forgets_it() {
    let (cloud, site) = (Cloudcore::start(&[]), Site::new());
    let systemctl = stub_systemctl(&site);
    let with = |words: &[&str]| {
        let mut command = site.command(words);
        Said::of(command.env("SYSTEMCTL", &systemctl).output())
    };
    let (hub, api) = (format!("127.0.0.1:{}", cloud.hub), cloud.https.to_string());
    let token = cloud.token_file();
    let words = [
        "join",
        "-e",
        &hub,
        "-s",
        &api,
        "--token-file",
        &token,
        "-i",
        "unit",
    ];
    with(&[&words[..], &["--init", "systemd"]].concat()).ends(0);
    let pid = site.connected().pid;
    site.write(
        "/etc/systemd/system/edgecore.service.d/mine.conf",
        "[Unit]\n",
        0o644,
    );
    let said = with(&["reset", "edge", "--force"]).ends(0);
    assert!(!processes::alive(pid));
    let calls = site.read("/calls");
    let orders = [
        "stop edgecore.service",
        "disable edgecore.service",
        "daemon-reload",
    ];
    let mut given = calls.lines();
    assert!(
        orders.iter().all(|order| given.any(|line| line == *order)),
        "{calls}"
    );
    assert!(!site.has("/etc/systemd/system/edgecore.service") && !site.has("/enabled"));
    assert!(
        said.out
            .contains("edgecore.service.d: written by somebody else"),
        "{}",
        said.out
    );
    assert!(site.has("/etc/systemd/system/edgecore.service.d/mine.conf"));
}

/// A package's script is not ours, nor is the file with its options; but the token in it has nobody else.
#[test]
fn no_token_stays_in_uci() {
    let cloud = Cloudcore::start(&[]);
    let asks = |server: &str, token: &str| {
        format!(
            "config edgecore 'edgecore'\n\toption enabled '0'\n\toption server '{server}'\n{token}\toption respawn '5'\n"
        )
    };
    let token = "\toption token 'of-another-cloud'\n";
    let (asked, never_asked) = (joined(&cloud, "of-one-cloud"), Site::new());
    for (site, headline) in [
        (asked, "of-one-cloud is reset"),
        (never_asked, "this device is reset"),
    ] {
        site.write(
            "/etc/init.d/edgecore",
            "#!/bin/sh /etc/rc.common\nUSE_PROCD=1\n",
            0o755,
        );
        site.write("/etc/config/kubeedge", &asks("b:10000", token), 0o600);
        let said = site.run(&["reset", "edge", "--force"]).ends(0);
        assert!(
            said.out.contains(headline) && said.out.contains("erased what"),
            "{}",
            said.out
        );
        assert_eq!(site.read("/etc/config/kubeedge"), asks("b:10000", ""));
        assert!(site.has("/etc/init.d/edgecore"));
        let again = site.run(&["reset", "edge", "--force"]).ends(0);
        assert!(again.out.contains("nothing to do"), "{}", again.out);
    }
}

#[test]
fn scripts_and_flags_of_kubeedge() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud, "hooks");
    let files = site.own_files();
    let script = |name: &str, code: i32| {
        let mark = site.path("/ran").display().to_string();
        let content = format!("echo {name} >> {mark}; exit {code}\n");
        site.write(&format!("/{name}"), &content, 0o644)
            .display()
            .to_string()
    };
    let (failing, fine) = (script("failing", 1), script("fine", 0));
    site.run(&["reset", "edge", "--force", "--pre-run", &failing])
        .ends(1);
    site.connected();
    assert!(files.iter().all(|(path, _)| path.exists()));
    let words = [
        "reset",
        "edge",
        "--force",
        "--pre-run",
        &fine,
        "--post-run",
        &failing,
    ];
    let more = [
        "--remote-runtime-endpoint",
        "unix:///x",
        "--kube-config=/root/.kube/config",
    ];
    let said = site.run(&[&words[..], &more].concat()).ends(0);
    for part in ["--remote-runtime-endpoint", "--kube-config", &failing] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert_eq!(site.read("/ran"), "failing\nfine\nfailing\n");
    // That is a matter of a cluster, of which nobody told it.
    let cloud = site.run(&["reset", "cloud"]).ends(78);
    assert!(
        cloud.err.contains("no kubeconfig was found"),
        "{}",
        cloud.err
    );
}
