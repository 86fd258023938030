//! Tests of what tokens are good for, at the place where certificates are issued.

use std::slice;
use std::time::Duration;

use smol::block_on;

use super::*;
use crate::authority::testing::{Cloud, recorded_at};
use crate::authority::tokens::{CreateError, Made, Wish, check, create, current};
use crate::authority::{By, IssueRequest, Issued};
use crate::pki::certificate::Subject;
use crate::pki::csr;
use crate::pki::key::PrivateKey;
use crate::store::testing::name;

const HOUR: Duration = Duration::from_secs(3600);

fn make(cloud: &Cloud, wish: &Wish) -> Result<Made, CreateError> {
    let authority = &cloud.authority;
    let (store, standing) = (&**authority.store(), authority.standing());
    let key = &standing.tokens;
    block_on(create(
        store,
        key,
        &standing.announced,
        authority.clock().now(),
        wish,
    ))
}

fn wish(nodes: Option<&str>, uses: Option<u32>) -> Wish {
    Wish {
        nodes: nodes.map(|nodes| nodes.parse().unwrap()),
        uses,
        ..Wish::plain(HOUR)
    }
}

/// Asks for a certificate as the API does, with a whole token.
fn ask(cloud: &Cloud, made: &Made, node: &str, key: &PrivateKey) -> Result<Issued, Refusal> {
    let jwt = made.token.split_once('.').unwrap().1;
    let claims = check(&cloud.authority, jwt, cloud.authority.clock().now())?;
    let node = name(node);
    let request = csr::create(key, &Subject::node(&node)).unwrap();
    block_on(cloud.authority.issue(&IssueRequest {
        csr: &request,
        node: &node,
        usages: None,
        by: By::Token(&claims),
    }))
}

fn said(outcome: Result<Issued, Refusal>) -> (u16, &'static str, String) {
    let refusal = outcome.unwrap_err();
    (refusal.status(), refusal.reason(), refusal.to_string())
}

fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

fn uses_of(cloud: &Cloud, made: &Made) -> usize {
    let record = block_on(cloud.authority.store().token(&made.record.id));
    record.unwrap().unwrap().used.len()
}

#[test]
fn a_token_without_bounds_is_good_for_all_and_not_counted() {
    let cloud = Cloud::new(|_| ());
    let made = make(&cloud, &wish(None, None)).unwrap();
    for n in 0..5 {
        ask(&cloud, &made, &format!("n{n}"), &key()).unwrap();
    }
    assert_eq!(uses_of(&cloud, &made), 0);
}

#[test]
fn a_use_is_a_certificate_for_a_key_of_a_node() {
    let cloud = Cloud::new(|_| ());
    let made = make(&cloud, &wish(None, Some(2))).unwrap();
    let (a, b) = (key(), key());
    ask(&cloud, &made, "a", &a).unwrap();
    // The answer was lost: the same key asks again, as often as it takes.
    let again = ask(&cloud, &made, "a", &a).unwrap();
    assert_eq!(again.certificate.spki_hash(), a.spki_hash());
    ask(&cloud, &made, "b", &b).unwrap();
    let used_up = "the token is used up, it was good for 2 devices: make a new one";
    for (node, key) in [("c", key()), ("a", key()), ("b", a.clone())] {
        let said = said(ask(&cloud, &made, node, &key));
        assert_eq!(said, (401, "token-used-up", used_up.to_owned()), "{node}");
    }
    ask(&cloud, &made, "a", &a).unwrap();
    let cloud = cloud.restarted(|_| ());
    ask(&cloud, &made, "b", &b).unwrap();
    assert_eq!(said(ask(&cloud, &made, "c", &key())).1, "token-used-up");
}

#[test]
fn what_gets_no_certificate_costs_no_use() {
    let cloud = Cloud::new(|options| options.protect_names = true);
    let made = make(&cloud, &wish(Some("n*"), Some(1))).unwrap();
    let other = make(&cloud, &wish(None, None)).unwrap();
    ask(&cloud, &other, "n1", &key()).unwrap();
    // The name is another key's, the name is not the token's, the request is none.
    assert_eq!(said(ask(&cloud, &made, "n1", &key())).0, 409);
    assert_eq!(said(ask(&cloud, &made, "m1", &key())).0, 403);
    let jwt = made.token.split_once('.').unwrap().1;
    let claims = check(&cloud.authority, jwt, recorded_at()).unwrap();
    let refused = block_on(cloud.authority.issue(&IssueRequest {
        csr: b"none",
        node: &name("n2"),
        usages: None,
        by: By::Token(&claims),
    }));
    assert_eq!(said(refused).0, 400);
    assert_eq!(uses_of(&cloud, &made), 0);
    ask(&cloud, &made, "n2", &key()).unwrap();
    assert_eq!(uses_of(&cloud, &made), 1);
}

#[test]
fn a_token_is_for_the_nodes_it_was_made_for() {
    let cloud = Cloud::new(|_| ());
    let rack = make(&cloud, &wish(Some("rack1-*"), None)).unwrap();
    let one = make(&cloud, &wish(Some("db-7"), Some(1))).unwrap();
    ask(&cloud, &rack, "rack1-a", &key()).unwrap();
    assert_eq!(
        said(ask(&cloud, &rack, "db-7", &key())),
        (
            403,
            "token-other-node",
            "the token is for nodes matching rack1-*, not db-7".to_owned()
        )
    );
    assert_eq!(
        said(ask(&cloud, &one, "db-8", &key())).2,
        "the token is for the node db-7, not db-8"
    );
    ask(&cloud, &one, "db-7", &key()).unwrap();
}

#[test]
fn a_deleted_token_is_refused_at_once() {
    let cloud = Cloud::new(|_| ());
    for uses in [None, Some(5)] {
        let made = make(&cloud, &wish(None, uses)).unwrap();
        let first = key();
        ask(&cloud, &made, "a", &first).unwrap();
        let id = &made.record.id;
        assert!(block_on(cloud.authority.store().remove_token(id)).unwrap());
        let said = said(ask(&cloud, &made, "a", &first));
        assert_eq!((said.0, said.1), (401, "token-deleted"));
        assert!(said.2.contains(id.as_str()), "{}", said.2);
    }
}

#[test]
fn tokens_that_ended_are_not_listed_and_are_forgotten() {
    let cloud = Cloud::new(|_| ());
    let short = make(&cloud, &Wish::plain(Duration::from_secs(1))).unwrap();
    let long = make(&cloud, &wish(None, None)).unwrap();
    let list = || {
        block_on(current(
            &**cloud.authority.store(),
            cloud.authority.clock().now(),
        ))
    };
    assert_eq!(list().unwrap().len(), 2);
    cloud.hand.set(short.record.expires);
    assert_eq!(list().unwrap(), slice::from_ref(&long.record));
    assert_eq!(said(ask(&cloud, &short, "a", &key())).1, "token-expired");
    let stored = block_on(cloud.authority.store().token(&short.record.id));
    assert_eq!(stored.unwrap(), None);
}

#[test]
fn what_can_not_be_is_not_made() {
    let cloud = Cloud::new(|_| ());
    let day = Duration::from_secs(86_400);
    for (wish, part) in [
        (wish(None, Some(0)), "--uses"),
        (wish(None, Some(1001)), "--uses"),
        (Wish::plain(Duration::ZERO), "a second at least"),
        (Wish::plain(day * 3661), "ten years at most"),
        (
            Wish {
                description: "two\nlines".to_owned(),
                ..Wish::plain(HOUR)
            },
            "--description",
        ),
        (
            Wish {
                description: "x".repeat(201),
                ..Wish::plain(HOUR)
            },
            "--description",
        ),
    ] {
        let error = make(&cloud, &wish).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(block_on(cloud.authority.store().tokens()).unwrap(), []);
}
