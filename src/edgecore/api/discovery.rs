//! What there is to be asked for, as clients of Kubernetes find it out.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, json_of};
use crate::protocol::local::{SORTS, Sort};

pub fn version() -> Answer {
    let own = env!("CARGO_PKG_VERSION");
    ok(
        &json!({"major": "1", "minor": "32", "gitVersion": format!("v1.32.0-kubeedge-edgecore-{own}"),
        "platform": format!("linux/{}", std::env::consts::ARCH)}),
    )
}

pub fn core() -> Answer {
    ok(&json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}))
}

pub fn groups() -> Answer {
    let mut names: Vec<&str> = SORTS.iter().map(|sort| sort.group).collect();
    names.dedup();
    let groups = names
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(described);
    ok(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()}))
}

pub fn group(name: &str) -> Answer {
    let mut group = described(name);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    ok(&group)
}

pub fn resources(group: &str) -> Answer {
    let of_group: Vec<&Sort> = SORTS.iter().filter(|sort| sort.group == group).collect();
    let version = of_group
        .first()
        .map_or_else(String::new, |sort| sort.api_version());
    let resources = of_group.into_iter().map(|sort| {
        let short: Vec<&str> = sort.short.into_iter().collect();
        json!({"name": sort.plural, "singularName": sort.kind.as_str(), "kind": sort.object_kind,
            "namespaced": !sort.kind.is_of_cluster(), "verbs": ["get", "list", "watch"], "shortNames": short})
    });
    ok(
        &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
        "resources": resources.collect::<Vec<_>>()}),
    )
}

fn described(group: &str) -> Value {
    let sort = SORTS.iter().find(|sort| sort.group == group);
    let (long, short) =
        sort.map_or_else(Default::default, |sort| (sort.api_version(), sort.version));
    let version = json!({"groupVersion": long, "version": short});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn ok(value: &Value) -> Answer {
    json_of(StatusCode::OK, value)
}
