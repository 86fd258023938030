//! What no watch has told and is needed all the same: asked for once.

use std::sync::Arc;
use std::time::Duration;

use smol::Timer;

use super::Cluster;
use super::watches::act;
use crate::cloudcore::cloud::Cloud;
use crate::kubernetes::resource::{CONFIG_MAPS, DEVICE_MODELS, PODS, SECRETS};
use crate::kubernetes::{CallError, Request, Resource};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::names::NodeName;

/// Fetches what is wanted, and the Pods of nodes that have become edges.
pub async fn serve(cloud: Arc<Cloud>, cluster: Arc<Cluster>) {
    while cluster.heard().await {
        while let Some(node) = cluster.next_adopted() {
            if let Err(error) = adopt(&cloud, &cluster, &node).await {
                cluster.complain(&error);
                Timer::after(PAUSE).await;
                cluster.ring(vec![node]);
            }
        }
        let mut last = None;
        while let Some(path) = cluster.next_wanted(last.as_ref()) {
            if let Err(error) = fetch(&cloud, &cluster, &path).await {
                cluster.complain(&error);
                Timer::after(PAUSE).await;
                cluster.ring(Vec::new());
            }
            last = Some(path);
        }
    }
}

async fn fetch(cloud: &Arc<Cloud>, cluster: &Cluster, path: &ObjectPath) -> Result<(), CallError> {
    let resource = resource(path.kind);
    let get = Request::get(&resource, path.namespace.as_str(), &path.name);
    let found = match cluster.call(get).await {
        Ok(answer) => Some(answer.object()?),
        Err(error) if error.is_not_found() || error.is_forbidden() => None,
        Err(error) => return Err(error),
    };
    let news = cluster.told(cloud, |cache, state| {
        cache.fetched(state, &resource, path, found)
    });
    act(cloud, cluster, news);
    Ok(())
}

async fn adopt(cloud: &Arc<Cloud>, cluster: &Cluster, node: &NodeName) -> Result<(), CallError> {
    let list = Request::list(&PODS, None).with("fieldSelector", format!("spec.nodeName={node}"));
    let answer = cluster.call(list).await?.object()?;
    let items = answer.get("items").and_then(|it| it.as_array());
    let pods = items.into_iter().flatten();
    let pods = pods.filter_map(|pod| pod.as_object().cloned()).collect();
    let news = cluster.told(cloud, |cache, state| cache.adopt(state, &PODS, node, pods));
    act(cloud, cluster, news);
    Ok(())
}

fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::Secret => SECRETS,
        Kind::DeviceModel => DEVICE_MODELS,
        _ => CONFIG_MAPS,
    }
}

const PAUSE: Duration = Duration::from_secs(1);
