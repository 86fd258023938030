//! Patches as Kubernetes applies them: recorded ones, each directive alone, and laws that hold for all.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn applied(object: &Value, patch: &Value) -> Result<Value, BadPatch> {
    let mut object = object.as_object().unwrap().clone();
    Patch::parse(&patch.to_string())?.apply(&mut object)?;
    Ok(object.into())
}

fn assert_patched(object: Value, patch: Value, expected: Value) {
    let patched = applied(&object, &patch).unwrap();
    // Compared as text: the order of elements and keys counts.
    assert_eq!(patched.to_string(), expected.to_string(), "by {patch}");
    assert_eq!(applied(&patched, &patch).unwrap(), patched, "twice {patch}");
}

fn recorded(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Without what the cluster adds by itself at every change.
fn without_versions(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    metadata.remove("managedFields");
    object
}

/// Every patch that recorded edges sent, with the object before it and the one that was answered.
#[test]
fn recorded_patches_give_the_recorded_objects() {
    let mut tried = 0;
    for file in ["edge-full", "v1.13/edge-full"] {
        let mut objects: std::collections::HashMap<String, Value> = Default::default();
        let mut patches: std::collections::HashMap<String, Value> = Default::default();
        let mut before: Vec<(String, Value)> = Vec::new();
        for line in recorded(&format!("{file}/messages.jsonl")) {
            let Some(raw) = line["raw"].as_str() else {
                continue; // the end of the connection
            };
            let message: Value = serde_json::from_str(raw).unwrap();
            let (header, route) = (&message["header"], &message["route"]);
            let resource = route["resource"].as_str().unwrap_or_default();
            let content = &message["content"];
            if route["operation"] == "patch" {
                let name = resource
                    .replace("patch", "")
                    .replace("default/node", "null/node");
                let id = header["msg_id"].as_str().unwrap().to_owned();
                patches.insert(id.clone(), content.clone());
                before.push((id, objects[&name].clone()));
                continue;
            }
            let object = content.get("Object").unwrap_or(content);
            if object.get("metadata").is_none() || line["dir"] != "cloud->edge" {
                continue;
            }
            let parent = header["parent_msg_id"].as_str().unwrap_or_default();
            if let Some(patch) = patches.get(parent) {
                let (_, old) = before.iter().find(|(id, _)| id == parent).unwrap();
                let patch = serde_json::from_str(patch.as_str().unwrap()).unwrap();
                let patched = applied(&without_versions(old), &patch).unwrap();
                let expected = without_versions(object);
                assert_eq!(patched, expected, "{resource} by {patch}");
                assert_eq!(applied(&patched, &patch).unwrap(), patched);
                tried += 1;
            }
            let name = resource
                .replace("patch", "")
                .replace("default/node", "null/node");
            // A push may come before the answer of the same version.
            let mut known = object.clone();
            let fields = known.as_object_mut().unwrap();
            fields.remove("kind");
            fields.remove("apiVersion");
            let version = |object: &Value| -> u64 {
                object["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap_or("0")
                    .parse()
                    .unwrap()
            };
            if parent.is_empty()
                || objects
                    .get(&name)
                    .is_none_or(|old| version(old) < version(&known))
            {
                objects.insert(name, known);
            }
        }
    }
    assert_eq!(tried, 7, "patches that were tried");
}

#[test]
fn the_api_servers_answer_to_a_status_patch() {
    // Recorded of a kube-apiserver, which also writes unknown times and leaves empty words out.
    let node = json!({"status": {"capacity": {"cpu": "2"}, "conditions": [{"type": "Ready",
        "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null,
        "reason": "EdgeReady", "message": "x"}]}});
    let patch = json!({"status": {
        "$setElementOrder/conditions": [{"type": "MemoryPressure"}, {"type": "Ready"}],
        "conditions": [
            {"type": "MemoryPressure", "status": "False", "reason": "ok"},
            {"type": "Ready", "status": "True", "reason": "EdgeReady", "message": "y"}]}});
    let expected = json!({"status": {"capacity": {"cpu": "2"}, "conditions": [
        {"type": "MemoryPressure", "status": "False", "reason": "ok"},
        {"type": "Ready", "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null,
        "reason": "EdgeReady", "message": "y"}]}});
    assert_patched(node, patch, expected);
}

#[test]
fn maps_are_merged_and_null_deletes() {
    assert_patched(
        json!({"a": {"x": 1, "y": 2}, "b": 1}),
        json!({"a": {"y": null, "z": 9007199254740993u64}, "b": null, "c": {"d": null, "e": 1}}),
        json!({"a": {"x": 1, "z": 9007199254740993u64}, "c": {"e": 1}}),
    );
    assert_patched(json!({"a": 1}), json!({}), json!({"a": 1}));
    assert_patched(
        json!({"a": [1]}),
        json!({"a": {"b": 1}}),
        json!({"a": {"b": 1}}),
    );
    assert_patched(json!({"a": {"b": 1}}), json!({"a": "x"}), json!({"a": "x"}));
}

#[test]
fn lists_without_a_key_are_replaced() {
    assert_patched(
        json!({"containerStatuses": [{"name": "a", "ready": true}], "taints": [{"key": "x"}]}),
        json!({"containerStatuses": [{"name": "b"}], "taints": []}),
        json!({"containerStatuses": [{"name": "b"}], "taints": []}),
    );
}

#[test]
fn elements_are_merged_by_their_key_and_ordered() {
    let object = json!({"conditions": [
        {"type": "A", "status": "1", "why": "x"}, {"type": "Mine"}, {"type": "B"}, {"type": "C"}]});
    assert_patched(
        object.clone(),
        json!({"conditions": [{"type": "C", "status": "2"}, {"type": "D"},
            {"type": "A", "status": "3", "why": null}, {"$patch": "delete", "type": "B"}]}),
        json!({"conditions": [{"type": "A", "status": "3"}, {"type": "Mine"},
            {"type": "C", "status": "2"}, {"type": "D"}]}),
    );
    assert_patched(
        object.clone(),
        json!({"$setElementOrder/conditions": [{"type": "C"}, {"type": "D"}, {"type": "A"}],
            "conditions": [{"type": "D"}]}),
        json!({"conditions": [{"type": "Mine"}, {"type": "B"}, {"type": "C"}, {"type": "D"},
            {"type": "A", "status": "1", "why": "x"}]}),
    );
    assert_patched(
        json!({"conditions": [{"type": "A"}, {"type": "B"}]}),
        json!({"$setElementOrder/conditions": [{"type": "B"}, {"type": "A"}]}),
        json!({"conditions": [{"type": "B"}, {"type": "A"}]}),
    );
    assert_patched(
        object,
        json!({"conditions": [{"$patch": "replace"}, {"type": "Z", "x": null}]}),
        json!({"conditions": [{"type": "Z"}]}),
    );
}

#[test]
fn words_of_a_set_are_added_once_and_deleted() {
    assert_patched(
        json!({"finalizers": ["a", "b"]}),
        json!({"finalizers": ["c", "a"], "$setElementOrder/finalizers": ["c", "a", "b"]}),
        json!({"finalizers": ["c", "a", "b"]}),
    );
    assert_patched(
        json!({"finalizers": ["a", "b"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["b", "x"]}),
        json!({"finalizers": ["a"]}),
    );
}

#[test]
fn directives_replace_delete_and_retain() {
    assert_patched(
        json!({"a": {"x": 1, "y": 2}, "b": {"x": 1}}),
        json!({"a": {"$patch": "replace", "z": 3}, "b": {"$patch": "delete"}}),
        json!({"a": {"z": 3}, "b": {}}),
    );
    assert_patched(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"],
            "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
    );
    assert_patched(
        json!({}),
        json!({"a": {"$patch": "delete", "x": 1}, "b": {"$retainKeys": ["c"], "c": 1}}),
        json!({"a": {}, "b": {"c": 1}}),
    );
}

#[test]
fn unknown_times_are_written() {
    assert_patched(
        json!({"conditions": []}),
        json!({"conditions": [{"type": "A", "lastProbeTime": null, "reason": null}]}),
        json!({"conditions": [{"type": "A", "lastProbeTime": null}]}),
    );
}

#[test]
fn what_is_no_patch_is_refused_in_a_sentence() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(70), "]".repeat(70));
    let deeper = format!("{{\"a\":{}", "[".repeat(100_000));
    for text in ["", "[1", "[]", "\"{}\"", "null", "{\"a\"", &deep, &deeper] {
        let refusal = Patch::parse(text).unwrap_err();
        assert!(!refusal.to_string().contains('\n'), "{refusal}");
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES));
    assert_eq!(Patch::parse(&long).unwrap_err(), BadPatch::TooLong);
    for patch in [
        json!({"$patch": "other"}),
        json!({"$patch": 1}),
        json!({"$retainKeys": 1}),
        json!({"conditions": [{"status": "x"}]}),
        json!({"conditions": [1]}),
        json!({"conditions": [{"type": {}}]}),
        json!({"conditions": [{"type": "a"}], "$setElementOrder/conditions": {}}),
        json!({"$deleteFromPrimitiveList/finalizers": "a"}),
    ] {
        let object = json!({"conditions": [{"type": "a"}], "finalizers": ["a"]});
        assert!(applied(&object, &patch).is_err(), "{patch}");
    }
}

#[test]
fn only_what_may_be_changed_is_kept() {
    let text = r#"{"metadata":{"labels":{"a":"b"},"uid":"u"},"spec":{"x":1},"status":{"y":1}}"#;
    let patch = Patch::parse(text).unwrap();
    assert_eq!(patch.text(&["metadata", "uid"]), Some("u"));
    let mut object = Map::new();
    let kept = patch.only(&[
        &["metadata", "labels"],
        &["status"],
        &["none"],
        &["spec", "none"],
    ]);
    kept.apply(&mut object).unwrap();
    assert_eq!(object["status"], json!({"y": 1}));
    assert_eq!(object["metadata"], json!({"labels": {"a": "b"}}));
    assert_eq!(object.get("spec"), Some(&json!({})));
}

fn words() -> impl Strategy<Value = &'static str> {
    let words = [
        "a",
        "b",
        "type",
        "name",
        "conditions",
        "finalizers",
        "containers",
        "lastProbeTime",
        "$patch",
        "$retainKeys",
        "$setElementOrder/conditions",
        "$deleteFromPrimitiveList/finalizers",
        "delete",
        "replace",
        "merge",
    ];
    proptest::sample::select(words.to_vec())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..3u8).prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((words(), inner), 0..5)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

fn maps() -> impl Strategy<Value = Value> {
    let pairs = proptest::collection::vec((words(), values()), 0..5);
    pairs.prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

/// An object, as opposed to a patch: without directives and without what is not there.
fn objects() -> impl Strategy<Value = Value> {
    maps().prop_map(|map| plain(map.as_object().unwrap()).into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn nothing_panics_and_directives_do_not_stay(object in objects(), patch in maps()) {
        if let Ok(patched) = applied(&object, &patch) {
            // As a word it may be a value.
            let words = ["\"$patch\":", "\"$retainKeys\":", "\"$setElement", "\"$deleteFrom"];
            let text = patched.to_string();
            let stays = |word: &&str| text.contains(word) && word.ends_with(':');
            prop_assert!(!words.iter().any(stays), "{}", text);
        }
    }

    #[test]
    fn a_patch_of_plain_values_is_idempotent(object in objects(), patch in objects()) {
        if let Ok(once) = applied(&object, &patch) {
            // A list that came in whole may lack keys, and is then refused the second time.
            if let Ok(twice) = applied(&once, &patch) {
                prop_assert_eq!(twice, once);
            }
        }
    }

    #[test]
    fn an_object_patched_by_itself_stays(object in objects()) {
        if let Ok(patched) = applied(&object, &object)
            && let Ok(again) = applied(&patched, &object)
        {
            prop_assert_eq!(again, patched);
        }
    }
}
