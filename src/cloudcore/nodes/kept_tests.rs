//! Tests of what is kept of an object.

use serde_json::json;

use super::*;

#[test]
fn a_pod_needs_what_it_mentions_anywhere() {
    let pod = json!({"spec": {"nodeName": "edge-1",
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [{"configMap": {"name": "c1"}}, {"secret": {"secretName": "s1"}},
            {"projected": {"sources": [{"configMap": {"name": "c2"}}, {"secret": {"name": "s2"}}]}}],
        "initContainers": [{"envFrom": [{"configMapRef": {"name": "c3"}}]}],
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s3", "key": "k"}}},
            {"value": "x"}]}]}});
    let facts = Facts::of(Kind::Pod, pod.as_object().unwrap());
    let names: Vec<&str> = facts.needs.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["c1", "c2", "c3", "pull", "s1", "s2", "s3"]);
    assert_eq!(facts.bound, "edge-1".parse().ok());
    let odd = json!({"spec": {"nodeName": 1, "volumes": {}, "containers": [1, {"env": [2]}]}});
    assert_eq!(
        Facts::of(Kind::Pod, odd.as_object().unwrap()),
        Facts::default()
    );
}

#[test]
fn what_is_written_is_read_again() {
    let path = ObjectPath::new("default", Kind::ConfigMap, "a").unwrap();
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a",
        "namespace": "default", "uid": "u", "resourceVersion": "7"}, "n": 9007199254740993u64});
    let given = Given {
        nodes: ["edge-1".parse().unwrap()].into(),
        selector: "role=router".parse().ok(),
    };
    let kept = Kept::new(path, object.as_object().unwrap(), given).unwrap();
    let change = kept.change();
    let stored = StoredObject {
        key: change.key,
        text: change.text.unwrap(),
    };
    let Some(Restored::Object(again)) = Restored::read(&stored) else {
        panic!("not an object");
    };
    assert_eq!((&again.text, &again.given), (&kept.text, &kept.given));
    let mut gone = kept.gone();
    assert!(gone.change("u").text.is_none(), "nobody is owed anything");
    gone.owed.insert("edge-1".parse().unwrap());
    let change = gone.change("u");
    let stored = StoredObject {
        key: change.key,
        text: change.text.unwrap(),
    };
    let Some(Restored::Gone(uid, again)) = Restored::read(&stored) else {
        panic!("not gone");
    };
    assert_eq!((&*uid, &again.owed), ("u", &gone.owed));
    assert_eq!(
        again.object("u"),
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a",
            "namespace": "default", "uid": "u", "resourceVersion": "7"}})
    );
}

#[test]
fn selectors_are_a_label_and_its_value() {
    let selector: Selector = "node-role.kubernetes.io/edge=".parse().unwrap();
    let labels = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    assert!(selector.fits(&labels("node-role.kubernetes.io/edge", "")));
    assert!(!selector.fits(&labels("node-role.kubernetes.io/edge", "x")));
    for text in ["", "=", "=x", "a", "a=b=c", "a b=c", "a=\n"] {
        assert!(text.parse::<Selector>().is_err(), "{text:?}");
    }
}
