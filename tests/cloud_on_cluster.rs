//! `init`, `upgrade cloud` and `reset cloud` as an operator runs them, on an emulated cluster.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::KUBEEDGE;
use common::cluster::{Cluster, kubectl};
use common::script::python;
use serde_json::{Value, json};

fn keadm(cluster: &Cluster, words: &[&str]) -> Output {
    run(&cluster.kubeconfig(), words, "")
}

fn run(kubeconfig: &Path, words: &[&str], answer: &str) -> Output {
    let mut child = Command::new(KUBEEDGE)
        .args(words)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the executable starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    let _ = stdin.write_all(answer.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("its end")
}

fn working() -> Cluster {
    let mut cluster = Cluster::start();
    cluster.order(&json!({"do": "work", "unless": "broken"}));
    cluster
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[track_caller]
fn refused(output: &Output, code: i32, part: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(part), "{said}");
}

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/helm-release")
        .join(name)
}

/// The record as Python reads it, compared with one that Helm has written.
fn record(cluster: &mut Cluster, revision: u32, recorded: &str) -> Value {
    let name = format!("sh.helm.release.v1.cloudcore.v{revision}");
    let secret = cluster.object("Secret", &name).expect(&name);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/release.py");
    let mut child = Command::new(python())
        .arg(script)
        .arg(vectors(&format!("{recorded}.secret.json")))
        .arg(vectors(&format!("{recorded}.release.json")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python: run tests/setup.sh");
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin
        .write_all(secret.to_string().as_bytes())
        .expect("it is read");
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    serde_json::from_str(said.trim()).expect("JSON")
}

#[test]
fn init_installs_and_records_as_helm_does() {
    let mut cluster = working();
    let words = [
        "init",
        "--advertise-address=192.0.2.1",
        "--set=mosquitto.enable=true",
    ];
    let said = good(&keadm(&cluster, &words));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "CLOUDCORE started",
            "=========CHART DETAILS=======",
            "Name: cloudcore"
        ]
    );
    assert!(
        lines[3].starts_with("LAST DEPLOYED: ") && lines[3].len() == 39,
        "{}",
        lines[3]
    );
    assert_eq!(
        lines[4..],
        ["NAMESPACE: kubeedge", "STATUS: deployed", "REVISION: 1"]
    );
    let record = record(&mut cluster, 1, "deployed");
    assert_eq!(record["info"]["description"], "Install complete");
    assert_eq!(
        record["config"]["cloudCore"]["modules"]["cloudHub"]["advertiseAddress"],
        json!(["192.0.2.1"])
    );
    // What Helm marks is marked as Helm marks it.
    let recorded = fs::read_to_string(vectors("objects.json")).expect("the recording");
    let recorded: Vec<Value> = serde_json::from_str(&recorded).expect("JSON");
    let mut compared = 0;
    for theirs in recorded
        .iter()
        .filter(|it| it["metadata"]["name"] != "default")
    {
        let (kind, name) = (
            theirs["kind"].as_str().expect("a kind"),
            &theirs["metadata"]["name"],
        );
        let ours = cluster.object(kind, name.as_str().expect("a name"));
        let ours = ours.unwrap_or_else(|| panic!("no {kind}/{name}"));
        for map in ["labels", "annotations"] {
            let of_helm = |key: &String| {
                !key.starts_with("deprecated.")
                    && !key.starts_with("deployment.")
                    && !key.starts_with("kubernetes.io/")
            };
            let theirs = theirs["metadata"][map].as_object().into_iter().flatten();
            for (key, value) in theirs.filter(|(key, _)| of_helm(key)) {
                assert_eq!(&ours["metadata"][map][key], value, "{kind}/{name} {key}");
            }
        }
        compared += 1;
    }
    assert!(compared >= 10);
    // Again it changes nothing, and with other values it is refused.
    let again = keadm(&cluster, &words);
    assert!(text(&again.stderr).contains("no new revision"));
    assert!(good(&again).ends_with("REVISION: 1\n"));
    refused(&keadm(&cluster, &["init"]), 1, "keadm upgrade cloud");
}

#[test]
fn an_install_that_does_not_work_says_why_and_is_repeated() {
    let mut cluster = working();
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeedge"}});
    cluster.order(&json!({"do": "put", "resource": ["", "v1", "namespaces"], "object": namespace}));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "cloudcore-1", "namespace": "kubeedge",
                     "labels": {"k8s-app": "kubeedge", "kubeedge": "cloudcore"}},
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]},
    });
    cluster.order(&json!({"do": "put", "resource": ["", "v1", "pods"], "object": pod}));
    let words = [
        "init",
        "--set=cloudCore.image.repository=x/broken",
        "--timeout=1s",
    ];
    let failed = keadm(&cluster, &words);
    refused(&failed, 75, "pod cloudcore-1: ErrImagePull: no such image");
    assert!(text(&failed.stderr).contains("waiting: Deployment/cloudcore has 0 of 1"));
    let first = record(&mut cluster, 1, "failed");
    let description = first["info"]["description"].as_str().expect("a text");
    assert!(
        description.starts_with("Release \"cloudcore\" failed: not ready after 1 s"),
        "{description}"
    );
    // JSON has the error too.
    let failed = keadm(&cluster, &[&words[..], &["-o=json"]].concat());
    let error: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
    assert_eq!(error["exitCode"], 75);
    let said = good(&keadm(&cluster, &["init"]));
    assert!(said.ends_with("STATUS: deployed\nREVISION: 3\n"), "{said}");
    // Without waiting there is nothing to fail.
    let other = Cluster::start();
    good(&keadm(&other, &["init", "--force"]));
}

#[test]
fn an_upgrade_keeps_values_and_is_undone_when_it_does_not_work() {
    let mut cluster = working();
    good(&keadm(
        &cluster,
        &[
            "init",
            "--advertise-address=192.0.2.1",
            "--kubeedge-version=v1.22.0",
        ],
    ));
    let said = good(&keadm(
        &cluster,
        &[
            "upgrade",
            "cloud",
            "--set=cloudCore.replicaCount=2",
            "--print-final-values",
        ],
    ));
    assert!(
        said.contains("REVISION: 2\nFINAL VALUES:\n") && said.contains("- 192.0.2.1"),
        "{said}"
    );
    let image = |cluster: &mut Cluster| {
        let deployment = cluster
            .object("Deployment", "cloudcore")
            .expect("a Deployment");
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(image(&mut cluster), "kubeedge/cloudcore:v1.23.1");
    let words = [
        "upgrade",
        "cloud",
        "--set=cloudCore.image.repository=x/broken",
        "--timeout=1s",
    ];
    refused(
        &keadm(&cluster, &words),
        1,
        "what revision 2 had was put back",
    );
    assert_eq!(image(&mut cluster), "kubeedge/cloudcore:v1.23.1");
    assert_eq!(
        record(&mut cluster, 4, "deployed")["info"]["description"],
        "Rollback to 2"
    );
    assert_eq!(
        record(&mut cluster, 3, "failed")["info"]["status"],
        "failed"
    );
    let before = cluster.objects();
    let said = good(&keadm(
        &cluster,
        &[
            "upgrade",
            "cloud",
            "--dry-run",
            "--set=cloudCore.replicaCount=7",
        ],
    ));
    assert!(said.contains("replicas: 7"));
    assert_eq!(cluster.objects(), before);
    let empty = Cluster::start();
    refused(&keadm(&empty, &["upgrade", "cloud"]), 1, "keadm init");
}

#[test]
fn a_reset_asks_and_takes_only_what_is_the_release_s() {
    let mut cluster = working();
    good(&keadm(&cluster, &["init"]));
    let ca = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "casecret", "namespace": "kubeedge"}});
    cluster.order(&json!({"do": "put", "resource": ["", "v1", "secrets"], "object": ca}));
    let before = cluster.objects();
    let said = good(&keadm(&cluster, &["reset", "cloud", "--dry-run"]));
    assert!(said.contains("would go: Deployment/cloudcore\n"), "{said}");
    for answer in ["", "n\n", "no way\n"] {
        refused(
            &run(&cluster.kubeconfig(), &["reset", "cloud"], answer),
            1,
            "nothing was changed",
        );
    }
    assert_eq!(cluster.objects(), before);
    let said = good(&run(&cluster.kubeconfig(), &["reset", "cloud"], "y\n"));
    assert!(
        said.contains("gone: ClusterRole/cloudcore-common\n"),
        "{said}"
    );
    let mut left = cluster.objects().into_iter().map(|it| {
        format!(
            "{}/{}",
            it["kind"].as_str().unwrap_or_default(),
            it["metadata"]["name"].as_str().unwrap_or_default()
        )
    });
    let ours = left
        .by_ref()
        .filter(|it| !it.starts_with("Namespace/") && !it.starts_with("CustomResource"));
    assert_eq!(
        ours.collect::<Vec<_>>(),
        ["Secret/cloudcore", "Secret/casecret"]
    );
    let nothing = keadm(&cluster, &["reset", "cloud", "--yes"]);
    good(&nothing);
    assert!(text(&nothing.stderr).contains("nothing to do"));
    good(&keadm(&cluster, &["init"]));
    let said = good(&keadm(
        &cluster,
        &[
            "reset",
            "cloud",
            "--yes",
            "--crds",
            "--namespace",
            "-o=json",
        ],
    ));
    let gone: Value = serde_json::from_str(&said).expect("JSON");
    assert!(
        gone["removed"]
            .as_array()
            .expect("a list")
            .contains(&json!("Namespace/kubeedge"))
    );
    assert!(cluster.object("Secret", "casecret").is_none());
    assert!(
        cluster
            .object("CustomResourceDefinition", "rules.rules.kubeedge.io")
            .is_none()
    );
}

#[test]
fn what_can_not_be_done_is_said_before_anything_is_changed() {
    let mut cluster = working();
    let mine = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "cloudcore"}});
    cluster.order(&json!({
        "do": "put", "resource": ["rbac.authorization.k8s.io", "v1", "clusterroles"], "object": mine,
    }));
    let before = cluster.objects();
    refused(
        &keadm(&cluster, &["init"]),
        1,
        "ClusterRole/cloudcore is already there",
    );
    cluster.order(&json!({"do": "deny", "verbs": ["* *", "create deployments", "patch secrets"]}));
    refused(
        &keadm(&cluster, &["init"]),
        77,
        "does not allow you to create deployments.apps: ",
    );
    cluster.order(&json!({"do": "deny", "verbs": []}));
    for (words, code, part) in [
        (
            &["init", "--set=cloudCore.replicas=2"][..],
            64,
            "there is no value cloudCore.replicas",
        ),
        (
            &["init", "--external-helm-root=/charts"],
            64,
            "Helm's templates are not run here",
        ),
        (&["init", "--files=x.yaml"], 64, "apply others with kubectl"),
        (
            &["init", "--timeout=soon"],
            64,
            "--timeout: \"soon\" is no duration",
        ),
        (
            &["init", "--kube-config=/nowhere/config"],
            78,
            "/nowhere/config",
        ),
        (
            &["upgrade", "cloud", "--kubeedge-version=x"],
            64,
            "is no version",
        ),
        (&["reset", "cloud", "--colour"], 64, "--colour"),
    ] {
        refused(&keadm(&cluster, words), code, part);
    }
    cluster.order(&json!({"do": "token", "value": null}));
    refused(&keadm(&cluster, &["init"]), 77, "does not know who we are");
    assert_eq!(cluster.objects(), before);
    cluster.stop();
    for words in [
        &["init"][..],
        &["upgrade", "cloud"],
        &["reset", "cloud", "--yes"],
    ] {
        refused(&keadm(&cluster, words), 69, "no way to the cluster");
    }
}

/// K22: they are printed, and nothing is changed.
#[test]
fn a_dry_run_prints_the_objects_and_changes_nothing() {
    let mut cluster = working();
    let before = cluster.objects();
    let said = good(&keadm(
        &cluster,
        &["init", "--dry-run", "--set=cloudCore.replicaCount=3"],
    ));
    assert!(
        said.starts_with("---\n# Source: cloudcore/namespace.yaml\n")
            && said.contains("replicas: 3")
    );
    assert_eq!(cluster.objects(), before);
    // kubectl takes what is printed; where this machine has none, the schemas are proof enough.
    let Some(kubectl) = kubectl() else { return };
    let file = cluster.file("all.yaml");
    fs::write(&file, &said).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let words = ["apply", "--dry-run=client", "--validate=false", "-f", file];
    let applied = cluster.kubectl(&kubectl, &words);
    let names = good(&applied);
    assert!(
        names.contains("deployment.apps/cloudcore created (dry run)"),
        "{names}"
    );
    assert!(names.lines().count() > 20, "{names}");
}

/// A cluster that refuses a step, once or for ever.
#[test]
fn a_cluster_that_fails_in_between_is_told_of_and_the_next_run_goes_on() {
    let mut cluster = working();
    cluster
        .order(&json!({"do": "fail", "status": 422, "reason": "Invalid", "path": "/deployments/"}));
    refused(
        &keadm(&cluster, &["init"]),
        1,
        "Deployment/cloudcore: the cluster refuses: on purpose",
    );
    assert_eq!(
        record(&mut cluster, 1, "failed")["info"]["status"],
        "failed"
    );
    cluster.order(&json!({"do": "heal"}));
    // Busy for a moment is no failure.
    cluster.order(&json!({"do": "fail", "status": 429, "times": 2, "path": "/clusterroles/"}));
    assert!(good(&keadm(&cluster, &["init"])).ends_with("REVISION: 2\n"));
    cluster
        .order(&json!({"do": "fail", "status": 403, "reason": "Forbidden", "methods": ["DELETE"]}));
    refused(
        &keadm(&cluster, &["reset", "cloud", "--yes"]),
        77,
        "does not allow it",
    );
    refused(
        &keadm(&cluster, &["init", "--set=cloudCore.replicaCount=2"]),
        1,
        "keadm reset cloud",
    );
    cluster.order(&json!({"do": "heal"}));
    good(&keadm(&cluster, &["reset", "cloud", "--yes"]));
}
