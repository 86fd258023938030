//! `manifest`: what KubeEdge's chart renders, object by object, with a reason for every difference.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::script::python;
use kubeedge::system::yaml::Document;
use serde_json::Value;

const KUBEEDGE: &str = env!("CARGO_BIN_EXE_kubeedge");

fn keadm(words: &[&str]) -> Output {
    let mut command = Command::new(KUBEEDGE);
    command.args(words).output().expect("the executable starts")
}

fn manifest(words: &[&str]) -> String {
    let output = keadm(&[&["manifest"], words].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The objects of a text by kind and name.
fn objects(text: &str) -> BTreeMap<String, Value> {
    let documents = text
        .split("\n---\n")
        .map(|it| it.trim_start_matches("---\n"));
    let documents = documents.filter(|it| !it.trim().is_empty());
    let values = documents.map(|it| Document::parse(it, "manifest").expect("YAML").value);
    values.map(|object| (key(&object), object)).collect()
}

fn key(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().expect("a name");
    format!("{}/{name}", object["kind"].as_str().expect("a kind"))
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/manifest")
}

/// Each leaf of an object with its path; lists of things with names are mappings, those of words are sets.
fn leaves(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let below = match path {
                    "" => key.clone(),
                    _ => format!("{path}.{key}"),
                };
                // A configuration within a ConfigMap is compared by what it says.
                if let (true, Some(text)) = (key.ends_with(".yaml"), value.as_str()) {
                    let inner = Document::parse(text, "a configuration")
                        .expect("YAML")
                        .value;
                    leaves(&inner, &below, into);
                    continue;
                }
                leaves(value, &below, into);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (position, item) in list.iter().enumerate() {
                let name = item["name"].as_str().map(str::to_owned);
                let name = name.unwrap_or_else(|| position.to_string());
                leaves(item, &format!("{path}[{name}]"), into);
            }
        }
        Value::Array(list) => {
            let mut words: Vec<_> = list.iter().map(Value::to_string).collect();
            words.sort();
            into.insert(path.to_owned(), format!("[{}]", words.join(",")));
        }
        leaf => drop(into.insert(path.to_owned(), leaf.to_string())),
    }
}

/// The places where ours and the recorded differ: `Kind/name<TAB>path`, the path being `-` for a whole object.
fn differences(ours: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let recorded = fs::read_to_string(vectors().join("objects.jsonl")).expect("the recording");
    let recorded = recorded
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let recorded: BTreeMap<String, Value> = recorded.map(|object| (key(&object), object)).collect();
    assert_eq!(recorded.len(), 26);
    let mut found = BTreeSet::new();
    let keys: BTreeSet<_> = ours.keys().chain(recorded.keys()).collect();
    for key in keys {
        let (Some(ours), Some(theirs)) = (ours.get(key), recorded.get(key)) else {
            found.insert(format!("{key}\t-"));
            continue;
        };
        let (mut left, mut right) = (BTreeMap::new(), BTreeMap::new());
        leaves(ours, "", &mut left);
        leaves(theirs, "", &mut right);
        if key.starts_with("Secret/") {
            // Keys are new at each run.
            for leaves in [&mut left, &mut right] {
                for (path, value) in leaves.iter_mut() {
                    if path.starts_with("data.") {
                        value.clear();
                    }
                }
            }
        }
        let paths: BTreeSet<_> = left.keys().chain(right.keys()).collect();
        let differ = paths
            .into_iter()
            .filter(|path| left.get(*path) != right.get(*path));
        found.extend(differ.map(|path| format!("{key}\t{path}")));
    }
    found
}

/// The table has every difference and no other.
#[test]
fn every_difference_from_the_chart_has_a_reason() {
    let words = [
        "--kubeedge-version=v1.23.0",
        "--advertise-address=127.0.0.1",
    ];
    let mut found = differences(&objects(&manifest(&words)));
    let with_mosquitto = [&words[..], &["--set=mosquitto.enable=true"]].concat();
    found.extend(differences(&objects(&manifest(&with_mosquitto))));
    let table = fs::read_to_string(vectors().join("differences.tsv")).expect("the table");
    let mut listed = BTreeSet::new();
    for line in table.lines().skip(1) {
        let (place, reason) = line.rsplit_once('\t').expect(line);
        assert!(reason.len() > 10, "{line}: no reason");
        assert!(listed.insert(place.to_owned()), "{line}: twice");
    }
    // `*` stands for any object that has such a place.
    let mut used = BTreeSet::new();
    let mut unlisted = Vec::new();
    for place in &found {
        let (object, path) = place.split_once('\t').expect("two cells");
        let kind = object.split('/').next().unwrap_or_default();
        let names = [
            place.clone(),
            format!("{kind}/*\t{path}"),
            format!("*\t{path}"),
        ];
        match names.iter().find(|name| listed.contains(*name)) {
            Some(name) => drop(used.insert(name.clone())),
            None => unlisted.push(place.as_str()),
        }
    }
    let gone: Vec<_> = listed.difference(&used).map(String::as_str).collect();
    assert!(
        unlisted.is_empty(),
        "not in the table:\n{}",
        unlisted.join("\n")
    );
    assert!(
        gone.is_empty(),
        "in the table, but there is no such difference:\n{}",
        gone.join("\n")
    );
}

/// What is optional is made when a value asks for it, and fits together.
#[test]
fn components_come_and_go_with_their_values() {
    let all = objects(&manifest(&[
        "--set=controllerManager.enable=true,admission.enable=true,mosquitto.enable=true",
        "--set=admission.certsSecretName=webhook,cloudCore.featureGates.requireAuthorization=true",
    ]));
    for key in [
        "Deployment/kubeedge-controller-manager",
        "ClusterRole/controller-manager",
        "Deployment/kubeedge-admission",
        "Service/kubeedge-admission-service",
        "ClusterRoleBinding/kubeedge-admission-role",
        "ClusterRole/cloudcore-feature",
        "DaemonSet/edge-eclipse-mosquitto",
        "Namespace/kubeedge",
    ] {
        assert!(all.contains_key(key), "{key}");
    }
    let few = objects(&manifest(&[
        "--set=iptablesManager.mode=internal,cloudCore.service.enable=false",
        "--skip-crds",
    ]));
    for kind in ["DaemonSet", "Service", "CustomResourceDefinition"] {
        assert!(
            !few.keys().any(|key| key.split('/').next() == Some(kind)),
            "{kind}"
        );
    }
    for objects in [&all, &few] {
        for (key, object) in objects {
            references_resolve(key, object, objects);
        }
    }
}

/// Roles, accounts, ConfigMaps and Secrets that an object names are there, and selectors find their pods.
fn references_resolve(key: &str, object: &Value, objects: &BTreeMap<String, Value>) {
    let needs = |kind: &str, name: &Value| {
        let name = format!("{kind}/{}", name.as_str().expect("a name"));
        let made_elsewhere = name == "Secret/webhook";
        assert!(
            made_elsewhere || objects.contains_key(&name),
            "{key} needs {name}"
        );
    };
    if object.get("roleRef").is_some() {
        needs(
            object["roleRef"]["kind"].as_str().expect("a kind"),
            &object["roleRef"]["name"],
        );
        for subject in object["subjects"].as_array().expect("subjects") {
            needs("ServiceAccount", &subject["name"]);
            assert_eq!(subject["namespace"], "kubeedge");
        }
    }
    let pod = &object["spec"]["template"]["spec"];
    if let Some(account) = pod.get("serviceAccountName") {
        needs("ServiceAccount", account);
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        if volume.get("configMap").is_some() {
            needs("ConfigMap", &volume["configMap"]["name"]);
        }
        if volume.get("secret").is_some() {
            needs("Secret", &volume["secret"]["secretName"]);
        }
    }
    for container in pod["containers"].as_array().into_iter().flatten() {
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let volumes = pod["volumes"].as_array().expect("volumes");
            assert!(
                volumes.iter().any(|it| it["name"] == mount["name"]),
                "{key}: {mount}"
            );
        }
    }
    if ["Deployment", "DaemonSet"].contains(&object["kind"].as_str().unwrap_or_default()) {
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        assert_eq!(&object["spec"]["selector"]["matchLabels"], labels, "{key}");
    }
}

#[test]
fn our_own_image_is_deployed_with_few_rights() {
    let words = [
        "--set=cloudCore.image.repository=registry.example/kubeedge,cloudCore.image.tag=1.0",
        "--set=cloudCore.hostNetWork=false,cloudCore.service.type=LoadBalancer,cloudCore.replicaCount=3",
        "--set=cloudCore.modules.cloudHub.websocket.port=443,cloudCore.modules.cloudHub.quic.enable=true",
    ];
    let objects = objects(&manifest(&words));
    let deployment = &objects["Deployment/cloudcore"];
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example/kubeedge:1.0");
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(container["securityContext"]["privileged"], Value::Null);
    assert_eq!(container["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], 9091);
    let mounted = pod["volumes"].as_array().expect("volumes").iter();
    assert!(mounted.clone().all(|it| it.get("hostPath").is_none()));
    assert!(!objects.contains_key("DaemonSet/cloud-iptables-manager"));
    assert!(!objects.contains_key("Secret/cloudcore"));
    // K30: a port is the same everywhere.
    let service = &objects["Service/cloudcore"]["spec"];
    assert_eq!(service["type"], "LoadBalancer");
    assert_eq!(service["ports"][0]["port"], 443);
    assert_eq!(container["ports"][0]["containerPort"], 443);
    assert_eq!(service["ports"][1]["protocol"], "UDP");
    let config = objects["ConfigMap/cloudcore"]["data"]["cloudcore.yaml"]
        .as_str()
        .expect("a text");
    let config = Document::parse(config, "cloudcore.yaml")
        .expect("YAML")
        .value;
    assert_eq!(config["modules"]["cloudHub"]["websocket"]["port"], 443);
    assert_eq!(
        config["apiVersion"],
        "cloudcore.config.kubeedge.io/v1alpha1"
    );
    // Rights that nothing switched on needs are not given.
    let rules = objects["ClusterRole/cloudcore-common"]["rules"].to_string();
    assert!(
        rules.contains("nodes/status") && !rules.contains("impersonate"),
        "{rules}"
    );
    assert!(!rules.contains("operations.kubeedge.io"), "{rules}");
    let switched = manifest(&[
        words[0],
        "--set=cloudCore.modules.cloudHub.impersonateNodes=true",
    ]);
    assert!(switched.contains("- system:nodes"));
    // What jobs need, and no more.
    let jobs = manifest(&[words[0], "--set=cloudCore.modules.taskManager.enable=true"]);
    let (_, group) = jobs
        .split_once("  - operations.kubeedge.io\n  resources:\n")
        .expect("a rule for jobs");
    assert!(
        group.starts_with(
            "  - nodeupgradejobs\n  - configupdatejobs\n  - imageprepulljobs\n  verbs:\n  - get\n"
        ),
        "{group:.300}"
    );
    assert!(group.contains("  - imageprepulljobs/status\n  verbs:\n  - patch\n"));
    assert!(switched.contains("impersonateNodes: true\n        objectSync: false\n"));
    assert_eq!(
        config["commonConfig"]["monitorServer"]["bindAddress"],
        "0.0.0.0:9091"
    );
    for (key, object) in &objects {
        references_resolve(key, object, &objects);
    }
}

#[test]
fn further_objects_are_printed_as_they_are() {
    let folder = PathBuf::from(format!("/tmp/kt-{}-manifest", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("more.yaml");
    fs::write(&file, "# mine\n---\nkind: A\nmetadata: {name: x}\n---\n").expect("a file");
    let text = manifest(&["-f", file.to_str().expect("UTF-8")]);
    fs::remove_dir_all(&folder).expect("gone");
    assert!(
        text.contains("kind: A\nmetadata: {name: x}\n---\n"),
        "{text:.300}"
    );
    let lines: Vec<_> = text.lines().take(2).collect();
    assert_eq!(lines, ["---", &format!("# Source: {}", file.display())]);
    assert_eq!(objects(&text)["A/x"]["kind"], "A");
}

#[test]
fn what_can_not_be_rendered_is_said_in_one_sentence() {
    for (words, code, part) in [
        (
            &["--set=cloudCore.replicas=2"][..],
            64,
            "there is no value cloudCore.replicas",
        ),
        (&["--set=cloudCore"], 64, "a value is missing"),
        (
            &["--advertise-address=cloud.example"],
            64,
            "is no IP address",
        ),
        (&["--kubeedge-version=latest"], 64, "is no version"),
        (&["--profile=other"], 64, "is neither a file nor one of"),
        (
            &["--external-helm-root=/charts"],
            64,
            "Helm's templates are not run here",
        ),
        (
            &["--set=cloudCore.replicaCount=x"],
            78,
            "cloudCore.replicaCount: expected a whole number",
        ),
        (
            &["--values=/nowhere/values.yaml"],
            78,
            "/nowhere/values.yaml",
        ),
        (&["--files=/nowhere/more.yaml"], 78, "/nowhere/more.yaml"),
        (&["--colour"], 64, "--colour"),
    ] {
        let output = keadm(&[&["manifest"], words].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(
            said.contains(part) && said.lines().count() == 1,
            "{words:?}: {said}"
        );
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn images_are_listed_for_a_registry_without_a_way_out() {
    let output = keadm(&[
        "config",
        "images",
        "list",
        "--image-repository=r.example:5000/k",
    ]);
    let images = String::from_utf8(output.stdout).expect("UTF-8");
    let expected = "r.example:5000/k/admission:v1.23.1\n\
                    r.example:5000/k/cloudcore:v1.23.1\n\
                    r.example:5000/k/controller-manager:v1.23.1\n\
                    r.example:5000/k/installation-package:v1.23.1\n\
                    r.example:5000/k/iptables-manager:v1.23.1\n";
    assert_eq!(images, expected);
    let cloud = keadm(&[
        "config",
        "images",
        "list",
        "--part=cloud",
        "-o=json",
        "--kubeedge-version=1.22.0",
    ]);
    let cloud: Value = serde_json::from_slice(&cloud.stdout).expect("JSON");
    assert_eq!(cloud["images"].as_array().expect("a list").len(), 4);
    assert_eq!(cloud["images"][0], "kubeedge/admission:v1.22.0");
    assert_eq!(
        keadm(&["config", "images", "list", "--part=x"])
            .status
            .code(),
        Some(64)
    );
}

/// kubernetes-validate has the schemas of Kubernetes.
fn validated(text: &str) -> (bool, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/validate.py");
    let mut child = Command::new(python())
        .args([script, "1.28", "1.33", "1.37"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python: run tests/setup.sh");
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin.write_all(text.as_bytes()).expect("it is read");
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn every_object_follows_the_schemas_of_three_versions_of_kubernetes() {
    let everything = manifest(&[
        "--set=controllerManager.enable=true,admission.enable=true,mosquitto.enable=true",
        "--set=admission.certsSecretName=webhook,cloudCore.featureGates.requireAuthorization=true",
        "--set=cloudCore.image.pullSecrets={a,b},cloudCore.tolerations[0].operator=Exists",
    ]);
    let (good, said) = validated(&everything);
    assert!(
        good && said == format!("{} objects\n", objects(&everything).len()),
        "{said}"
    );
    let (good, said) = validated(&manifest(&["--set=cloudCore.implementation=rust"]));
    assert!(good, "{said}");
    // What is wrong would have been found.
    let wrong = everything.replacen("containerPort: 10000", "containerPort: \"10000\"", 1);
    let (good, said) = validated(&wrong);
    assert!(
        !good && said.contains("1.33 Deployment/cloudcore"),
        "{said}"
    );
}
