//! What there is to tell about an object of each type, in kubectl's words and order.

use serde_json::Value;

use super::sheet::Sheet;
use super::sheets_pod;
use crate::keadm::span::span;
use crate::protocol::resource::Kind;
use crate::system::clock::Timestamp;

/// Whole lines.
pub fn of(kind: Kind, item: &Value, now: Timestamp) -> String {
    let mut sheet = head(kind, item, now);
    match kind {
        Kind::Pod => sheets_pod::pod(&mut sheet, item),
        Kind::Device => device(&mut sheet, item),
        Kind::ConfigMap => configmap(&mut sheet, item),
        Kind::Node => node(&mut sheet, item),
        _ => {}
    }
    sheet.render()
}

fn head(kind: Kind, item: &Value, now: Timestamp) -> Sheet {
    let mut sheet = Sheet::default();
    let metadata = &item["metadata"];
    sheet.field("Name", word(metadata, "name"));
    if !kind.is_of_cluster() {
        sheet.field("Namespace", word(metadata, "namespace"));
    }
    sheet.fields("Labels", pairs(&metadata["labels"], "="));
    sheet.fields("Annotations", pairs(&metadata["annotations"], ": "));
    let created = word(metadata, "creationTimestamp");
    let age = created
        .parse()
        .map(|created: Timestamp| format!("{created} ({} ago)", span(now.since(created))));
    sheet.known("Created", &age.unwrap_or(created));
    let deleted = word(metadata, "deletionTimestamp");
    sheet.known("Deletion asked for", &deleted);
    sheet
}

fn configmap(sheet: &mut Sheet, item: &Value) {
    let mut data = Sheet::default();
    for (key, value) in entries(&item["data"]) {
        data.text(key, value.as_str().unwrap_or_default());
    }
    sheet.block("Data", data);
    let mut binary = Sheet::default();
    for (key, value) in entries(&item["binaryData"]) {
        // In Base64.
        let text = value.as_str().unwrap_or_default().trim_end_matches('=');
        binary.field(key, format!("{} bytes", text.len() * 3 / 4));
    }
    sheet.block("Binary data", binary);
}

fn node(sheet: &mut Sheet, item: &Value) {
    let (spec, status) = (&item["spec"], &item["status"]);
    let taints = list(&spec["taints"]).iter().map(|taint| {
        let (key, value) = (word(taint, "key"), word(taint, "value"));
        format!("{key}={value}:{}", word(taint, "effect"))
    });
    sheet.fields("Taints", taints.collect());
    sheet.field("Unschedulable", (spec["unschedulable"] == true).to_string());
    conditions(sheet, status);
    let mut addresses = Sheet::default();
    for address in list(&status["addresses"]) {
        addresses.field(&word(address, "type"), word(address, "address"));
    }
    sheet.block("Addresses", addresses);
    for (name, key) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        sheet.block(name, block(&status[key]));
    }
    sheet.block("System info", block(&status["nodeInfo"]));
}

fn device(sheet: &mut Sheet, item: &Value) {
    let (spec, status) = (&item["spec"], &item["status"]);
    sheet.known("Model", &word(&spec["deviceModelRef"], "name"));
    sheet.known("Node", &word(spec, "nodeName"));
    let mut protocol = Sheet::default();
    protocol.known("Name", &word(&spec["protocol"], "protocolName"));
    protocol.block("Settings", block(&spec["protocol"]["configData"]));
    sheet.block("Protocol", protocol);
    sheet.known("State", &word(status, "state"));
    sheet.known("Last online", &word(status, "lastOnlineTime"));
    let mut properties = Sheet::default();
    for property in list(&spec["properties"]) {
        let name = word(property, "name");
        let twins = list(&status["twins"]);
        let twin = twins.iter().find(|twin| twin["propertyName"] == *name);
        let reported = twin.map_or_else(String::new, |twin| word(&twin["reported"], "value"));
        let mut about = Sheet::default();
        about.known("Desired", &word(&property["desired"], "value"));
        about.known("Reported", &reported);
        for (title, key) in [
            ("Collected every (ms)", "collectCycle"),
            ("Reported every (ms)", "reportCycle"),
            ("Reported to the cloud", "reportToCloud"),
        ] {
            about.known(title, &word(property, key));
        }
        about.block("Read by", block(&property["visitors"]["configData"]));
        if about.is_empty() {
            about.field("Desired", "<none>");
        }
        properties.block(&name, about);
    }
    sheet.block("Properties", properties);
}

pub fn conditions(sheet: &mut Sheet, status: &Value) {
    let rows = list(&status["conditions"]).iter().map(|condition| {
        ["type", "status", "reason", "message"]
            .map(|key| word(condition, key))
            .to_vec()
    });
    let titles = ["Type", "Status", "Reason", "Message"];
    sheet.table("Conditions", &titles, rows.collect());
}

/// The members of an object, each a field, or a block if it has members itself.
pub fn block(value: &Value) -> Sheet {
    let mut sheet = Sheet::default();
    for (key, value) in entries(value) {
        match value {
            Value::Object(_) => sheet.block(key, block(value)),
            Value::Array(all) => sheet.fields(key, all.iter().map(scalar).collect()),
            _ => sheet.field(key, scalar(value)),
        }
    }
    sheet
}

pub fn pairs(value: &Value, between: &str) -> Vec<String> {
    entries(value)
        .map(|(key, value)| format!("{key}{between}{}", scalar(value)))
        .collect()
}

pub fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Empty when it is not there.
pub fn word(value: &Value, key: &str) -> String {
    scalar(&value[key])
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
