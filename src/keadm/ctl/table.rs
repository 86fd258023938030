//! Objects as lines for people.

use serde_json::Value;

use crate::keadm::span::span;
use crate::protocol::local::Sort;
use crate::protocol::resource::Kind;
use crate::system::clock::Timestamp;

/// A line for each, below their titles; with their namespaces, and with more of each, if so.
pub fn text(
    sort: &Sort,
    items: &[Value],
    (with_namespace, is_wide): (bool, bool),
    now: Timestamp,
) -> String {
    if items.is_empty() {
        return format!("the cloud has sent no {} here\n", sort.plural);
    }
    let with_namespace = with_namespace && !sort.kind.is_of_cluster();
    let more = match is_wide {
        true => more(sort.kind),
        false => &[],
    };
    let mut titles = titles(sort.kind, with_namespace);
    titles.extend(more.iter().map(|(title, _)| (*title).to_owned()));
    let mut rows = vec![titles];
    rows.extend(items.iter().map(|item| {
        let namespace = with_namespace.then(|| at(item, "/metadata/namespace"));
        let mut row: Vec<String> = namespace.into_iter().collect();
        row.push(name(item));
        row.extend(facts(sort.kind, item));
        row.push(age(item, now));
        row.extend(more.iter().map(|(_, pointer)| at(item, pointer)));
        row
    }));
    aligned(&rows)
}

pub fn name(item: &Value) -> String {
    at(item, "/metadata/name")
}

fn titles(kind: Kind, with_namespace: bool) -> Vec<String> {
    let more: &[&str] = match kind {
        Kind::Pod => &["PHASE", "REASON"],
        Kind::ConfigMap | Kind::Secret => &["DATA"],
        Kind::Node => &["STATUS", "VERSION"],
        Kind::Device => &["MODEL", "PROTOCOL"],
        _ => &[],
    };
    let namespace = with_namespace.then_some("NAMESPACE");
    let words = namespace
        .into_iter()
        .chain(["NAME"])
        .chain(more.iter().copied());
    words.chain(["AGE"]).map(str::to_owned).collect()
}

/// Columns that only some want, and where they are found.
fn more(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Pod => &[("IP", "/status/podIP"), ("NODE", "/spec/nodeName")],
        Kind::Node => &[
            ("ADDRESS", "/status/addresses/0/address"),
            ("OS-IMAGE", "/status/nodeInfo/osImage"),
            ("KERNEL", "/status/nodeInfo/kernelVersion"),
        ],
        Kind::Device => &[("NODE", "/spec/nodeName")],
        Kind::Secret => &[("TYPE", "/type")],
        _ => &[],
    }
}

fn facts(kind: Kind, item: &Value) -> Vec<String> {
    let condition = |kind: &str, key: &str| {
        let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
        let found = conditions.and_then(|all| all.iter().find(|it| it["type"] == kind));
        found
            .and_then(|it| it[key].as_str())
            .unwrap_or("-")
            .to_owned()
    };
    match kind {
        Kind::Pod => vec![at(item, "/status/phase"), condition("Ready", "reason")],
        Kind::ConfigMap | Kind::Secret => {
            let count = |key: &str| item[key].as_object().map_or(0, |data| data.len());
            vec![(count("data") + count("binaryData")).to_string()]
        }
        Kind::Node => {
            let ready = match condition("Ready", "status").as_str() {
                "True" => "Ready",
                "False" => "NotReady",
                _ => "Unknown",
            };
            vec![
                ready.to_owned(),
                at(item, "/status/nodeInfo/kubeletVersion"),
            ]
        }
        Kind::Device => vec![
            at(item, "/spec/deviceModelRef/name"),
            at(item, "/spec/protocol/protocolName"),
        ],
        _ => Vec::new(),
    }
}

fn at(item: &Value, pointer: &str) -> String {
    let found = item.pointer(pointer).and_then(Value::as_str);
    let plain = |c: char| if c.is_control() { '?' } else { c };
    found
        .filter(|text| !text.is_empty())
        .unwrap_or("-")
        .chars()
        .map(plain)
        .collect()
}

fn age(item: &Value, now: Timestamp) -> String {
    let created: Option<Timestamp> = at(item, "/metadata/creationTimestamp").parse().ok();
    created.map_or_else(|| "-".to_owned(), |created| span(now.since(created)))
}

/// Columns side by side.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate();
        let line: String = cells
            .map(|(at, cell)| format!("{cell:0$}   ", width(at)))
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_say_why_they_wait() {
        let pod = json!({"metadata": {"name": "web", "namespace": "shop"},
            "status": {"phase": "Pending", "conditions": [{"type": "Ready", "reason": "NoRuntime"}]}});
        let sort = Sort::of(Kind::Pod).unwrap();
        let now = Timestamp::from_unix(1_800_000_000);
        assert_eq!(
            text(
                sort,
                &[pod, json!({"metadata": {"name": "a\u{7}"}})],
                (true, false),
                now
            ),
            "NAMESPACE   NAME   PHASE     REASON      AGE\n\
             shop        web    Pending   NoRuntime   -\n\
             -           a?     -         -           -\n"
        );
        assert!(text(sort, &[], (true, true), now).contains("no pods"));
        let wide = json!({"metadata": {"name": "b"}, "status": {"podIP": "192.0.2.1"}});
        assert_eq!(
            text(sort, &[wide], (false, true), now),
            "NAME   PHASE   REASON   AGE   IP          NODE\nb      -       -        -     192.0.2.1   -\n"
        );
    }
}
