//! Tests of the record of a release, against recorded ones too.

use super::*;

fn release() -> Release {
    Release::new(Draft {
        name: "cloudcore",
        namespace: "kubeedge",
        revision: 3,
        status: Status::PendingUpgrade,
        description: "Preparing upgrade".to_owned(),
        first_deployed: Some(Timestamp::from_unix(1_700_000_000)),
        now: Timestamp::from_unix(1_800_000_000),
        metadata: json!({"name": "cloudcore", "version": "1.23.1"}),
        values: json!({"a": 1}),
        config: json!({"b": {"c": "d"}}),
        manifest: "---\na: 1\n".to_owned(),
        hooks: vec![json!({"manifest": "geheim"})],
    })
}

fn of(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

#[test]
fn a_record_comes_back_from_its_secret() {
    let mut release = release();
    let secret = release.secret(Timestamp::from_unix(1_800_000_001), true);
    assert_eq!(
        secret["metadata"]["name"],
        "sh.helm.release.v1.cloudcore.v3"
    );
    assert_eq!(secret["metadata"]["labels"]["createdAt"], "1800000001");
    let read = Release::read(&of(secret)).unwrap();
    assert_eq!(read.record, release.record);
    assert_eq!(
        (read.revision(), read.status()),
        (3, Status::PendingUpgrade)
    );
    assert_eq!(read.config(), json!({"b": {"c": "d"}}));
    assert_eq!(
        read.first_deployed(),
        Some(Timestamp::from_unix(1_700_000_000))
    );
    assert_eq!(read.chart_version(), "1.23.1");

    release.set_status(Status::Deployed, "Upgrade complete");
    let secret = release.secret(Timestamp::from_unix(1_800_000_002), false);
    let labels = &secret["metadata"]["labels"];
    assert_eq!(labels["status"], "deployed");
    assert_eq!(
        (&labels["createdAt"], &labels["modifiedAt"]),
        (&Value::Null, &json!("1800000002"))
    );
    assert_eq!(
        Release::read(&of(secret)).unwrap().description(),
        "Upgrade complete"
    );
}

#[test]
fn a_record_without_packing_is_read() {
    let text = release().record;
    let text = STANDARD.encode(STANDARD.encode(Value::Object(text).to_string()));
    let secret = of(json!({"data": {"release": text}}));
    assert_eq!(Release::read(&secret).unwrap().revision(), 3);
}

#[test]
fn what_is_not_changed_is_written_as_it_was() {
    // It is read as the number next to it.
    let others = "\"of_others\":[1.444444444444444e+37]";
    let text = release().json();
    let text = format!("{},{others}}}", text.strip_suffix('}').unwrap());
    let packed = STANDARD.encode(STANDARD.encode(gzip::pack(text.as_bytes())));
    let read = Release::read(&of(json!({"data": {"release": packed}}))).unwrap();
    assert_eq!(read.json(), text);
    let now = Timestamp::from_unix(1_800_000_003);
    let again = read.again(4, Status::Deployed, "Rollback to 3", now).json();
    assert!(again.contains(others), "{again}");
    assert!(again.contains("\"version\":4"), "{again}");
    assert!(
        again.contains("Rollback to 3") && !again.contains("pending"),
        "{again}"
    );
}

#[test]
fn what_is_no_record_is_named() {
    let packed = |text: &str| STANDARD.encode(STANDARD.encode(gzip::pack(text.as_bytes())));
    for (data, part) in [
        (json!({}), "it has no data.release"),
        (json!({"release": "%"}), "it is not written in base64"),
        (
            json!({"release": STANDARD.encode("%")}),
            "it is not written in base64",
        ),
        (json!({"release": packed("[]")}), "invalid type"),
        (json!({"release": packed("{}")}), "it has no version"),
        (
            json!({"release": STANDARD.encode(STANDARD.encode([31, 139, 8, 0]))}),
            "it is cut or changed",
        ),
    ] {
        let secret = of(json!({"metadata": {"name": "x"}, "data": data}));
        let refusal = Release::read(&secret).unwrap_err().to_string();
        assert!(
            refusal.starts_with("the Secret x is no record"),
            "{refusal}"
        );
        assert!(refusal.contains(part), "{refusal}");
    }
}

/// Every key that Helm wrote, but for values, files of the chart and times, with the type that it has there.
fn shape(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(map) if !["/chart/values", "/config"].contains(&path) => {
            for (key, value) in map {
                shape(value, &format!("{path}/{key}"), into);
            }
        }
        Value::Array(list) if path == "/hooks" => {
            list.iter().for_each(|hook| shape(hook, path, into));
        }
        Value::Null => into.push(format!("{path}: null")),
        Value::Bool(_) => into.push(format!("{path}: bool")),
        Value::Number(_) => into.push(format!("{path}: number")),
        Value::String(_) => into.push(format!("{path}: text")),
        Value::Array(_) => into.push(format!("{path}: list")),
        Value::Object(_) => into.push(format!("{path}: object")),
    }
}

#[test]
fn records_have_the_keys_and_labels_of_recorded_ones() {
    for name in ["deployed", "failed"] {
        let read = |what: &str| -> Value {
            let top = env!("CARGO_MANIFEST_DIR");
            let path = format!("{top}/tests/vectors/helm-release/{name}.{what}.json");
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let theirs = read("release");
        let mut release = release();
        release.record["chart"]["metadata"] = theirs["chart"]["metadata"].clone();
        release.set_hooks(vec![theirs["hooks"][0].clone()]);
        release.set_status(
            Status::of(theirs["info"]["status"].as_str().unwrap()),
            theirs["info"]["description"].as_str().unwrap(),
        );
        let (mut left, mut right) = (Vec::new(), Vec::new());
        shape(&Value::Object(release.record.clone()), "", &mut left);
        shape(&theirs, "", &mut right);
        assert_eq!(left, right);
        let kept = read("secret");
        let ours = release.secret(Timestamp::from_unix(1), false);
        assert_eq!(ours["type"], kept["type"]);
        for (key, value) in kept["metadata"]["labels"].as_object().unwrap() {
            let own = &ours["metadata"]["labels"][key];
            assert!(
                own == value || ["modifiedAt", "version"].contains(&key.as_str()),
                "{key}"
            );
        }
        assert_eq!(ours["metadata"]["labels"].as_object().unwrap().len(), 5);
    }
}

#[test]
fn a_record_is_not_shown() {
    assert_eq!(
        format!("{:?}", release()),
        "Release(cloudcore v3 pending-upgrade)"
    );
}

#[test]
fn statuses_have_the_words_of_helm() {
    for (status, text) in STATUSES {
        assert_eq!(Status::of(text), *status);
        assert_eq!(status.as_str(), *text);
    }
    assert_eq!(Status::of("other"), Status::Unknown);
    assert!(Status::PendingInstall.is_pending() && !Status::Failed.is_pending());
}
