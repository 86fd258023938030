//! Tests of who is told to have another key, however that became known.

use smol::block_on;

use super::super::testing::{name, record};
use super::super::{Claim, NodeRecord, Recorded, Store};
use super::cache::{Change, Touched};
use super::tests::{changed, followed, until};
use super::*;
use crate::kubernetes::testing::FakeCluster;

fn put(store: &KubernetesStore, record: NodeRecord) {
    let stored = block_on(store.record_node(&name("a"), record, Claim::Any));
    assert!(matches!(stored.unwrap(), Recorded::Stored(_)));
}

fn only(change: Change) -> Touched {
    let nodes = [(name("a"), change)].into();
    Touched { all: false, nodes }
}

/// A renewal that has brought the second key, and what is known when a tunnel has shown that.
fn renewed() -> [NodeRecord; 2] {
    let previous = Some(record("1").key_hash);
    [
        NodeRecord {
            previous,
            ..record("2")
        },
        record("2"),
    ]
}

#[test]
fn another_key_is_told_and_so_is_the_end_of_the_one_before() {
    let fake = FakeCluster::new();
    let (following, other) = (
        KubernetesStore::new(fake.api()),
        KubernetesStore::new(fake.api()),
    );
    let a = name("a");
    put(&other, record("1"));
    followed(&following, async |told| {
        // What was there before the first look may be news to a session that began before it.
        let all = Touched {
            all: true,
            ..Touched::default()
        };
        until(told, &News::Nodes(all)).await;
        let [waits, shown] = renewed();
        let last = NodeRecord {
            trusts: Some(record("a CA").key_hash),
            serial: "07".to_owned(),
            ..record("3")
        };
        for (record, news) in [
            (waits, Some(Change::Other)),
            (shown, Some(Change::Shown)),
            (record("3"), Some(Change::Other)),
            (last, None),
            (record("1"), Some(Change::Other)),
        ] {
            let claim = Claim::Any;
            other.record_node(&a, record, claim).await.unwrap();
            if let Some(change) = news {
                assert_eq!(next(told).await, changed(&a, change));
            }
        }
        // The watch breaks, and what it would have told is forgotten there: the list tells.
        fake.set_down(true);
        fake.set_down(false);
        other
            .record_node(&a, record("4"), Claim::Any)
            .await
            .unwrap();
        fake.compact();
        until(told, &changed(&a, Change::Other)).await;
    });
}

/// What is told next of nodes.
async fn next(told: &smol::channel::Receiver<News>) -> News {
    loop {
        match told.recv().await.unwrap() {
            News::Ca => {}
            news => return news,
        }
    }
}

#[test]
fn what_is_read_before_a_write_is_news_all_the_same() {
    let fake = FakeCluster::new();
    let (one, other) = (
        KubernetesStore::new(fake.api()),
        KubernetesStore::new(fake.api()),
    );
    put(&other, record("1"));
    block_on(one.snapshot()).unwrap();
    assert!(one.cache.touched().all);
    assert!(one.cache.touched().is_empty());

    put(&other, record("2"));
    let claim = Claim::Of(Some(record("1")));
    let outcome = block_on(one.record_node(&name("a"), record("3"), claim));
    assert_eq!(outcome.unwrap(), Recorded::Changed);
    assert_eq!(one.cache.touched(), only(Change::Other));

    // So with revocations: whoever revokes reads what others have revoked.
    let at = |seconds| Timestamp::from_unix(seconds);
    block_on(other.revoke(&[(name("a"), at(1))])).unwrap();
    block_on(one.revoke(&[(name("b"), at(2))])).unwrap();
    let both = ["a", "b"].map(|node| (name(node), Change::Other));
    let touched = one.cache.touched();
    assert_eq!(touched.nodes.into_iter().collect::<Vec<_>>(), both);
}

#[test]
fn of_several_changes_the_one_that_matters_most_counts() {
    let fake = FakeCluster::new();
    let store = KubernetesStore::new(fake.api());
    block_on(store.snapshot()).unwrap();
    store.cache.touched();
    let [waits, shown] = renewed();
    put(&store, waits);
    put(&store, shown);
    assert_eq!(store.cache.touched(), only(Change::Other));
    let mut known = only(Change::Shown);
    known.add(only(Change::Other));
    known.add(only(Change::Shown));
    assert_eq!(known, only(Change::Other));
}
