//! What a kube-apiserver was asked and answered, recorded: asked again, and understood.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::pooled::{pooled, run};
use super::server::{Asked, Reply, Server};
use crate::kubernetes::plain::Plain;
use crate::kubernetes::request::Body;
use crate::kubernetes::resource::{
    CONFIG_MAPS, EVENTS, LEASES, NAMESPACES, NODES, PODS, SECRETS, SELF_SUBJECT_ACCESS_REVIEWS,
    SERVICE_ACCOUNTS,
};
use crate::kubernetes::{Api, CallError, EventKind, Impersonation, Method, Patch, Request};
use crate::system::clock::Clock;

fn exchanges() -> Vec<Value> {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(top.join("tests/vectors/kube-api/kube-api.json")).unwrap();
    let all: Vec<Value> = serde_json::from_slice(&text).unwrap();
    assert_eq!(all.len(), 59);
    all
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The answer, as it was framed.
fn answer(exchange: &Value) -> Vec<u8> {
    let response = &exchange["response"];
    let body = text(response, "/body");
    let mut head = format!("HTTP/1.1 {} X\r\n", response["status"]);
    for (name, value) in response["headers"].as_object().unwrap() {
        head.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if response["headers"].get("Transfer-Encoding").is_none() {
        bytes.extend_from_slice(body.as_bytes());
        return bytes;
    }
    for chunk in body.as_bytes().chunks(100) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The recorded request, letter by letter.
fn request(exchange: &Value) -> Request {
    let asked = &exchange["request"];
    let method = match text(asked, "/method") {
        "DELETE" => Method::Delete,
        "GET" => Method::Get,
        "PATCH" => Method::Patch,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        other => panic!("{other}"),
    };
    let mut request = Request::new(method, text(asked, "/path"));
    if let Some(body) = asked["body"].as_str() {
        let kinds = [
            "application/json",
            Patch::Json.mime(),
            Patch::Merge.mime(),
            Patch::Strategic.mime(),
            "application/apply-patch+yaml",
        ];
        let said = text(asked, "/headers/Content-Type");
        let kind = kinds.into_iter().find(|kind| *kind == said).unwrap();
        request = request.carrying(kind, body.as_bytes().to_vec());
    }
    let user = text(asked, "/headers/Impersonate-User");
    if !user.is_empty() {
        request.impersonation = Some(Impersonation {
            user: user.to_owned(),
            groups: vec![text(asked, "/headers/Impersonate-Group").to_owned()],
        });
    }
    request
}

/// Answers the recorded requests in their order, and nothing else.
fn server(close: bool) -> Server {
    let (all, next) = (exchanges(), AtomicUsize::new(0));
    Server::start(move |asked: &Asked| {
        let exchange = &all[next.fetch_add(1, Ordering::SeqCst)];
        let wanted = &exchange["request"];
        assert_eq!(asked.method, text(wanted, "/method"));
        assert_eq!(asked.target, text(wanted, "/path"));
        assert_eq!(asked.body, text(wanted, "/body").as_bytes());
        for name in ["Content-Type", "Impersonate-User", "Impersonate-Group"] {
            let said = asked.header(&name.to_lowercase()).unwrap_or_default();
            assert_eq!(said, text(&wanted["headers"], &format!("/{name}")));
        }
        match close {
            true => Reply::End(answer(exchange)),
            false => Reply::Keep(answer(exchange)),
        }
    })
}

fn check(exchange: &Value, outcome: Result<crate::kubernetes::Answer, CallError>) {
    let label = text(exchange, "/label");
    let status = exchange["response"]["status"].as_u64().unwrap();
    let body = text(exchange, "/response/body");
    match outcome {
        Ok(answer) => {
            assert_eq!(u64::from(answer.status), status, "{label}");
            assert_eq!(answer.body, body.as_bytes(), "{label}");
        }
        Err(error) => {
            assert!(status >= 400, "{label}: {error}");
            let said = error.status().expect(label);
            assert_eq!(u64::from(said.code), status, "{label}");
            let wanted: Value =
                serde_json::from_str(body).unwrap_or(json!({"message": body.trim()}));
            assert_eq!(said.message, text(&wanted, "/message"), "{label}");
            assert_eq!(said.reason, text(&wanted, "/reason"), "{label}");
            assert!(error.to_string().contains(&said.message), "{label}");
            let taken = label.ends_with("-again") || label == "create-secret-conflict";
            assert_eq!(error.is_taken(), taken && status == 409, "{label}");
            assert_eq!(error.is_conflict(), !taken && status == 409, "{label}");
            assert_eq!(error.is_not_found(), status == 404, "{label}");
            assert_eq!(error.is_too_old(), status == 410, "{label}");
            assert_eq!(error.is_forbidden(), status == 403, "{label}");
        }
    }
}

#[test]
fn every_recorded_exchange_over_ureq() {
    let server = server(true);
    let plain = Plain::new(server.access(), &Clock::system());
    for exchange in exchanges() {
        check(&exchange, plain.ask(&request(&exchange)));
    }
    assert_eq!(server.asked().len(), 59);
}

#[test]
fn every_recorded_exchange_over_hyper() {
    let server = server(false);
    run(|spawn| async move {
        let pooled = pooled(&server, &spawn);
        for exchange in exchanges() {
            let request = request(&exchange);
            match request.path.contains("watch=true") {
                true => check_watch(&pooled, &exchange, &request).await,
                false => check(&exchange, pooled.call(&request).await),
            }
        }
        assert_eq!(server.asked().len(), 59);
        // One for the calls, and one for each watch.
        assert_eq!(server.connections.load(Ordering::SeqCst), 1 + 3);
    });
}

async fn check_watch(api: &dyn Api, exchange: &Value, request: &Request) {
    let label = text(exchange, "/label");
    let mut events = api.watch(request).await.unwrap();
    for line in text(exchange, "/response/body").lines() {
        let wanted: Value = serde_json::from_str(line).unwrap();
        let kind = match text(&wanted, "/type") {
            "ADDED" => EventKind::Added,
            "MODIFIED" => EventKind::Modified,
            "DELETED" => EventKind::Deleted,
            "BOOKMARK" => EventKind::Bookmark,
            _ => {
                let error = events.next().await.unwrap_err();
                let said = error.status().unwrap();
                assert_eq!(said.message, text(&wanted, "/object/message"), "{label}");
                assert_eq!(error.is_too_old(), label == "watch-too-old");
                return;
            }
        };
        let event = events.next().await.unwrap().expect(label);
        assert_eq!(event.kind, kind, "{label}");
        let object: Value = serde_json::from_str(event.object.get()).unwrap();
        assert_eq!(object, wanted["object"], "{label}");
    }
    assert!(events.next().await.unwrap().is_none(), "{label}");
}

/// What our builders make is what was recorded, but for the order of the query and what we ask besides.
#[test]
fn our_requests_are_the_recorded_ones() {
    let all = exchanges();
    let find = |label: &str| {
        let found = all
            .iter()
            .find(|exchange| text(exchange, "/label") == label);
        request(found.unwrap())
    };
    let body = |label: &str| -> Value {
        let request = find(label);
        let bytes = &request.body.as_ref().unwrap().bytes;
        serde_json::from_slice(bytes).unwrap_or(json!({}))
    };
    let ns = Some("vectors");
    let lease_ns = Some("kube-node-lease");
    let create =
        |resource, namespace, label: &str| Request::create(resource, namespace, &body(label));
    let patch = |resource, namespace, name, kind, label: &str| {
        Request::patch(resource, namespace, name, kind, &body(label))
    };
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vectors"}});
    let wrong = "00000000-0000-0000-0000-000000000000";
    let continued =
        "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MzQwNiwic3RhcnQiOiJrdWJlLXJvb3QtY2EuY3J0XHUwMDAwIn0";
    for (label, ours) in [
        ("version", Request::new(Method::Get, "/version")),
        (
            "ssa-namespace",
            Request::apply(&NAMESPACES, None, "vectors", &namespace),
        ),
        ("create-secret", create(&SECRETS, ns, "create-secret")),
        ("get-secret", Request::get(&SECRETS, ns, "casecret")),
        (
            "update-secret",
            Request::replace(&SECRETS, ns, "casecret", &body("update-secret")),
        ),
        (
            "impersonate-node-forbidden",
            Request::get(&SECRETS, ns, "casecret").as_node("edge9"),
        ),
        (
            "self-access-review",
            create(&SELF_SUBJECT_ACCESS_REVIEWS, None, "self-access-review"),
        ),
        (
            "list-continue",
            Request::list(&CONFIG_MAPS, ns).with("continue", continued),
        ),
        (
            "merge-patch",
            patch(&CONFIG_MAPS, ns, "p0", Patch::Merge, "merge-patch"),
        ),
        (
            "json-patch",
            patch(&CONFIG_MAPS, ns, "p1", Patch::Json, "json-patch"),
        ),
        ("delete", Request::delete(&CONFIG_MAPS, ns, "p2")),
        (
            "delete-wrong-uid",
            Request::delete(&CONFIG_MAPS, ns, "p3").only_uid(wrong),
        ),
        ("watch-since", Request::watch(&CONFIG_MAPS, ns, "3406")),
        ("node-create", create(&NODES, None, "node-create")),
        (
            "node-status-strategic",
            patch(
                &NODES,
                None,
                "vec-node",
                Patch::Strategic,
                "node-status-strategic",
            )
            .part("status"),
        ),
        (
            "node-list-selector",
            Request::list(&NODES, None).with("labelSelector", "node-role.kubernetes.io/edge"),
        ),
        ("lease-create", create(&LEASES, lease_ns, "lease-create")),
        (
            "lease-update",
            Request::replace(&LEASES, lease_ns, "vec-node", &body("lease-update")),
        ),
        (
            "pods-field-selector",
            Request::list(&PODS, None).with("fieldSelector", "spec.nodeName=vec-node"),
        ),
        (
            "token-request",
            // A part of an object is created below it.
            Request::new(Method::Post, SERVICE_ACCOUNTS.path(ns, "default"))
                .part("token")
                .json("application/json", &body("token-request")),
        ),
        ("event-create", create(&EVENTS, ns, "event-create")),
        ("node-delete", Request::delete(&NODES, None, "vec-node")),
    ] {
        let theirs = find(label);
        assert_eq!(ours.method, theirs.method, "{label}");
        let (path, query) = split(&theirs.path);
        let (own_path, mut own_query) = split(&ours.target());
        assert_eq!(own_path, path, "{label}");
        // How many at a time, and for how long, is our own choice.
        let chosen = |key: &str| ["limit", "timeoutSeconds"].contains(&key);
        own_query.retain(|(key, _)| !chosen(key));
        let query: Vec<_> = query.into_iter().filter(|(key, _)| !chosen(key)).collect();
        assert_eq!(own_query, query, "{label}");
        assert_eq!(ours.impersonation, theirs.impersonation, "{label}");
        let kind = |body: &Option<Body>| body.as_ref().map(|it| it.content_type);
        assert_eq!(kind(&ours.body), kind(&theirs.body), "{label}");
        if let (Some(ours), Some(theirs)) = (&ours.body, &theirs.body)
            && let Ok(value) = serde_json::from_slice::<Value>(&theirs.bytes)
        {
            let ours: Value = serde_json::from_slice(&ours.bytes).unwrap();
            assert_eq!(ours, value, "{label}");
        }
    }
}

fn split(target: &str) -> (String, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
    let mut pairs: Vec<_> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    pairs.sort();
    (path.to_owned(), pairs)
}

/// All pages of the recorded list, and what happens when the cluster forgets it in the middle.
#[test]
fn recorded_pages_are_one_list() {
    let all = exchanges();
    let find = |label: &str| {
        let found = all
            .iter()
            .find(|exchange| text(exchange, "/label") == label);
        answer(found.unwrap())
    };
    let (first, second, old) = (
        find("list-limit-2"),
        find("list-continue"),
        find("list-expired-continue"),
    );
    let whole = find("list-all");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let server = Server::start(move |request| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let continued = request.target.contains("continue=");
        assert_eq!(
            continued,
            !matches!(number, 0 | 3 | 5),
            "{}",
            request.target
        );
        Reply::End(match number {
            0 | 3 => first.clone(),
            1 => second.clone(),
            5 => whole.clone(),
            _ => old.clone(),
        })
    });
    let plain = Plain::new(server.access(), &Clock::system());
    let list = Request::list(&CONFIG_MAPS, Some("vectors"));
    let listed = crate::kubernetes::list::all(&plain, &list, 100);
    let listed = smol::block_on(listed).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 6);
    let last = server.asked().pop().unwrap();
    assert!(!last.target.contains("limit="), "{}", last.target);
    assert_eq!(listed.version, "3406");
    assert_eq!(listed.items.len(), 8);

    let (first, second) = (find("list-limit-2"), find("list-continue"));
    let server = Server::start(move |request| {
        Reply::End(match request.target.contains("continue=") {
            true => second.clone(),
            false => first.clone(),
        })
    });
    let plain = Plain::new(server.access(), &Clock::system());
    let few = smol::block_on(crate::kubernetes::list::all(&plain, &list, 2));
    let sentence = few.unwrap_err().to_string();
    assert!(sentence.contains("more than 2 objects"), "{sentence}");
}
