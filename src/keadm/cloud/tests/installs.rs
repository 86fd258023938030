//! Installs that work, fail, are cut and are repeated.

use super::*;

#[test]
fn an_install_makes_all_and_records_it() {
    let site = Site::new();
    let text = site.init(&["cloudCore.replicaCount=2"]).unwrap().text();
    let expected = "CLOUDCORE started\n=========CHART DETAILS=======\nName: cloudcore\n\
                    LAST DEPLOYED: Fri Jan 15 08:00:00 2027\nNAMESPACE: kubeedge\nSTATUS: deployed\nREVISION: 1\n";
    assert_eq!(text, expected);
    assert_eq!(site.history(), [(1, Status::Deployed)]);
    assert_eq!(site.fake.all(&CUSTOM_RESOURCE_DEFINITIONS).len(), 13);
    let deployment = site.get(&DEPLOYMENTS, "cloudcore").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert!(preflight::is_owned(&deployment));
    // As Helm has it, the Secret of the hook is nobody's, and the record has no key in it.
    let secret = site.get(&SECRETS, "cloudcore").unwrap();
    assert!(!preflight::is_owned(&secret));
    assert!(!stream::is_due(&secret, site.cluster.now()));
    let records = Records::read(&site.cluster).unwrap();
    let release = &records.newest().unwrap().release;
    assert_eq!(release.hooks()[0]["events"], json!(["pre-install"]));
    assert!(
        !release.hooks()[0]["manifest"]
            .as_str()
            .unwrap()
            .contains("stream.key")
    );
    assert_eq!(release.config(), json!({"cloudCore": {"replicaCount": 2}}));
    assert!(!release.manifest().contains("managed-by"));
}

#[test]
fn what_is_installed_is_not_installed_over() {
    let site = Site::new();
    site.init(&[]).unwrap();
    // The same again mends what somebody has taken away.
    site.fake.remove(&CLUSTER_ROLES, None, "cloudcore-common");
    site.init(&[]).unwrap();
    assert!(site.get(&CLUSTER_ROLES, "cloudcore-common").is_some());
    assert_eq!(site.history(), [(1, Status::Deployed)]);
    let refused = site.init(&["cloudCore.replicaCount=2"]);
    assert!(matches!(
        refused,
        Err(CloudError::AlreadyInstalled { revision: 1 })
    ));
}

#[test]
fn a_failed_install_says_why_and_is_repeated() {
    let site = Site::new();
    site.fake
        .put(&NAMESPACES, None, json!({"metadata": {"name": "kubeedge"}}));
    let labels = json!({"k8s-app": "kubeedge", "kubeedge": "cloudcore"});
    let pull = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
    let pod = json!({"metadata": {"name": "cloudcore-1", "labels": labels},
                     "status": {"containerStatuses": [{"state": pull}]}});
    site.fake.put(&PODS, Some("kubeedge"), pod);
    let error = site.init(&[BROKEN]).unwrap_err();
    let sentence = error.to_string();
    assert!(
        sentence.contains("pod cloudcore-1: ErrImagePull: no such image"),
        "{sentence}"
    );
    assert_eq!(error.code(), 75);
    assert_eq!(site.history(), [(1, Status::Failed)]);
    let records = Records::read(&site.cluster).unwrap();
    let description = records.newest().unwrap().release.description().to_owned();
    assert!(
        description.starts_with("Release \"cloudcore\" failed: not ready after 0 s"),
        "{description}"
    );
    site.init(&[]).unwrap();
    assert_eq!(site.history(), [(1, Status::Failed), (2, Status::Deployed)]);
}

/// Wherever an install is cut, the next one makes it whole.
#[test]
fn an_install_that_was_cut_anywhere_is_finished_by_the_next() {
    let site = Site::new();
    site.init(&[]).unwrap();
    let calls = site.fake.calls().into_iter();
    let changes = calls.filter(|(method, _)| *method != Method::Get).count();
    let mut cuts = 0;
    for position in 0..changes {
        let site = Site::new();
        // The first changes go through; from then on nobody answers.
        let counted = site.fake.clone();
        site.fake.order(
            None,
            "",
            usize::MAX,
            Act::After(Arc::new(move |fake| {
                let done = counted
                    .calls()
                    .into_iter()
                    .filter(|(method, _)| *method != Method::Get)
                    .count();
                if done > position {
                    fake.set_down(true);
                }
            })),
        );
        if site.init(&[]).is_err() {
            cuts += 1;
        }
        site.fake.obey();
        site.fake.set_down(false);
        site.init(&[]).unwrap();
        let newest = *site.history().last().unwrap();
        assert_eq!(newest.1, Status::Deployed, "cut before change {position}");
        assert!(
            site.history()
                .iter()
                .filter(|it| it.1 == Status::Deployed)
                .count()
                == 1
        );
        assert!(site.get(&DEPLOYMENTS, "cloudcore").is_some());
    }
    assert!(cuts > 20, "only {cuts} of {changes} installs were cut");
}

#[test]
fn objects_of_others_are_not_taken_over() {
    let site = Site::new();
    site.fake.put(
        &CLUSTER_ROLES,
        None,
        json!({"metadata": {"name": "cloudcore"}}),
    );
    let error = site.init(&[]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("ClusterRole/cloudcore is already there"),
        "{error}"
    );
    assert!(site.fake.get(&NAMESPACES, None, "kubeedge").is_none());
    assert!(site.fake.all(&CUSTOM_RESOURCE_DEFINITIONS).is_empty());
}

#[test]
fn rights_that_are_missing_are_named_before_anything_is_done() {
    let site = Site::new();
    let no = Act::After(Arc::new(|fake: &FakeCluster| {
        let denied = refusal(401, "Unauthorized", "who are you");
        fake.order(
            Some(Method::Post),
            "selfsubjectaccessreviews",
            1,
            Act::Refuse(denied),
        );
    }));
    site.fake.order(Some(Method::Get), "/version", 1, no);
    let error = site.init(&[]).unwrap_err();
    assert_eq!(error.code(), 77, "{error}");
    assert!(site.history().is_empty());
}

/// What Go's keadm writes: every tag as if it had been given, and a chart with a broker on edges.
/// K28: in the last third of its life.
#[test]
fn definitions_that_are_newer_stay() {
    let site = Site::new();
    let newer = json!({"metadata": {"name": "rules.rules.kubeedge.io"},
                       "spec": {"versions": [{"name": "v1"}, {"name": "v2"}]},
                       "status": {"conditions": [{"type": "Established", "status": "True"}]}});
    site.fake.put(&CUSTOM_RESOURCE_DEFINITIONS, None, newer);
    site.init(&[]).unwrap();
    let live = site
        .get(&CUSTOM_RESOURCE_DEFINITIONS, "rules.rules.kubeedge.io")
        .unwrap();
    assert_eq!(live["spec"]["versions"][1]["name"], "v2");
}
