//! Installs, upgrades and resets on a cluster in memory, whose Deployments work or do not.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::init::{self, Limits};
use super::records::Records;
use super::report::Deployed;
use super::reset::{Reset, Wish};
use super::{CloudError, preflight, upgrade};
use crate::keadm::chart::given::Given;
use crate::keadm::chart::plan::Plan;
use crate::keadm::chart::stream;
use crate::keadm::out::Report;
use crate::kubernetes::release::{Draft, Release, Status};
use crate::kubernetes::resource::{
    CLUSTER_ROLES, CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DAEMON_SETS, DEPLOYMENTS, NAMESPACES,
    PODS, SECRETS, SERVICES,
};
use crate::kubernetes::testing::{Act, FakeCluster, lost, refusal};
use crate::kubernetes::{Answer, Api, Calling, Events, Method, Patch, Request, Resource};
use crate::system::clock::{Clock, ManualClock, Timestamp};
use crate::system::host::Host;
use crate::system::root::Root;

/// A cluster in which what is deployed works, unless its image is called broken.
struct Working(FakeCluster);

impl Working {
    async fn act(&self, request: &Request) {
        if request.method != Method::Patch || request.path.ends_with("/status") {
            return;
        }
        let name = request.path.rsplit('/').next().unwrap_or_default();
        for (resource, namespace) in [
            (&CUSTOM_RESOURCE_DEFINITIONS, None),
            (&DEPLOYMENTS, Some("kubeedge")),
            (&DAEMON_SETS, Some("kubeedge")),
        ] {
            let Some(live) = self.0.get(resource, namespace, name) else {
                continue;
            };
            if request.path != resource.path(namespace, name) {
                continue;
            }
            let image = live["spec"]["template"]["spec"]["containers"][0]["image"].to_string();
            let works = u64::from(!image.contains("broken"));
            let status = json!({"status": {
                "conditions": [{"type": "Established", "status": "True"}],
                "updatedReplicas": live["spec"]["replicas"],
                "availableReplicas": works * live["spec"]["replicas"].as_u64().unwrap_or(0),
                "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": works,
            }});
            let change =
                Request::patch(resource, namespace, name, Patch::Merge, &status).part("status");
            let _ = self.0.call(&change).await;
        }
        if let Some(live) = self.0.get(&SERVICES, Some("kubeedge"), name)
            && live["spec"]["clusterIP"].is_null()
        {
            let address = json!({"spec": {"clusterIP": "10.0.0.7"}});
            let change = Request::patch(&SERVICES, Some("kubeedge"), name, Patch::Merge, &address);
            let _ = self.0.call(&change).await;
        }
    }
}

impl Api for Working {
    fn call<'a>(&'a self, request: &'a Request) -> Calling<'a, Answer> {
        Box::pin(async move {
            let answer = self.0.call(request).await?;
            self.act(request).await;
            Ok(answer)
        })
    }

    fn watch<'a>(&'a self, request: &'a Request) -> Calling<'a, Box<dyn Events>> {
        self.0.watch(request)
    }
}

struct Site {
    fake: FakeCluster,
    cluster: Cluster,
    time: ManualClock,
}

impl Site {
    fn new() -> Site {
        let fake = FakeCluster::new();
        let (clock, time) = Clock::manual(Timestamp::from_unix(1_800_000_000));
        let host = Host {
            clock,
            ..Host::real(Root::new(None))
        };
        let mut cluster = Cluster::new("test", &host, Arc::new(Working(fake.clone())));
        cluster.pause = Duration::from_millis(1);
        Site {
            fake,
            cluster,
            time,
        }
    }

    fn init(&self, sets: &[&str]) -> Result<Deployed, CloudError> {
        let plan = Plan::make(&self.cluster.host, &given(sets), json!({}))?;
        let found = init::look(&self.cluster, &plan)?;
        init::go_on(&self.cluster, &plan, found, &SOON)
    }

    fn upgrade(&self, sets: &[&str]) -> Result<Deployed, CloudError> {
        let upgrade = upgrade::look(&self.cluster, &given(sets), false)?;
        upgrade::go_on(&self.cluster, upgrade, &SOON)
    }

    fn reset(&self, crds: bool, namespace: bool) -> Result<String, CloudError> {
        let reset = Reset::look(&self.cluster, Wish { crds, namespace })?;
        reset
            .go_on(&self.cluster, SOON.steps)
            .map(|gone| gone.text())
    }

    /// Revisions with their status.
    fn history(&self) -> Vec<(u64, Status)> {
        let records = Records::read(&self.cluster).unwrap();
        let all = records.all().iter();
        all.map(|it| (it.release.revision(), it.release.status()))
            .collect()
    }

    fn get(&self, resource: &Resource, name: &str) -> Option<Value> {
        self.fake.get(
            resource,
            Some("kubeedge").filter(|_| resource.namespaced),
            name,
        )
    }
}

fn given(sets: &[&str]) -> Given {
    Given {
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        ..Given::default()
    }
}

const SOON: Limits = Limits {
    steps: Duration::from_millis(100),
    ready: Some(Duration::from_millis(50)),
};
const BROKEN: &str = "cloudCore.image.repository=x/broken";

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

/// What Go's keadm writes: every tag as if it had been given, and a chart with a broker on edges.
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

/// K28: in the last third of its life.
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

#[test]
fn a_reset_takes_what_the_release_owns() {
    let site = Site::new();
    site.init(&[]).unwrap();
    // Somebody has taken this one for himself.
    let mut role = site.get(&CLUSTER_ROLES, "iptables-manager").unwrap();
    role["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "me".into();
    site.fake.put(&CLUSTER_ROLES, None, role);
    site.fake.put(
        &SECRETS,
        Some("kubeedge"),
        json!({"metadata": {"name": "casecret"}}),
    );
    let text = site.reset(false, false).unwrap();
    assert!(text.contains("gone: Deployment/cloudcore\n"), "{text}");
    assert!(
        text.contains("left: ClusterRole/iptables-manager, which"),
        "{text}"
    );
    assert!(
        text.contains("stays: the namespace kubeedge with the CA"),
        "{text}"
    );
    assert!(site.history().is_empty());
    assert_eq!(site.get(&DEPLOYMENTS, "cloudcore"), None);
    assert!(site.get(&CLUSTER_ROLES, "iptables-manager").is_some());
    assert!(site.get(&SECRETS, "casecret").is_some());
    assert_eq!(site.fake.all(&CUSTOM_RESOURCE_DEFINITIONS).len(), 13);
    // Nothing is left to do, and all can be made again.
    site.fake.remove(&CLUSTER_ROLES, None, "iptables-manager");
    site.init(&[]).unwrap();
    let text = site.reset(true, true).unwrap();
    assert!(
        text.contains("gone: Namespace/kubeedge\n") && !text.contains("--crds"),
        "{text}"
    );
    assert!(site.fake.all(&CUSTOM_RESOURCE_DEFINITIONS).is_empty());
    assert_eq!(site.fake.get(&NAMESPACES, None, "kubeedge"), None);
}

#[test]
fn a_reset_that_was_cut_goes_on() {
    let site = Site::new();
    site.init(&[]).unwrap();
    site.fake
        .order(Some(Method::Delete), "daemonsets", 1, Act::Refuse(lost()));
    assert!(site.reset(false, false).is_err());
    assert_eq!(site.history(), [(1, Status::Uninstalling)]);
    assert!(matches!(site.init(&[]), Err(CloudError::Leaving)));
    assert!(matches!(site.upgrade(&[]), Err(CloudError::Leaving)));
    site.reset(false, false).unwrap();
    assert!(site.history().is_empty());
}

#[test]
fn what_does_not_go_is_named() {
    let site = Site::new();
    site.init(&[]).unwrap();
    let mut deployment = site.get(&DEPLOYMENTS, "cloudcore").unwrap();
    deployment["metadata"]["finalizers"] = json!(["x/y"]);
    site.fake.put(&DEPLOYMENTS, Some("kubeedge"), deployment);
    let wish = Wish {
        crds: false,
        namespace: false,
    };
    let reset = Reset::look(&site.cluster, wish).unwrap();
    let error = reset
        .go_on(&site.cluster, Duration::from_millis(20))
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("Deployment/cloudcore still there"),
        "{error}"
    );
}

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
