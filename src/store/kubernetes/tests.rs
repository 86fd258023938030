//! The store on a cluster in memory: as every store, and what only one in a cluster meets.

use std::sync::{Arc, Barrier};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use smol::block_on;
use smol::future::or;

use super::super::testing::{name, record, token_record, token_use};
use super::super::{Corruption, Phase, StoreError, conformance};
use super::*;
use crate::kubernetes::request::Method;
use crate::kubernetes::resource::{CONFIG_MAPS, NAMESPACES, SECRETS};
use crate::kubernetes::testing::{Act, FakeCluster, lost, refusal};
use crate::pki::certificate::Certificate;
use crate::pki::issue::{Issuer, new_ca};
use crate::system::figures;

fn store(fake: &FakeCluster) -> Arc<dyn Store> {
    Arc::new(KubernetesStore::new(fake.api()))
}

fn new_pair() -> KeyPair {
    let (certificate, key) = new_ca(Timestamp::from_unix(1_795_335_000)).unwrap();
    KeyPair::new(certificate, key).unwrap()
}

fn new_rotation(old: &KeyPair) -> Rotation {
    let next = new_pair();
    let begin = Timestamp::from_unix(1_795_335_000);
    let issuer = Issuer::new(old.certificate().clone(), old.key().clone()).unwrap();
    Rotation {
        cross: issuer.cross(next.certificate(), begin).unwrap(),
        next,
        phase: Phase::Prepared,
    }
}

fn ca_of(store: &Arc<dyn Store>) -> Option<Certificate> {
    let pair = block_on(store.load_ca()).unwrap();
    pair.map(|pair| pair.certificate().clone())
}

pub fn secret(fake: &FakeCluster, name: &str) -> Value {
    fake.get(&SECRETS, Some(NAMESPACE), name).unwrap()
}

/// As a Go cloudcore leaves it behind.
fn put_go_ca(fake: &FakeCluster, pair: &KeyPair) {
    fake.put(&NAMESPACES, None, json!({"metadata": {"name": NAMESPACE}}));
    let data = json!({
        "cadata": STANDARD.encode(pair.certificate().der()),
        "cakeydata": STANDARD.encode(pair.key().sec1_der()),
    });
    let object = json!({"metadata": {"name": "casecret"}, "type": "Opaque", "data": data});
    fake.put(&SECRETS, Some(NAMESPACE), object);
}

#[test]
fn a_cluster_keeps_to_what_every_store_does() {
    let fake = FakeCluster::new();
    conformance::all(&store(&fake), &store(&fake));
}

#[test]
fn the_secret_of_the_ca_is_as_kubeedge_writes_it() {
    let fake = FakeCluster::new();
    let pair = new_pair();
    block_on(store(&fake).create_ca(&pair)).unwrap();
    let made = secret(&fake, "casecret");
    assert_eq!(made["type"], "Opaque");
    assert_eq!(made["metadata"].get("labels"), None);
    let data = |key: &str| {
        STANDARD
            .decode(made["data"][key].as_str().unwrap())
            .unwrap()
    };
    assert_eq!(made["data"].as_object().unwrap().len(), 2);
    assert_eq!(data("cadata"), pair.certificate().der());
    assert_eq!(data("cakeydata"), pair.key().sec1_der());
    assert_eq!(data("cakeydata").len(), 121);
    assert!(fake.get(&NAMESPACES, None, "kubeedge").is_some());
}

#[test]
fn replicas_that_start_together_end_with_one_ca() {
    for (count, id) in [(2, "cluster-ca-2"), (5, "cluster-ca-5")] {
        for _ in 0..100 {
            let fake = FakeCluster::new();
            let start = Arc::new(Barrier::new(count));
            let one = |_| {
                let (store, start) = (store(&fake), start.clone());
                thread::spawn(move || {
                    let pair = new_pair();
                    start.wait();
                    let stored = block_on(store.create_ca(&pair)).unwrap();
                    stored.certificate().clone()
                })
            };
            let threads: Vec<_> = (0..count).map(one).collect();
            let mut seen: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
            seen.extend(ca_of(&store(&fake)));
            seen.dedup();
            assert_eq!(seen.len(), 1, "{count} replicas");
        }
        let what = format!("{count} stores on an empty cluster at once, each time one CA");
        figures::tried(id, &what, 100);
    }
}

#[test]
fn what_another_has_put_there_meanwhile_is_the_ca() {
    let (ours, gos) = (new_pair(), new_pair());
    // Before ours is made; and in its place, as a Go cloudcore does.
    let before = Act::After(Arc::new({
        let gos = gos.clone();
        move |fake: &FakeCluster| put_go_ca(fake, &gos)
    }));
    let fake = FakeCluster::new();
    fake.order(Some(Method::Post), "secrets", 1, before.clone());
    let stored = block_on(store(&fake).create_ca(&ours)).unwrap();
    assert_eq!(stored.certificate(), gos.certificate());

    let fake = FakeCluster::new();
    // The first look is before ours is made, the second after that.
    fake.order(
        Some(Method::Get),
        "casecret",
        1,
        Act::After(Arc::new(|_| ())),
    );
    fake.order(Some(Method::Get), "casecret", 1, before);
    let stored = block_on(store(&fake).create_ca(&ours)).unwrap();
    assert_eq!(stored.certificate(), gos.certificate());
}

#[test]
fn answers_that_are_lost_are_looked_after() {
    let fake = FakeCluster::new();
    let store = store(&fake);
    let lose = |method, part: &str| fake.order(Some(method), part, 1, Act::Lose(lost()));
    let pair = new_pair();
    block_on(store.create_ca(&pair)).unwrap();

    let token = token_record(1, Some(1));
    lose(Method::Post, "secrets");
    assert!(block_on(store.create_token(&token)).unwrap());
    lose(Method::Patch, "secrets");
    let taken = block_on(store.take_use(&token.id, &token_use("a", "1"))).unwrap();
    assert!(matches!(taken, Taken::Counted | Taken::Free));
    let other = block_on(store.take_use(&token.id, &token_use("b", "2"))).unwrap();
    assert_eq!(other, Taken::UsedUp);
    lose(Method::Delete, "secrets");
    assert!(block_on(store.remove_token(&token.id)).unwrap());

    let (a, claim) = (name("a"), Claim::Of(None));
    lose(Method::Post, "configmaps");
    let stored = block_on(store.record_node(&a, record("1"), claim.clone())).unwrap();
    assert_eq!(stored, Recorded::Stored(None));
    lose(Method::Patch, "configmaps");
    let claim = Claim::Of(Some(record("1")));
    let stored = block_on(store.record_node(&a, record("2"), claim)).unwrap();
    assert_eq!(stored, Recorded::Stored(Some(record("1"))));
    lose(Method::Patch, "configmaps");
    assert!(block_on(store.remove_node(&a)).unwrap());

    let nodes = [(a, Timestamp::from_unix(7))];
    lose(Method::Post, "configmaps");
    block_on(store.revoke(&nodes)).unwrap();
    assert_eq!(block_on(store.revocations()).unwrap(), nodes);
}

#[test]
fn a_conflict_at_every_write_ends_with_a_sentence() {
    let fake = FakeCluster::new();
    let store = store(&fake);
    block_on(store.create_token(&token_record(1, Some(1)))).unwrap();
    let conflict = Act::Refuse(refusal(409, "Conflict", "the object has been modified"));
    for method in [Method::Post, Method::Put, Method::Patch] {
        fake.order(Some(method), "", usize::MAX, conflict.clone());
    }
    let token = token_record(1, Some(1)).id;
    let error = block_on(store.take_use(&token, &token_use("a", "1"))).unwrap_err();
    assert!(matches!(error, StoreError::Contended) && error.is_retryable());
    fake.obey();
    let taken = block_on(store.take_use(&token, &token_use("a", "1"))).unwrap();
    assert_eq!(taken, Taken::Counted);
}

#[test]
fn a_cluster_that_is_away_or_refuses_says_so() {
    let fake = FakeCluster::new();
    let store = store(&fake);
    fake.set_down(true);
    let error = block_on(store.load_ca()).unwrap_err();
    assert!(error.is_retryable());
    assert!(
        error.to_string().contains("no way to the cluster"),
        "{error}"
    );
    fake.set_down(false);
    assert_eq!(ca_of(&store), None);
    let forbidden = refusal(403, "Forbidden", "secrets \"casecret\" is forbidden");
    fake.order(None, "secrets", 1, Act::Refuse(forbidden));
    let error = block_on(store.load_ca()).unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("is forbidden"));
}

#[test]
fn half_a_secret_is_no_reason_to_make_another_ca() {
    let (pair, other) = (new_pair(), new_pair());
    let key = |pair: &KeyPair| STANDARD.encode(pair.key().sec1_der());
    let certificate = STANDARD.encode(pair.certificate().der());
    let cases = [
        (json!({"cadata": certificate}), "its key is not"),
        (json!({"cakeydata": key(&pair)}), "lacks the certificate"),
        (
            json!({"cadata": certificate, "cakeydata": key(&other)}),
            "not its certificate's",
        ),
        (
            json!({"cadata": "AAAA", "cakeydata": key(&pair)}),
            "can't be read",
        ),
        (json!({}), "its key is not"),
    ];
    for (data, sentence) in cases {
        let fake = FakeCluster::new();
        fake.put(&NAMESPACES, None, json!({"metadata": {"name": NAMESPACE}}));
        let object = json!({"metadata": {"name": "casecret"}, "data": data});
        fake.put(&SECRETS, Some(NAMESPACE), object.clone());
        let store = store(&fake);
        for error in [
            block_on(store.load_ca()).unwrap_err(),
            block_on(store.create_ca(&other)).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains(sentence), "{text}");
            assert!(text.starts_with("the Secret kubeedge/casecret "), "{text}");
            assert!(!error.is_retryable());
        }
        assert_eq!(secret(&fake, "casecret")["data"], object["data"]);
    }
}

#[test]
fn a_rotation_goes_on_only_and_ends_once() {
    let fake = FakeCluster::new();
    let (one, other) = (store(&fake), store(&fake));
    let old = new_pair();
    block_on(one.create_ca(&old)).unwrap();
    let made = block_on(one.create_rotation(&new_rotation(&old))).unwrap();
    let same = block_on(other.create_rotation(&new_rotation(&old))).unwrap();
    assert_eq!(same.next.certificate(), made.next.certificate());
    let at = |phase| Rotation {
        phase,
        ..made.clone()
    };
    block_on(one.advance_rotation(&at(Phase::Announced))).unwrap();
    block_on(other.advance_rotation(&at(Phase::Switched))).unwrap();
    let seen = block_on(other.load_rotation()).unwrap().unwrap();
    assert_eq!(seen.phase, Phase::Announced);
    assert_eq!(seen.cross, made.cross);
    // The last of the steps is cut off.
    fake.order(
        Some(Method::Delete),
        "secrets",
        1,
        Act::Refuse(refusal(500, "InternalError", "")),
    );
    block_on(one.finish_rotation()).unwrap_err();
    assert_eq!(ca_of(&other).as_ref(), Some(made.next.certificate()));
    assert!(block_on(other.load_rotation()).unwrap().is_none());
    block_on(one.finish_rotation()).unwrap();
    let kept = format!("casecret-{}", &old.certificate().hash().to_string()[..8]);
    let kept = secret(&fake, &kept);
    let der = STANDARD
        .decode(kept["data"]["cadata"].as_str().unwrap())
        .unwrap();
    assert_eq!(der, old.certificate().der());
}

#[test]
fn a_serving_pair_stays_with_its_replica() {
    let fake = FakeCluster::new();
    let (one, other) = (store(&fake), store(&fake));
    block_on(one.save_serving(&new_pair())).unwrap();
    assert!(block_on(one.load_serving()).unwrap().is_some());
    assert!(block_on(other.load_serving()).unwrap().is_none());
    assert_eq!(fake.calls(), []);
}

#[test]
fn many_nodes_are_few_objects() {
    let fake = FakeCluster::new();
    let store = store(&fake);
    let nodes: Vec<NodeName> = (0..40).map(|n| name(&format!("n{n}.example"))).collect();
    for node in &nodes {
        block_on(store.record_node(node, record("1"), Claim::Any)).unwrap();
        let map = fake
            .get(&CONFIG_MAPS, Some(NAMESPACE), &nodes::map_of(node))
            .unwrap();
        let text = map["data"][node.as_str()].as_str().unwrap();
        assert!(text.len() < 400, "{text}");
    }
    assert_eq!(block_on(store.nodes()).unwrap().len(), nodes.len());
    let all = (0..100_000).map(|n| nodes::map_of(&name(&format!("node-{n}"))));
    let mut sizes = std::collections::BTreeMap::<String, usize>::new();
    all.for_each(|map| *sizes.entry(map).or_default() += 1);
    assert_eq!(sizes.len(), 1024);
    assert!(sizes.values().all(|size| *size < 200));
    assert_eq!(
        nodes::map_of(&name("edge-1")),
        "node-keys-359",
        "this never changes"
    );
}

#[test]
fn a_damaged_record_lets_nobody_in_but_its_repair() {
    let fake = FakeCluster::new();
    let store = store(&fake);
    let (a, b) = (name("a"), name("b"));
    block_on(store.record_node(&a, record("1"), Claim::Any)).unwrap();
    let map = nodes::map_of(&a);
    let mut object = fake.get(&CONFIG_MAPS, Some(NAMESPACE), &map).unwrap();
    object["data"]["a"] = json!(journal_of(&b));
    fake.put(&CONFIG_MAPS, Some(NAMESPACE), object);
    let error = block_on(store.node(&a)).unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt { what: Corruption::NoRecord(of), .. } if of == "node a")
    );
    block_on(store.record_node(&a, record("2"), Claim::Of(None))).unwrap_err();
    block_on(store.record_node(&a, record("2"), Claim::Any)).unwrap();
    assert_eq!(block_on(store.node(&a)).unwrap(), Some(record("2")));
    let damaged =
        json!({"metadata": {"name": "revoked-nodes"}, "data": {"revocations": "a never"}});
    fake.put(&CONFIG_MAPS, Some(NAMESPACE), damaged);
    assert!(
        block_on(store.revoked(&b))
            .unwrap_err()
            .to_string()
            .contains("line 1")
    );
    block_on(store.revoke(&[(b, Timestamp::from_unix(1))])).unwrap_err();
}

fn journal_of(node: &NodeName) -> String {
    super::super::journal::text(node, Some(&record("1")))
}

/// Follows while `work` goes on; what was told.
pub fn followed(store: &KubernetesStore, work: impl AsyncFnOnce(&smol::channel::Receiver<News>)) {
    let (tell, told) = smol::channel::unbounded();
    let ear = move |news| _ = tell.try_send(news);
    block_on(or(store.follow(&ear), work(&told)));
}

pub async fn until(told: &smol::channel::Receiver<News>, wanted: &News) {
    while told.recv().await.unwrap() != *wanted {}
}

pub fn changed(node: &NodeName, change: Change) -> News {
    let nodes = [(node.clone(), change)].into();
    News::Nodes(Touched { all: false, nodes })
}

#[test]
fn what_others_change_is_told_and_known_while_the_cluster_is_away() {
    let fake = FakeCluster::new();
    let (following, other) = (KubernetesStore::new(fake.api()), store(&fake));
    let (a, b) = (name("a"), name("b"));
    followed(&following, async |told| {
        until(told, &News::Ca).await;
        let at = |seconds| Timestamp::from_unix(seconds);
        while following.cache.with(|_| ()).is_none() {
            smol::future::yield_now().await;
        }
        other
            .record_node(&a, record("1"), Claim::Any)
            .await
            .unwrap();
        other.revoke(&[(b.clone(), at(1))]).await.unwrap();
        until(told, &changed(&b, Change::Other)).await;
        other
            .revoke(&[(a.clone(), at(2)), (b.clone(), at(1))])
            .await
            .unwrap();
        until(told, &changed(&a, Change::Other)).await;
        // From now on the cluster is asked for nothing, and may be away.
        fake.set_down(true);
        assert_eq!(following.node(&a).await.unwrap(), Some(record("1")));
        assert_eq!(following.nodes().await.unwrap(), [(a.clone(), record("1"))]);
        assert_eq!(following.revoked(&b).await.unwrap(), Some(at(1)));
        assert!(
            following
                .record_node(&b, record("3"), Claim::Any)
                .await
                .is_err()
        );
        fake.set_down(false);
        // What has changed meanwhile comes when it is back, after a version that is forgotten too.
        other.revoke(&[(b.clone(), at(9))]).await.unwrap();
        fake.compact();
        until(told, &changed(&b, Change::Other)).await;
        following
            .record_node(&b, record("3"), Claim::Of(None))
            .await
            .unwrap();
        assert_eq!(other.node(&b).await.unwrap(), Some(record("3")));
    });
}

#[test]
fn a_record_that_is_known_of_old_is_read_again_before_it_is_changed() {
    let fake = FakeCluster::new();
    let (old, other) = (KubernetesStore::new(fake.api()), store(&fake));
    let a = name("a");
    block_on(other.record_node(&a, record("1"), Claim::Any)).unwrap();
    block_on(old.snapshot()).unwrap();
    block_on(other.record_node(&a, record("2"), Claim::Any)).unwrap();
    assert_eq!(block_on(old.node(&a)).unwrap(), Some(record("1")));
    let claim = Claim::Of(Some(record("1")));
    let outcome = block_on(old.record_node(&a, record("3"), claim)).unwrap();
    assert_eq!(outcome, Recorded::Changed);
    assert_eq!(block_on(old.node(&a)).unwrap(), Some(record("2")));
    let claim = Claim::Of(Some(record("2")));
    let outcome = block_on(old.record_node(&a, record("3"), claim)).unwrap();
    assert_eq!(outcome, Recorded::Stored(Some(record("2"))));
}

pub fn recorded(file: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/token-ca");
    std::fs::read(folder.join(file)).unwrap()
}

#[test]
fn the_ca_that_go_has_left_is_taken_and_ours_looks_the_same() {
    let mut theirs: Value = serde_json::from_slice(&recorded("casecret.json")).unwrap();
    theirs["metadata"] = json!({"name": "casecret"});
    let fake = FakeCluster::new();
    fake.put(&NAMESPACES, None, json!({"metadata": {"name": NAMESPACE}}));
    fake.put(&SECRETS, Some(NAMESPACE), theirs.clone());
    let stored = block_on(store(&fake).create_ca(&new_pair())).unwrap();
    assert_eq!(stored.certificate().der(), recorded("ca.der"));
    assert_eq!(stored.key().sec1_der(), recorded("cakey.der"));

    let fake = FakeCluster::new();
    block_on(store(&fake).create_ca(&stored)).unwrap();
    let ours = secret(&fake, "casecret");
    for key in ["data", "type", "kind", "apiVersion"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
}
