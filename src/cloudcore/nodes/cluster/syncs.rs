//! ObjectSync records: what each node has acknowledged, for cloudcores of KubeEdge on the same cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use smol::Timer;

use super::Cluster;
use crate::kubernetes::resource::{CLUSTER_OBJECT_SYNCS, OBJECT_SYNCS};
use crate::kubernetes::{CallError, Patch, Request, Resource};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::names::NodeName;
use crate::system::sorted::SortedMap;

/// Records that are still to be written: of one object only the last. In boxes, since many come and go.
#[derive(Default)]
pub struct Syncs(Mutex<SortedMap<String, Box<Record>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    path: ObjectPath,
    /// What was acknowledged last; none: that it is gone.
    version: Option<u64>,
}

impl Syncs {
    /// Notes what a node has acknowledged; when too much waits it is left out, which costs a node no
    /// more than to be told again.
    pub fn note(&self, node: &NodeName, uid: &str, path: &ObjectPath, version: Option<u64>) {
        let mut waiting = self.lock();
        let name = format!("{node}.{uid}");
        if waiting.len() < MAX_WAITING || waiting.contains_key(&name) {
            let path = path.clone();
            waiting.insert(name, Box::new(Record { path, version }));
        }
    }

    fn take(&self) -> Option<(String, Box<Record>)> {
        self.lock().pop_last()
    }

    /// What could not be written, unless there is something newer.
    fn put_back(&self, name: String, record: Box<Record>) {
        let mut waiting = self.lock();
        if waiting.len() < MAX_WAITING {
            waiting.entry(name).or_insert(record);
        }
    }

    /// No code panics while it holds the lock, so a poisoned map is still whole.
    fn lock(&self) -> MutexGuard<'_, SortedMap<String, Box<Record>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what waits, one after the other.
pub async fn serve(cluster: Arc<Cluster>) {
    loop {
        while let Some((name, record)) = cluster.syncs.take() {
            if let Err(error) = write(&cluster, &name, &record).await
                && error.is_retryable()
            {
                cluster.complain(&error);
                cluster.syncs.put_back(name, record);
                break;
            }
        }
        Timer::after(PAUSE).await;
    }
}

async fn write(cluster: &Cluster, name: &str, record: &Record) -> Result<(), CallError> {
    let namespace = record.path.namespace.as_str();
    let resource = match namespace {
        Some(_) => OBJECT_SYNCS,
        None => CLUSTER_OBJECT_SYNCS,
    };
    let Some(version) = record.version else {
        let gone = cluster
            .call(Request::delete(&resource, namespace, name))
            .await;
        return match gone {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        };
    };
    let change = json!({"status": {"objectResourceVersion": version.to_string()}});
    let change =
        || Request::patch(&resource, namespace, name, Patch::Merge, &change).part("status");
    match cluster.call(change()).await {
        Err(error) if error.is_not_found() => {
            let object = object(&resource, name, &record.path);
            match cluster
                .call(Request::create(&resource, namespace, &object))
                .await
            {
                Err(error) if !error.is_taken() => return Err(error),
                _ => {}
            }
            cluster.call(change()).await.map(drop)
        }
        other => other.map(drop),
    }
}

fn object(resource: &Resource, name: &str, path: &ObjectPath) -> Value {
    let (version, kind) = match path.kind {
        Kind::ConfigMap => ("v1", "ConfigMap"),
        Kind::Secret => ("v1", "Secret"),
        Kind::Node => ("v1", "Node"),
        Kind::Device => ("devices.kubeedge.io/v1beta1", "Device"),
        Kind::DeviceModel => ("devices.kubeedge.io/v1beta1", "DeviceModel"),
        _ => ("v1", "Pod"),
    };
    json!({
        "apiVersion": resource.api_version(), "kind": resource.kind,
        "metadata": {"name": name},
        "spec": {"objectAPIVersion": version, "objectKind": kind, "objectName": path.name},
    })
}

const MAX_WAITING: usize = 20_000;
/// Acknowledgements of one object within it are written once.
const PAUSE: Duration = Duration::from_secs(1);
