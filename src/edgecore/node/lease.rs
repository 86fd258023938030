//! The lease: what a cluster goes by when it says that a node is alive.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Node;
use super::register::MAX_SILENT;
use super::talk::{About, Failed, LEASES};
use crate::edgecore::backoff::Backoff;
use crate::edgecore::edge::pause;
use crate::protocol::object::Object;
use crate::system::clock::Timestamp;

/// What is to be known of the lease in the cloud to change it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    version: String,
    renewed: Option<Timestamp>,
    /// It carries who wrote which field of it, which nobody needs to know of a lease and which comes
    /// back with each answer.
    is_tracked: bool,
}

impl Held {
    fn of(object: &Object) -> Held {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Seen {
            metadata: SeenMetadata,
            spec: SeenSpec,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct SeenMetadata {
            #[serde(rename = "managedFields")]
            managed: Option<Vec<Value>>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct SeenSpec {
            #[serde(rename = "renewTime")]
            renewed: Option<String>,
        }
        let seen: Seen = serde_json::from_str(object.text()).unwrap_or_default();
        Held {
            version: object.meta().resource_version.clone(),
            renewed: seen.spec.renewed.and_then(|text| text.parse().ok()),
            is_tracked: seen.metadata.managed.is_some_and(|it| !it.is_empty()),
        }
    }
}

impl Node<'_> {
    /// Renews the lease; returns when it is gone, and the Node may be, too.
    pub(super) async fn keep_lease(&self) {
        if self.edge.lease_is_kept() {
            // What another cloud has of it is of no use here, and no news.
            self.held.take();
            self.edge
                .state
                .registration(|registration| registration.lease_renewed = None);
            return std::future::pending().await;
        }
        let mut backoff = Backoff::new(self.pace.retry.0, self.pace.retry.1.min(self.pace.renew));
        let mut silent = 0;
        loop {
            let former = self.held.take();
            let had = former.is_some();
            let renewed = match former {
                Some(held) => self.renew(held).await,
                None => self.obtain().await,
            };
            let failed = match renewed {
                Ok(held) => {
                    self.held.replace(Some(held));
                    self.edge.state.lease_renewed(self.now());
                    self.well();
                    backoff.reset();
                    silent = 0;
                    // Spread a little, so that a fleet does not renew in step.
                    pause(self.pace.renew.mul_f64(1.0 + JITTER * fastrand::f64())).await;
                    continue;
                }
                Err(failed) => failed,
            };
            if had && failed.is_not_found() {
                return;
            }
            if failed.is_silence() {
                silent += 1;
                if silent >= MAX_SILENT {
                    self.complain(&failed);
                    self.edge.requests.give_up();
                }
                // What was waited for in vain is pause enough.
                continue;
            }
            silent = 0;
            // Somebody else, or a renewal whose answer was lost, was faster: that is seen at once.
            if had && failed.is_conflict() {
                continue;
            }
            self.complain(&failed);
            pause(backoff.next()).await;
        }
    }

    fn complain(&self, failed: &Failed) {
        let sentence = format!("the lease of the node can't be renewed: {failed}");
        self.edge.state.node_problem(&sentence, true);
    }

    /// The lease as the cloud has it, renewed; or a new one.
    async fn obtain(&self) -> Result<Held, Failed> {
        match self.ask_of_lease("query", &Value::Null).await {
            Ok(found) => self.renew(Held::of(&found)).await,
            Err(failed) if failed.is_not_found() => {
                let sent = self.now();
                let lease = |owner| self.lease(owner, None, sent);
                let uid = self.uid();
                let made = self.ask_of_lease("insert", &lease(uid.as_deref())).await;
                let made = match made {
                    // The owner may be what is wrong with it, and the lease does without.
                    Err(failed)
                        if uid.is_some() && failed.status().is_some_and(|s| s.code == 422) =>
                    {
                        self.ask_of_lease("insert", &lease(None)).await
                    }
                    made => made,
                };
                Ok(Held::of(&made?))
            }
            Err(failed) => Err(failed),
        }
    }

    async fn renew(&self, held: Held) -> Result<Held, Failed> {
        // Whoever compares goes by the change of this time and ignores one that goes back: a clock
        // that was years ahead, and was set right, must not make the node look dead.
        let now = self.now();
        let time = held.renewed.map_or(now, |stored| now.never_back(stored));
        let lease = self.lease(self.uid().as_deref(), Some(&held), time);
        let answer = self.ask_of_lease("update", &lease).await?;
        let mut next = Held::of(&answer);
        next.renewed = next.renewed.max(Some(time));
        // A cloud that does not let go of it is not asked again and again.
        next.is_tracked &= !held.is_tracked;
        Ok(next)
    }

    async fn ask_of_lease(&self, operation: &str, content: &Value) -> Result<Object, Failed> {
        let patience = self.pace.renewal;
        self.ask(operation, About::Lease, content, patience).await
    }

    /// All of a lease that is not the API's own to fill in.
    fn lease(&self, owner: Option<&str>, held: Option<&Held>, time: Timestamp) -> Value {
        let name = self.edge.settings.node.as_str();
        let mut metadata = json!({"name": name, "namespace": LEASES});
        if let Some(held) = held {
            metadata["resourceVersion"] = held.version.as_str().into();
            if held.is_tracked {
                // The API's way to say: forget it.
                metadata["managedFields"] = json!([{}]);
            }
        }
        if let Some(uid) = owner {
            // With its Node it goes.
            metadata["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]);
        }
        json!({
            "metadata": metadata,
            "spec": {
                "holderIdentity": name,
                "leaseDurationSeconds": self.settings.lease.as_secs(),
                "renewTime": time.rfc3339_micros(),
            },
        })
    }
}

/// A part of the time between two renewals, as upstream has it.
pub const JITTER: f64 = 0.04;
