//! The token that everybody shares, on a cluster in memory.

use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};
use smol::block_on;

use super::super::NAMESPACE;
use super::super::tests::{recorded, secret};
use super::*;
use crate::kubernetes::resource::NAMESPACES;
use crate::kubernetes::testing::FakeCluster;

#[test]
fn the_shared_token_is_made_when_it_has_to_be() {
    let fake = FakeCluster::new();
    let stores: Vec<_> = (0..5).map(|_| KubernetesStore::new(fake.api())).collect();
    let made = Mutex::new(0);
    let mint = || {
        let mut made = made.lock().unwrap();
        *made += 1;
        format!("good {made}")
    };
    let is_good = |token: &str| token.starts_with("good");
    let outcomes: Vec<Refreshed> = thread::scope(|scope| {
        let running: Vec<_> = stores
            .iter()
            .map(|store| scope.spawn(|| block_on(store.refresh_shared_token(&is_good, &mint))))
            .collect();
        running
            .into_iter()
            .map(|it| it.join().unwrap().unwrap())
            .collect()
    });
    assert_eq!(
        outcomes.iter().filter(|it| **it == Refreshed::Made).count(),
        1
    );
    let held = secret(&fake, "tokensecret");
    assert_eq!(
        (&held["type"], held["metadata"].get("labels")),
        (&json!("Opaque"), None)
    );
    let token = block_on(stores[0].shared_token()).unwrap().unwrap();
    assert!(is_good(&token));
    for data in [
        json!({}),
        json!({"tokendata": ""}),
        json!({"other": "YQ=="}),
    ] {
        let object = json!({"metadata": {"name": "tokensecret"}, "data": data});
        fake.put(&SECRETS, Some(NAMESPACE), object);
        let error = block_on(stores[0].shared_token()).unwrap_err().to_string();
        assert!(error.contains("has no token"), "{error}");
    }
    let again = block_on(stores[0].refresh_shared_token(&is_good, &mint)).unwrap();
    assert_eq!(again, Refreshed::Made);
}

#[test]
fn the_token_that_go_has_left_is_read() {
    let mut theirs: Value = serde_json::from_slice(&recorded("tokensecret.json")).unwrap();
    theirs["metadata"] = json!({"name": "tokensecret"});
    let fake = FakeCluster::new();
    fake.put(&NAMESPACES, None, json!({"metadata": {"name": NAMESPACE}}));
    fake.put(&SECRETS, Some(NAMESPACE), theirs);
    let store = KubernetesStore::new(fake.api());
    let token = block_on(store.shared_token()).unwrap().unwrap();
    assert_eq!(token.as_bytes(), recorded("token.txt").trim_ascii());
}
