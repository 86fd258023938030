//! Nodes as an operator sees them.

use serde_json::Value;

use super::kept::Selector;
use super::lease::Lease;
use super::meta::Object;
use crate::cloudcore::cloud::Cloud;
use crate::protocol::control::{NodeRow, VERSION};
use crate::protocol::resource::Kind;
use crate::system::names::NodeName;
use crate::system::sorted::SortedSet;

/// A line for each node that has registered or has a session, in the order of their names.
pub fn rows(cloud: &Cloud) -> Vec<NodeRow> {
    let sessions = cloud.registry.rows(&[]);
    let state = cloud.nodes.lock();
    let registered = state.all(Some(Kind::Node));
    let registered = registered.filter_map(|kept| kept.path.name.parse::<NodeName>().ok());
    let connected = sessions.iter().map(|row| row.node.clone());
    let names: SortedSet<NodeName> = registered.chain(connected).collect();
    let row = |name: NodeName| {
        let found = sessions.binary_search_by(|row| row.node.cmp(&name));
        let session = found.ok().map(|index| &sessions[index]);
        let lease = state.leases.get(&name);
        let object = state.node(&name).map(|kept| kept.object());
        let kept_by_us = session.is_some_and(|row| row.facts.terms.is_some_and(|it| it.lease));
        let ended = cloud
            .registry
            .ended(&name)
            .map(|since| cloud.clock.now().minus(since));
        NodeRow {
            v: VERSION,
            ready: session.is_some() || lease.is_some_and(Lease::is_fresh),
            connected: session.is_some(),
            since: session.map(|row| row.facts.since).or(ended),
            lease_age_ms: match kept_by_us {
                true => Some(0),
                false => lease.map(|lease| millis(lease.renewed.elapsed())),
            },
            registered: object.is_some(),
            node: name.to_string(),
            ..object.as_ref().map(of_object).unwrap_or_default()
        }
    };
    names.into_iter().map(row).collect()
}

/// The nodes of these names, or with this label; of all that have registered.
pub fn chosen(
    cloud: &Cloud,
    names: &[NodeName],
    selector: Option<&Selector>,
) -> Result<Vec<NodeName>, String> {
    let state = cloud.nodes.lock();
    for name in names {
        if state.node(name).is_none() {
            return Err(format!(
                "there is no node {name}: see `cloudcore ctl nodes`"
            ));
        }
    }
    let all = state.all(Some(Kind::Node));
    let found = all.filter_map(|kept| {
        let name = kept.path.name.parse::<NodeName>().ok()?;
        let fits = selector.is_some_and(|it| it.fits(&kept.facts.labels));
        (fits || names.contains(&name)).then_some(name)
    });
    Ok(found.collect())
}

/// What a node says of its version.
pub fn version(cloud: &Cloud, node: &NodeName) -> Option<String> {
    let state = cloud.nodes.lock();
    of_object(&state.node(node)?.object()).version
}

fn of_object(node: &Object) -> NodeRow {
    let status = node.get("status");
    let list = |key: &str| status.and_then(|it| it.get(key)).and_then(Value::as_array);
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    let addresses = list("addresses").into_iter().flatten();
    let is_address = |it: &&Value| text(it, "type").is_some_and(|kind| kind != "Hostname");
    let mut conditions = list("conditions").into_iter().flatten();
    let ready = conditions.find(|it| it.get("type").is_some_and(|kind| kind == "Ready"));
    NodeRow {
        addresses: addresses
            .filter(is_address)
            .filter_map(|it| text(it, "address"))
            .take(MAX_ADDRESSES)
            .collect(),
        version: status
            .and_then(|it| it.get("nodeInfo"))
            .and_then(|it| text(it, "kubeletVersion")),
        condition: ready.and_then(|it| text(it, "status")),
        reason: ready.and_then(|it| text(it, "reason")),
        ..NodeRow::default()
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const MAX_ADDRESSES: usize = 16;
