//! What an install and an upgrade have in common: the steps in their order, and the record of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::{Cluster, text};
use super::records::{Record, Records};
use super::{CloudError, apply, crds, ready};
use crate::keadm::chart::plan::Plan;
use crate::keadm::chart::rendered::document;
use crate::keadm::chart::{NAMESPACE, RELEASE, stream};
use crate::keadm::version::KUBEEDGE;
use crate::kubernetes::release::{Draft, Release, Status};
use crate::kubernetes::resource::SECRETS;
use crate::system::clock::Timestamp;

/// A revision that is begun with this plan.
pub fn draft(
    cluster: &Cluster,
    plan: &Plan,
    revision: u64,
    status: Status,
    description: &str,
    first_deployed: Option<Timestamp>,
) -> Release {
    let version = KUBEEDGE.trim_start_matches('v');
    Release::new(Draft {
        name: RELEASE,
        namespace: NAMESPACE,
        revision,
        status,
        description: description.to_owned(),
        first_deployed,
        now: cluster.now(),
        metadata: json!({
            "name": RELEASE,
            "sources": ["https://github.com/kubeedge/kubeedge"],
            "version": version,
            "description": "KubeEdge's cloud side, as keadm deploys it",
            "apiVersion": "v1",
            "appVersion": version,
        }),
        values: plan.defaults.clone(),
        config: plan.config.clone(),
        manifest: plan.rendered.text(),
        hooks: Vec::new(),
    })
}

/// The objects that come before the release's own: types, and the Secret of the stream. Gives the hooks to record.
pub fn prepare(cluster: &Cluster, plan: &Plan, limit: Duration) -> Result<Vec<Value>, CloudError> {
    crds::apply(cluster, &plan.bundle.crds()?, limit.min(CRD_LIMIT))?;
    if !plan.values.has_stream_certificate() {
        return Ok(Vec::new());
    }
    let begun = cluster.now();
    let live = cluster
        .get(&SECRETS, Some(NAMESPACE), RELEASE)?
        .map(Value::Object);
    // One that is good stays: who has it need not start anew.
    if live.as_ref().is_none_or(|live| stream::is_due(live, begun)) {
        apply::one(cluster, &stream::secret(&plan.bundle, &plan.values, begun)?)?;
        if live.is_some() {
            cluster.say("the certificate for streams of logs was renewed: pods that run on use it after a restart");
        }
    }
    Ok(vec![hook(cluster, plan, begun)?])
}

/// As Helm records it, without the key: it is in the Secret, and needs no second place.
fn hook(cluster: &Cluster, plan: &Plan, begun: Timestamp) -> Result<Value, CloudError> {
    let file = format!("{RELEASE}/templates/{}", stream::FILE);
    let bare = plan.bundle.read(stream::FILE)?;
    Ok(json!({
        "name": RELEASE,
        "kind": "Secret",
        "path": file,
        "manifest": document(&file, &bare),
        "events": ["pre-install"],
        "last_run": {
            "started_at": begun.rfc3339_micros(),
            "completed_at": cluster.now().rfc3339_micros(),
            "phase": "Succeeded",
        },
        "delete_policies": ["before-hook-creation"],
    }))
}

/// Applies the objects of a plan, and waits for them when there is a limit.
pub fn deploy<'a>(
    cluster: &Cluster,
    objects: impl Iterator<Item = &'a Value> + Clone,
    limit: Option<Duration>,
) -> Result<(), CloudError> {
    apply::all(cluster, objects.clone())?;
    match limit {
        Some(limit) => ready::wait(cluster, objects, limit),
        None => Ok(()),
    }
}

/// The new revision counts from now on, the older ones do not.
pub fn settle(
    cluster: &Cluster,
    record: &mut Record,
    records: &Records,
    description: &str,
) -> Result<(), CloudError> {
    record.mark(cluster, Status::Deployed, description)?;
    for mut older in records.all().iter().cloned() {
        let status = older.release.status();
        if status == Status::Deployed || status.is_pending() {
            let said = older.release.description().to_owned();
            // Whoever has changed it meanwhile has a reason.
            match older.mark(cluster, Status::Superseded, &said) {
                Err(CloudError::Overtaken) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let spare = records.all().len().saturating_sub(HISTORY - 1);
    for old in records.all().iter().take(spare) {
        old.forget(cluster)?;
    }
    Ok(())
}

/// Why it has failed goes into the record, so that `helm status` and the next command know.
pub fn failed(cluster: &Cluster, record: &mut Record, what: &str, error: &CloudError) {
    if let Err(second) = record.mark(
        cluster,
        Status::Failed,
        &format!("{what} failed: {}", error.brief()),
    ) {
        cluster.say(&format!(
            "the record of the release does not say so yet: {second}"
        ));
    }
}

/// Kind and name, by which objects of two manifests are the same.
pub fn key(object: &Value) -> (&str, &str) {
    (text(object, "kind"), text(&object["metadata"], "name"))
}

/// Types are served within seconds.
const CRD_LIMIT: Duration = Duration::from_secs(60);
/// Revisions that are kept, as helm keeps them.
const HISTORY: usize = 10;
