//! `keadm config images pull`, as an operator types it.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};

use kubeedge::system::exit;
use serde_json::Value;

use crate::common::script::{Script, port};
use crate::common::{Folder, KUBEEDGE, put};
use crate::image::{Pack, Store, program, tar};

fn pull(words: &[&str]) -> Output {
    Command::new(KUBEEDGE)
        .args(["config", "images", "pull"])
        .args(words)
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .output()
        .expect("it starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("a code")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A registry with KubeEdge's images for one platform under `part/NAME:v1.2.3`.
pub fn registry(folder: &Folder) -> (Script, u16) {
    let mut store = Store::default();
    let layer = store.layer(Pack::Gzip, &tar(&[("a", &program(3, 2_000_000))]));
    let image = store.image("v1.2.3", "linux/arm/v6", &[layer]);
    store.index("list", &[image]);
    store.write(folder.path());
    let mut script = Script::start(
        &[],
        "registry.py",
        &[folder.path().to_str().expect("UTF-8")],
    );
    let ready = script.event_where("ready", |_| true);
    let port = port(&ready, "port");
    (script, port)
}

#[test]
fn images_of_the_cloud_go_into_an_archive() {
    let folder = Folder::new();
    let (mut script, port) = registry(&folder);
    let archive = folder.path().join("kubeedge.tar");
    let archive = archive.to_str().expect("UTF-8");
    let place = format!("127.0.0.1:{port}/part");
    let words = [
        "--part",
        "cloud",
        "--kubeedge-version",
        "v1.2.3",
        "--image-repository",
        &place,
        "--platform",
        "linux/arm/v7",
        "--output",
        archive,
    ];
    let output = pull(&words);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let names: Vec<&str> = told.lines().collect();
    assert!(
        names.len() >= 3 && told.contains("/part/cloudcore:v1.2.3@sha256:"),
        "{told}"
    );
    assert!(
        names
            .iter()
            .all(|line| line.contains(" linux/arm/v6 2.0 MB")),
        "{told}"
    );
    let progress = stderr(&output);
    assert!(progress.contains("layer 1 of 1 of 127.0.0.1"), "{progress}");
    assert!(progress.contains(": 50 % of 2.0 MB"), "{progress}");
    // What all have in common is fetched once: one layer, and the configuration again with every name.
    let asked = script.take("request");
    let fetched = asked
        .iter()
        .filter(|it| it["path"].as_str().is_some_and(|it| it.contains("/blobs/")));
    assert_eq!(fetched.count(), names.len() + 2, "{asked:?}");
    let listed = Command::new("tar")
        .args(["-xOf", archive, "manifest.json"])
        .output()
        .expect("tar");
    let manifest: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(manifest.as_array().map(Vec::len), Some(names.len()));
}

#[test]
fn exit_codes_tell_why_nothing_came() {
    let folder = Folder::new();
    let (_script, port) = registry(&folder);
    let at = |name: &str| format!("127.0.0.1:{port}/{name}");
    let out = folder.path().join("images");
    let out = out.to_str().expect("UTF-8");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!(
        "127.0.0.1:{}/a:v1",
        closed.local_addr().expect("an address").port()
    );
    drop(closed);
    let auth = folder.path().join("auth");
    put(&auth, "{\"credsStore\": \"pass\"}", 0o600);
    let auth = auth.to_str().expect("UTF-8");
    let fine = at("fine:list");
    for (words, expected, part) in [
        (vec![], exit::USAGE, "--output FOLDER"),
        (vec!["--output", out, "--image", "A"], exit::USAGE, "\"A\""),
        (
            vec!["--output", out, "--platform", "arm/v7/x/y"],
            exit::USAGE,
            "linux/arm/v7",
        ),
        (
            vec!["--output", out, "--platform", "foo"],
            exit::USAGE,
            "linux/arm/v7",
        ),
        (
            vec!["--output", out, "--part", "both"],
            exit::USAGE,
            "none of cloud",
        ),
        (
            vec!["--output", out, "--proxy", "socks://a:1"],
            exit::USAGE,
            "--proxy",
        ),
        (
            vec!["--output", out, "--image", &fine, "--auth-file", "/nowhere"],
            exit::CONFIG,
            "/nowhere",
        ),
        (
            vec!["--output", out, "--image", &fine, "--auth-file", auth],
            exit::CONFIG,
            "helper program",
        ),
        (
            vec!["--output", out, "--image", &fine, "--ca-file", auth],
            exit::CONFIG,
            "CERTIFICATE",
        ),
        (
            vec!["--output", out, "--image", &at("basic:list")],
            exit::DENIED,
            "--auth-file",
        ),
        (
            vec!["--output", out, "--image", &at("fine:nothing")],
            exit::FAILURE,
            "there is no",
        ),
        (
            vec!["--output", out, "--image", &fine, "--platform", "arm64"],
            exit::FAILURE,
            "not made for linux/arm64",
        ),
        (
            vec!["--output", out, "--image", &at("teapot:list")],
            exit::UNAVAILABLE,
            "418",
        ),
        (
            vec!["--output", out, "--image", &nobody],
            exit::TRY_AGAIN,
            "refused",
        ),
        (
            vec![
                "--output",
                out,
                "--image",
                &fine,
                "--proxy",
                &nobody[..nobody.len() - 5],
            ],
            exit::TRY_AGAIN,
            "proxy",
        ),
    ] {
        let output = pull(&words);
        let said = stderr(&output);
        assert_eq!(code(&output), i32::from(expected), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    }
    assert!(fs::read_dir(out).is_err(), "something was written");
    let wrong = [
        "--output",
        out,
        "--image",
        &fine,
        "--platform",
        "armv7",
        "--remote-runtime-endpoint",
        "unix:///x",
    ];
    let output = pull(&wrong);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("no container runtime"),
        "{}",
        stderr(&output)
    );
}
