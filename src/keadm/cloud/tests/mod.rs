//! A cluster in memory, on which the cloud side is installed, upgraded and reset.

mod installs;
mod resets;
mod upgrades;

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
