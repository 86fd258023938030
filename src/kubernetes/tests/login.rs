//! Who we are: plugins, and certificates with keys of every kind.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::server::{Reply, Server, json};
use crate::kubernetes::Request;
use crate::kubernetes::access::{Login, Material, Program};
use crate::kubernetes::plain::Plain;
use crate::kubernetes::plugin::{self, PluginError};
use crate::kubernetes::resource::NODES;
use crate::pki::{foreign, pem};
use crate::system::clock::Clock;
use crate::system::files::Files;
use crate::system::scratch::Scratch;
use crate::system::secret::Secret;

const V1: &str = "client.authentication.k8s.io/v1";
const LONG: Duration = Duration::from_secs(60);

/// A program of a test, which is a shell's script.
fn program(folder: &Scratch, script: &str) -> Program {
    let path = folder.path().join("plugin");
    let text = format!("#!/bin/sh\n{script}\n");
    Files::real()
        .replace(&path, text.as_bytes(), 0o755)
        .unwrap();
    Program {
        command: path,
        arguments: vec!["a word".to_owned()],
        environment: vec![("GIVEN".to_owned(), Secret::new("some".to_owned()))],
        api_version: V1,
        tell_cluster: true,
        cluster_config: Some(serde_json::json!({"audience": "x"})),
        install_hint: "get it from there\nand do more".to_owned(),
    }
}

fn said(status: &str) -> String {
    format!("{{\"kind\":\"ExecCredential\",\"apiVersion\":\"{V1}\",\"status\":{status}}}")
}

#[test]
fn a_plugin_is_told_what_it_needs() {
    let folder = Scratch::new();
    let server = Server::start(|_| Reply::End(json(200, "{}")));
    let mut access = server.access();
    access.tls_server_name = Some("kubernetes".parse().unwrap());
    let info = folder.path().join("info");
    let script = format!(
        "[ \"$1 $GIVEN\" = 'a word some' ] && printf %s \"$KUBERNETES_EXEC_INFO\" >{}\necho '{}'",
        info.display(),
        said("{\"token\":\"t\",\"expirationTimestamp\":\"2100-01-01T00:00:00Z\"}")
    );
    let given = plugin::ask(&program(&folder, &script), &access, LONG).unwrap();
    assert_eq!(**given.token.as_ref().unwrap(), "t");
    assert_eq!(given.expires.unwrap().to_string(), "2100-01-01T00:00:00Z");
    let info = Files::real().read(&info, 100_000).unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(info["apiVersion"], V1);
    assert_eq!(info["spec"]["interactive"], false);
    let cluster = &info["spec"]["cluster"];
    assert_eq!(cluster["server"], access.server.to_string());
    assert_eq!(cluster["tls-server-name"], "kubernetes");
    assert_eq!(cluster["config"]["audience"], "x");
    assert!(
        cluster["certificate-authority-data"]
            .as_str()
            .unwrap()
            .len()
            > 100
    );
}

#[test]
fn a_plugin_that_fails_is_named() {
    let server = Server::start(|_| Reply::End(json(200, "{}")));
    let access = server.access();
    let folder = Scratch::new();
    let error = |script: &str, patience| {
        let program = program(&folder, script);
        plugin::ask(&program, &access, patience)
            .unwrap_err()
            .to_string()
    };
    let short = Duration::from_millis(300);
    for (script, patience, part) in [
        ("exit 3", LONG, "failed (exit status: 3)"),
        ("sleep 600", short, "gave nothing within 0 s"),
        ("exec >&-; sleep 600", short, "gave nothing within 0 s"),
        (
            "while :; do echo 0123456789012345678901234567890123456789; done",
            LONG,
            "prints more than",
        ),
        ("echo geheim", LONG, "prints no ExecCredential in JSON"),
        (
            &format!("echo '{}'", said("{}")),
            LONG,
            "neither a token nor a certificate",
        ),
        (&format!("echo '{}'", said("null")), LONG, "no status"),
        (
            &format!("echo '{}'", said("{\"clientKeyData\":\"geheim\"}")),
            LONG,
            "a key without its certificate",
        ),
        (
            &format!(
                "echo '{}'",
                said("{\"token\":\"t\"}").replace("/v1", "/v1beta1")
            ),
            LONG,
            "of the version",
        ),
        (
            &format!(
                "echo '{}'",
                said("{\"token\":\"t\",\"expirationTimestamp\":\"soon\"}")
            ),
            LONG,
            "no time",
        ),
    ] {
        let sentence = error(script, patience);
        assert!(sentence.contains(part), "{script}: {sentence}");
        assert!(!sentence.contains("geheim"), "{sentence}");
    }
    let mut missing = program(&folder, "");
    missing.command = PathBuf::from("no-such-plugin");
    let error = plugin::ask(&missing, &access, LONG).unwrap_err();
    assert!(matches!(error, PluginError::Start { .. }));
    let sentence = error.to_string();
    assert!(sentence.ends_with(": get it from there"), "{sentence}");
}

#[test]
fn a_plugin_is_asked_again_when_it_must_be() {
    let server = Server::start(|asked| {
        let shown = asked.header("authorization").unwrap_or_default();
        Reply::End(json(if shown == "Bearer t1" { 401 } else { 200 }, "{}"))
    });
    let folder = Scratch::new();
    let count = folder.path().join("count");
    let count = count.display();
    let script = format!(
        "echo x >>{count}\nn=$(wc -l <{count})\necho '{{\"kind\":\"ExecCredential\",\"apiVersion\":\"{V1}\",\
         \"status\":{{\"token\":\"t'$n'\",\"expirationTimestamp\":\"2100-01-01T00:00:00Z\"}}}}'"
    );
    let mut access = server.access();
    access.login = Login::Program(Box::new(program(&folder, &script)));
    let (clock, hand) = Clock::manual(Clock::system().now());
    let plain = Plain::new(access, &clock);
    let get = Request::get(&NODES, None, "n");
    let tokens = || -> Vec<_> {
        let asked = server.asked();
        let shown = asked.iter().filter_map(|it| it.header("authorization"));
        shown.map(str::to_owned).collect()
    };
    let end = std::time::Instant::now() + LONG;
    // The first is refused; another one is not asked for in the same second.
    while plain.ask(&get).is_err() {
        assert!(std::time::Instant::now() < end);
    }
    assert_eq!(tokens().last().unwrap(), "Bearer t2");
    plain.ask(&get).unwrap();
    assert_eq!(tokens().last().unwrap(), "Bearer t2");
    let _ = hand;
}

fn openssl(folder: &Scratch, words: &str) {
    let done = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "openssl {words}: {said}");
}

#[test]
fn keys_of_every_kind_are_shown() {
    let server = Server::start(|_| Reply::End(json(200, "{}")));
    let folder = Scratch::new();
    let read = |name: &str| {
        Files::real()
            .read(&folder.path().join(name), 100_000)
            .unwrap()
    };
    let get = Request::get(&NODES, None, "n");
    for (make, convert, label) in [
        ("rsa -pkeyopt rsa_keygen_bits:2048", None, "PRIVATE KEY"),
        (
            "rsa -pkeyopt rsa_keygen_bits:2048",
            Some("rsa -traditional -in key -out key"),
            "RSA PRIVATE KEY",
        ),
        ("ec -pkeyopt ec_paramgen_curve:P-256", None, "PRIVATE KEY"),
        (
            "ec -pkeyopt ec_paramgen_curve:P-384",
            Some("ec -in key -out key"),
            "EC PRIVATE KEY",
        ),
        ("ed25519", None, "PRIVATE KEY"),
    ] {
        openssl(&folder, &format!("genpkey -algorithm {make} -out key"));
        if let Some(convert) = convert {
            openssl(&folder, convert);
        }
        // No common name.
        openssl(
            &folder,
            "req -x509 -new -key key -days 1 -subj /O=them -out crt",
        );
        let block = pem::blocks(&read("key")).unwrap().remove(0);
        assert_eq!(block.label, label);
        let mut access = server.access();
        let file = |name: &str| Material::File(folder.path().join(name));
        access.certificate = Some((file("crt"), file("key")));
        Plain::new(access, &Clock::system()).ask(&get).unwrap();
        let shown = server.asked().pop().unwrap().shown.unwrap();
        let own = pem::blocks(&read("crt")).unwrap().remove(0);
        assert_eq!(shown, *own.der);
    }
    let last = read("key");
    openssl(
        &folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout other -days 1 -subj /O=x -out crt",
    );
    let error = foreign::identity(&read("crt"), &last)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not belong to the certificate"),
        "{error}"
    );
    openssl(
        &folder,
        "pkcs8 -topk8 -passout pass:x -in other -out sealed",
    );
    let error = foreign::identity(&read("crt"), &read("sealed"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("encrypted"), "{error}");
    // A CA with such a key is trusted as well.
    foreign::authorities(&read("crt")).unwrap();
    assert!(foreign::authorities(b"no PEM").is_err());
}
