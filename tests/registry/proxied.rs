//! Images that come through an HTTP proxy with a password, as behind a company's firewall; and past it.

use std::process::Command;

use crate::command::registry;
use crate::common::{Folder, KUBEEDGE, put};
use crate::tinyproxy::Tinyproxy;

/// `config images pull` of one image with this environment: exit code, and all that it said.
fn pull(words: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(KUBEEDGE);
    for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    let output = command
        .args(["config", "images", "pull", "--platform", "linux/arm/v7"])
        .args(words)
        .envs(environment.iter().copied())
        .output()
        .expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().expect("a code"), said)
}

#[test]
fn images_come_through_a_proxy_that_wants_a_password() {
    let folder = Folder::new();
    let (mut script, port) = registry(&folder);
    let proxy = Tinyproxy::start("BasicAuth store s3cretWord");
    let out = folder.path().join("images").display().to_string();
    let auth = folder.path().join("auth");
    put(&auth, "puller:geheim-7\n", 0o600);
    let auth = auth.display().to_string();
    let target = format!("127.0.0.1:{port}");
    // The registry wants a password too, and each gets its own.
    let image = format!("{target}/basic:list");
    let with = |credentials: &str| {
        let url = format!("http://{credentials}{}", proxy.address);
        let words = [
            "--output",
            &out,
            "--image",
            &image,
            "--auth-file",
            &auth,
            "--proxy",
            &url,
        ];
        pull(&words, &[])
    };
    for (credentials, part) in [
        ("", "wants a user and a password (407)"),
        ("store:geheim-7@", "refuses the user or the password"),
    ] {
        let (code, said) = with(credentials);
        assert!(
            said.contains(part) && said.contains(&proxy.address),
            "{said}"
        );
        assert_ne!(code, 0, "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains("geheim-7"), "{said}");
    }
    assert!(
        script.take("request").is_empty(),
        "somebody came past the proxy"
    );
    // Refusals stand in its log as well.
    let refused = proxy.opened(&target);
    let (code, said) = with("store:s3cretWord@");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{image}@sha256:")), "{said}");
    assert!(!said.contains("s3cretWord"), "{said}");
    let asked = script.take("request");
    assert!(
        !asked.is_empty() && proxy.opened(&target) == refused + asked.len(),
        "{asked:?}"
    );
    for request in &asked {
        let shown = request["authorization"].as_str().unwrap_or_default();
        // Of `puller:geheim-7`, and of nothing else.
        assert!(
            ["", "Basic cHVsbGVyOmdlaGVpbS03"].contains(&shown),
            "{shown}"
        );
    }
}

#[test]
fn the_environment_names_a_proxy_and_what_goes_past_it() {
    let folder = Folder::new();
    let (_script, port) = registry(&folder);
    let proxy = Tinyproxy::start("BasicAuth store s3cretWord");
    let url = format!("http://store:s3cretWord@{}", proxy.address);
    let out = folder.path().join("images").display().to_string();
    // Linux leads it to loopback, which no program reaches through a proxy of the environment.
    let target = format!("0.0.0.0:{port}");
    let (outer, inner) = (
        format!("{target}/fine:list"),
        format!("127.0.0.1:{port}/fine:list"),
    );
    let mut opened = 0;
    for (image, environment, is_proxied) in [
        (&outer, vec![("HTTPS_PROXY", url.as_str())], true),
        (
            &outer,
            vec![("https_proxy", &url), ("NO_PROXY", "10.0.0.0/8,a.example")],
            true,
        ),
        (
            &outer,
            vec![("HTTPS_PROXY", &url), ("no_proxy", "a.example, 0.0.0.0/8")],
            false,
        ),
        (&inner, vec![("HTTPS_PROXY", &url)], false),
    ] {
        let words = ["--output", &out, "--plain-http", "--image", image];
        let (code, said) = pull(&words, &environment);
        assert_eq!(code, 0, "{environment:?}: {said}");
        let now = proxy.opened(&target) + proxy.opened(&inner[..inner.len() - "/fine:list".len()]);
        assert_eq!(now > opened, is_proxied, "{environment:?}");
        opened = now;
    }
    // What is said on the command line counts before the environment, and has no exceptions.
    let closed = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")];
    let words = [
        "--output",
        &out,
        "--plain-http",
        "--image",
        &outer,
        "--proxy",
        &url,
    ];
    let (code, said) = pull(&words, &closed);
    assert_eq!(code, 0, "{said}");
    assert!(proxy.opened(&target) > opened);
    let (code, said) = pull(&words[..5], &[("HTTPS_PROXY", "socks5://127.0.0.1:1")]);
    assert_ne!(code, 0, "{said}");
    assert!(
        said.contains("HTTPS_PROXY") && said.contains("http://HOST:PORT"),
        "{said}"
    );
}
