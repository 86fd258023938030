//! Upgrades: what is kept, what goes, and the way back.

use super::*;

#[test]
fn an_upgrade_keeps_what_was_given_and_takes_away_what_vanished() {
    let site = Site::new();
    site.init(&[
        "cloudCore.modules.cloudHub.advertiseAddress={192.0.2.1}",
        "cloudCore.image.tag=v1.22.0,mosquitto.enable=true",
    ])
    .unwrap();
    site.time.advance(Duration::from_secs(60));
    site.upgrade(&["mosquitto.enable=false,cloudCore.replicaCount=3"])
        .unwrap();
    assert_eq!(
        site.history(),
        [(1, Status::Superseded), (2, Status::Deployed)]
    );
    // K32: nothing is lost; the tag is the one of this version.
    let config = site.get(&CONFIG_MAPS, "cloudcore").unwrap();
    assert!(
        config["data"]["cloudcore.yaml"]
            .as_str()
            .unwrap()
            .contains("- 192.0.2.1")
    );
    let deployment = site.get(&DEPLOYMENTS, "cloudcore").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        "kubeedge/cloudcore:v1.23.1"
    );
    assert_eq!(site.get(&DAEMON_SETS, "edge-eclipse-mosquitto"), None);
    assert!(site.get(&DAEMON_SETS, "cloud-iptables-manager").is_some());
}

#[test]
fn a_release_of_the_other_keadm_is_upgraded() {
    let site = Site::new();
    site.init(&["mosquitto.enable=true"]).unwrap();
    let tag = json!({"image": {"tag": "v1.22.0"}});
    let records = Records::read(&site.cluster).unwrap();
    let theirs = Release::new(Draft {
        name: "cloudcore",
        namespace: "kubeedge",
        revision: 1,
        status: Status::Deployed,
        description: "Install complete".to_owned(),
        first_deployed: None,
        now: site.cluster.now(),
        metadata: json!({"name": "cloudcore", "version": "1.22.0"}),
        values: json!({"mosquitto": {"enable": true}}),
        config: json!({"cloudCore": {"image": {"tag": "v1.22.0-mine"}}, "iptablesManager": tag, "controllerManager": tag}),
        manifest: records.newest().unwrap().release.manifest().to_owned(),
        hooks: Vec::new(),
    });
    site.fake.put(
        &SECRETS,
        Some("kubeedge"),
        theirs.secret(site.cluster.now(), true),
    );
    site.upgrade(&[]).unwrap();
    let records = Records::read(&site.cluster).unwrap();
    let config = records.newest().unwrap().release.config();
    // A tag that is nobody's release was meant.
    let kept =
        json!({"cloudCore": {"image": {"tag": "v1.22.0-mine"}}, "mosquitto": {"enable": true}});
    assert_eq!(config, kept);
    assert!(site.get(&DAEMON_SETS, "edge-eclipse-mosquitto").is_some());
}

#[test]
fn an_upgrade_that_does_not_work_is_undone() {
    let site = Site::new();
    site.init(&[]).unwrap();
    let error = site
        .upgrade(&[BROKEN, "mosquitto.enable=true"])
        .unwrap_err();
    assert!(
        matches!(&error, CloudError::RolledBack { to: 1, .. }),
        "{error}"
    );
    let deployment = site.get(&DEPLOYMENTS, "cloudcore").unwrap();
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        "kubeedge/cloudcore:v1.23.1"
    );
    assert_eq!(site.get(&DAEMON_SETS, "edge-eclipse-mosquitto"), None);
    assert_eq!(
        site.history(),
        [
            (1, Status::Superseded),
            (2, Status::Failed),
            (3, Status::Deployed)
        ]
    );
    let records = Records::read(&site.cluster).unwrap();
    assert_eq!(
        records.newest().unwrap().release.description(),
        "Rollback to 1"
    );
    assert_eq!(records.newest().unwrap().release.config(), json!({}));
}

#[test]
fn an_upgrade_says_what_somebody_had_changed() {
    let site = Site::new();
    site.init(&[]).unwrap();
    assert!(!site.upgrade(&[]).unwrap().text().contains("by hand"));
    let mut config = site.get(&CONFIG_MAPS, "cloudcore").unwrap();
    config["data"]["cloudcore.yaml"] = "mine: 1\n".into();
    site.fake.put(&CONFIG_MAPS, Some("kubeedge"), config);
    let text = site.upgrade(&[]).unwrap().text();
    assert!(
        text.contains("before the upgrade it was\n\nmine: 1\n"),
        "{text}"
    );
}

#[test]
fn an_upgrade_needs_a_release_and_nobody_else_at_work() {
    let site = Site::new();
    assert!(matches!(site.upgrade(&[]), Err(CloudError::NotInstalled)));
    site.init(&[]).unwrap();
    let look = upgrade::look(&site.cluster, &given(&[]), false).unwrap();
    site.upgrade(&[]).unwrap();
    let late = upgrade::go_on(&site.cluster, look, &SOON);
    assert!(matches!(late, Err(CloudError::Overtaken)));
}

#[test]
fn an_upgrade_renews_the_certificate_of_the_stream_in_time() {
    let site = Site::new();
    site.init(&[]).unwrap();
    let data = || site.get(&SECRETS, "cloudcore").unwrap()["data"].clone();
    let first = data();
    site.upgrade(&[]).unwrap();
    assert_eq!(data(), first);
    site.time.advance(Duration::from_secs(3000 * 86_400));
    site.upgrade(&[]).unwrap();
    assert_ne!(data(), first);
}

#[test]
fn ten_revisions_are_kept() {
    let site = Site::new();
    site.init(&[]).unwrap();
    for _ in 0..12 {
        site.upgrade(&[]).unwrap();
    }
    let history = site.history();
    assert_eq!(history.len(), 10);
    assert_eq!(history.last(), Some(&(13, Status::Deployed)));
}
