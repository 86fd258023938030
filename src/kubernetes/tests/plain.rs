//! The way that blocks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::server::{Asked, HOUR, Reply, Server, json, with_headers};
use crate::kubernetes::access::{Login, Material};
use crate::kubernetes::plain::Plain;
use crate::kubernetes::resource::{CONFIG_MAPS, NODES, SECRETS};
use crate::kubernetes::{CallError, Impersonation, Patch, Request};
use crate::system::clock::Clock;
use crate::system::files::Files;
use crate::system::scratch::Scratch;
use crate::system::secret::Secret;

fn plain(server: &Server) -> Plain {
    Plain::new(server.access(), &Clock::system())
}

/// Answers the first so often with the first, and then with the second.
fn first_then(
    count: usize,
    first: impl Fn() -> Reply + Send + Sync + 'static,
    then: impl Fn() -> Reply + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    let asked = AtomicUsize::new(0);
    move |_| match asked.fetch_add(1, Ordering::SeqCst) < count {
        true => first(),
        false => then(),
    }
}

#[test]
fn every_method_is_carried_with_what_it_needs() {
    let server = Server::start(|asked| {
        let warning = "Warning: 299 - \"v1 is old\"\r\n";
        Reply::End(with_headers(
            200,
            warning,
            &format!("{{\"it\":\"{}\"}}", asked.method),
        ))
    });
    let mut access = server.access();
    access.login = Login::Token(Secret::new("t0ken".to_owned()));
    access.server.prefix = "/below".to_owned();
    access.impersonation = Some(Impersonation {
        user: "me".to_owned(),
        groups: vec!["a".to_owned(), "b".to_owned()],
    });
    let plain = Plain::new(access, &Clock::system());
    let value = serde_json::json!({"a": 1});
    for (request, method, body) in [
        (Request::get(&SECRETS, Some("n"), "x"), "GET", None),
        (
            Request::create(&SECRETS, Some("n"), &value),
            "POST",
            Some("application/json"),
        ),
        (
            Request::replace(&SECRETS, Some("n"), "x", &value),
            "PUT",
            Some("application/json"),
        ),
        (
            Request::apply(&SECRETS, Some("n"), "x", &value),
            "PATCH",
            Some("application/apply-patch+yaml"),
        ),
        (
            Request::patch(&SECRETS, Some("n"), "x", Patch::Strategic, &value),
            "PATCH",
            Some("application/strategic-merge-patch+json"),
        ),
        (Request::delete(&SECRETS, Some("n"), "x"), "DELETE", None),
        (
            Request::delete(&SECRETS, Some("n"), "x").only_uid("u"),
            "DELETE",
            Some("application/json"),
        ),
    ] {
        let answer = plain.ask(&request).unwrap();
        assert_eq!(answer.object().unwrap()["it"], method);
        assert_eq!(answer.warnings, ["v1 is old"]);
        let asked = server.asked().pop().unwrap();
        assert_eq!(asked.method, method);
        assert_eq!(asked.target, format!("/below{}", request.target()));
        assert_eq!(asked.header("content-type"), body);
        assert_eq!(asked.header("accept"), Some("application/json"));
        assert_eq!(asked.header("authorization"), Some("Bearer t0ken"));
        assert_eq!(asked.header("impersonate-user"), Some("me"));
        let groups = asked
            .headers
            .iter()
            .filter(|(name, _)| name == "impersonate-group");
        assert_eq!(groups.count(), 2);
        let agent = asked.header("user-agent").unwrap();
        assert!(agent.starts_with("kubeedge/"), "{agent}");
        match &request.body {
            Some(body) => assert_eq!(asked.body, body.bytes),
            None => assert!(asked.body.is_empty()),
        }
    }
    // What a request says itself counts more.
    plain
        .ask(&Request::get(&NODES, None, "e").as_node("e"))
        .unwrap();
    let asked = server.asked().pop().unwrap();
    assert_eq!(asked.header("impersonate-user"), Some("system:node:e"));
    assert_eq!(asked.header("impersonate-group"), Some("system:nodes"));
}

#[test]
fn what_is_asked_again_and_what_not() {
    let busy = || Reply::End(with_headers(429, "Retry-After: 0\r\n", "{}"));
    let broken = || Reply::End(Vec::new());
    let fine = || Reply::Keep(json(200, "{}"));
    let get = Request::get(&CONFIG_MAPS, Some("n"), "x");
    let create = Request::create(&CONFIG_MAPS, Some("n"), &serde_json::json!({}));

    let server = Server::start(first_then(2, busy, fine));
    plain(&server).ask(&create).unwrap();
    assert_eq!(server.asked().len(), 3);
    // Each try has a connection of its own.
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);

    let server = Server::start(first_then(1, broken, fine));
    plain(&server).ask(&get).unwrap();
    assert_eq!(server.asked().len(), 2);

    let server = Server::start(first_then(1, broken, fine));
    let error = plain(&server).ask(&create).unwrap_err();
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
    assert_eq!(server.asked().len(), 1);

    let unavailable = || Reply::End(json(503, "{\"message\":\"down\",\"reason\":\"X\"}"));
    let server = Server::start(first_then(1000, unavailable, fine));
    let short = get.clone().within(Duration::from_secs(1));
    let error = plain(&server).ask(&short).unwrap_err();
    assert_eq!(error.status().unwrap().code, 503);
    let tried = server.asked().len();
    assert!((2..=5).contains(&tried), "{tried} tries");
}

#[test]
fn every_wait_and_every_length_has_its_end() {
    let server = Server::start(|asked| match asked.target.contains("long") {
        // Says how long it is, and goes on for ever in truth.
        true => Reply::Hang(
            [
                b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1100000\r\n".as_slice(),
                &vec![b' '; 0x0110_0000],
            ]
            .concat(),
        ),
        false => Reply::Hang(b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n{".to_vec()),
    });
    let plain = plain(&server);
    let create = Request::create(&CONFIG_MAPS, Some("n"), &serde_json::json!({}));
    let error = plain
        .ask(&create.within(Duration::from_millis(300)))
        .unwrap_err();
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
    let long = Request::get(&CONFIG_MAPS, Some("n"), "long");
    let error = plain.ask(&long).unwrap_err();
    assert!(matches!(error, CallError::TooLong { .. }), "{error}");

    let redirect = Server::start(|_| Reply::End(with_headers(302, "Location: /x\r\n", "")));
    let error = super::plain::plain(&redirect).ask(&long).unwrap_err();
    assert!(matches!(error, CallError::Strange(_)), "{error}");
    let page = Server::start(|_| Reply::End(json(200, "<html>")));
    let answer = super::plain::plain(&page).ask(&long).unwrap();
    assert!(matches!(answer.object(), Err(CallError::Strange(_))));
}

#[test]
fn nobody_else_is_taken_for_the_cluster() {
    let server = Server::start(|_| Reply::End(json(200, "{}")));
    let other = Server::start(|_| Reply::End(json(200, "{}")));
    let get = Request::get(&NODES, None, "n");
    let mut foreign = server.access();
    foreign.authorities = other.access().authorities;
    let error = Plain::new(foreign, &Clock::system()).ask(&get).unwrap_err();
    let sentence = error.to_string();
    assert!(matches!(error, CallError::Untrusted { .. }), "{sentence}");
    assert!(sentence.contains("by none of the CAs"), "{sentence}");

    let mut named = server.access();
    named.tls_server_name = Some("kubernetes".parse().unwrap());
    let error = Plain::new(named, &Clock::system()).ask(&get).unwrap_err();
    assert!(error.to_string().contains("for another name"), "{error}");

    // Several in one file, with words between them.
    let mut bundle = server.access();
    let text = format!(
        "# other\n{}\n# ours\n{}",
        other.ca.to_pem(),
        server.ca.to_pem()
    );
    bundle.authorities = Some(Material::Inline(Secret::new(text.into_bytes())));
    Plain::new(bundle, &Clock::system()).ask(&get).unwrap();

    // By a clock that is years ahead it is not valid any more.
    let (late, _hand) = Clock::manual(Clock::system().now().plus(HOUR * 24));
    let error = Plain::new(server.access(), &late).ask(&get).unwrap_err();
    assert!(error.to_string().contains("expired at"), "{error}");
    assert!(server.asked().len() == 1 && other.asked().is_empty());

    // One that is down.
    let mut access = server.access();
    drop(server);
    access.namespace = None;
    let quick = get.within(Duration::from_millis(500));
    let error = Plain::new(access, &Clock::system())
        .ask(&quick)
        .unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[test]
fn a_token_that_has_changed_is_read_again_when_the_old_one_is_refused() {
    let server = Server::start(|asked| {
        let status = match asked.header("authorization") {
            Some("Bearer new") => 200,
            _ => 401,
        };
        Reply::End(json(status, "{}"))
    });
    let folder = Scratch::new();
    let path = folder.path().join("token");
    Files::real().replace(&path, b"old\n", 0o600).unwrap();
    let mut access = server.access();
    access.login = Login::TokenFile(path.clone());
    let plain = Plain::new(access, &Clock::system());
    let get = Request::get(&NODES, None, "n");
    assert_eq!(plain.ask(&get).unwrap_err().status().unwrap().code, 401);
    assert_eq!(server.asked().len(), 1);
    Files::real().replace(&path, b"new\n", 0o600).unwrap();
    // Not at once again, so that a cluster that refuses everything is not asked twice as often.
    let end = std::time::Instant::now() + HOUR;
    while plain.ask(&get).is_err() {
        assert!(std::time::Instant::now() < end);
    }
    let last = server.asked().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer new"));
}
