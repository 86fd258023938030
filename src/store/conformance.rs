//! What every store keeps to, as tests that each of them runs: on two handles of one new state, as
//! two replicas of cloudcore have them.

use std::slice;
use std::sync::Arc;
use std::thread;

use smol::block_on;

use super::testing::{name, record, token_record, token_use};
use super::{Claim, Recorded, Store, Taken, TokenUse};
use crate::system::clock::Timestamp;
use crate::system::figures;

type Handle = Arc<dyn Store>;

/// For stores of which two may work on the same state.
pub fn all(one: &Handle, other: &Handle) {
    tokens(one, other);
    nodes_are_claimed_by_one(one, other);
    revocations_stay(one, other);
}

pub fn tokens(one: &Handle, other: &Handle) {
    tokens_are_seen_by_both(one, other);
    uses_are_never_too_many(one, other);
    a_deleted_token_grants_nothing(one, other);
    expired_tokens_go(one, other);
}

fn tokens_are_seen_by_both(one: &Handle, other: &Handle) {
    let mut record = token_record(1, Some(1));
    record.description = "for the barn".to_owned();
    record.nodes = "barn-*".parse().ok();
    assert!(block_on(one.create_token(&record)).unwrap());
    assert!(!block_on(other.create_token(&token_record(1, None))).unwrap());
    for store in [one, other] {
        assert_eq!(
            block_on(store.token(&record.id)).unwrap(),
            Some(record.clone())
        );
        assert_eq!(block_on(store.tokens()).unwrap(), slice::from_ref(&record));
    }
    assert!(block_on(other.remove_token(&record.id)).unwrap());
    assert!(!block_on(one.remove_token(&record.id)).unwrap());
    assert_eq!(block_on(one.tokens()).unwrap(), []);
}

/// Half of the devices ask each store, all at the same time, and each device asks three times.
fn uses_are_never_too_many(one: &Handle, other: &Handle) {
    const DEVICES: usize = 40;
    for (uses, id) in [(1, "tokens-race-1"), (3, "tokens-race-3")] {
        let record = token_record(2, Some(uses));
        block_on(one.create_token(&record)).unwrap();
        let wanted: Vec<TokenUse> = (0..DEVICES)
            .map(|n| token_use(&format!("n{n}"), &format!("key {n}")))
            .collect();
        let take =
            |n: usize, store: &Handle| block_on(store.take_use(&record.id, &wanted[n])).unwrap();
        let answers: Vec<Vec<Taken>> = thread::scope(|scope| {
            let device = |n: usize| {
                let stores = [[one, other, one], [other, one, other]][n % 2];
                scope.spawn(move || stores.map(|store| take(n, store)).to_vec())
            };
            let devices: Vec<_> = (0..DEVICES).map(device).collect();
            devices.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let lucky = [Taken::Counted, Taken::Free, Taken::Free];
        let late = [Taken::UsedUp; 3];
        let granted = answers.iter().filter(|answers| **answers == lucky).count();
        let refused = answers.iter().filter(|answers| **answers == late).count();
        assert_eq!(
            (granted, refused),
            (uses as usize, DEVICES - granted),
            "{answers:?}"
        );
        let what = format!("devices that ask two stores at once for a token of {uses} uses");
        figures::tried(id, &what, DEVICES);

        // What no certificate came of is there for another one.
        let stored = block_on(other.token(&record.id)).unwrap().unwrap();
        assert_eq!(stored.used.len(), uses as usize);
        let returned = stored.used[0].clone();
        block_on(other.give_back_use(&record.id, &returned)).unwrap();
        let loser = answers.iter().position(|answers| *answers == late).unwrap();
        assert_eq!(take(loser, one), Taken::Counted);
        assert_eq!(take(loser, other), Taken::Free);
        assert_eq!(
            block_on(one.take_use(&record.id, &returned)).unwrap(),
            Taken::UsedUp
        );
        block_on(one.remove_token(&record.id)).unwrap();
    }
}

fn a_deleted_token_grants_nothing(one: &Handle, other: &Handle) {
    for (number, uses) in [(3, None), (4, Some(10))] {
        let record = token_record(number, uses);
        block_on(one.create_token(&record)).unwrap();
        let taken = block_on(other.take_use(&record.id, &token_use("a", "1"))).unwrap();
        assert_ne!(taken, Taken::Unknown);
        block_on(one.remove_token(&record.id)).unwrap();
        for store in [one, other] {
            for wanted in [token_use("a", "1"), token_use("b", "2")] {
                let taken = block_on(store.take_use(&record.id, &wanted)).unwrap();
                assert_eq!(taken, Taken::Unknown);
            }
            // A use that is given back late does not bring the token back.
            block_on(store.give_back_use(&record.id, &token_use("a", "1"))).unwrap();
            assert_eq!(block_on(store.token(&record.id)).unwrap(), None);
        }
    }
}

fn expired_tokens_go(one: &Handle, other: &Handle) {
    let (mut early, late) = (token_record(5, None), token_record(6, Some(2)));
    early.expires = early.created;
    for record in [&early, &late] {
        block_on(one.create_token(record)).unwrap();
    }
    assert_eq!(
        block_on(other.remove_expired_tokens(early.expires)).unwrap(),
        1
    );
    assert_eq!(block_on(one.tokens()).unwrap(), slice::from_ref(&late));
    assert_eq!(
        block_on(one.remove_expired_tokens(late.expires)).unwrap(),
        1
    );
    assert_eq!(block_on(other.tokens()).unwrap(), []);
}

/// Many ask for the same name through both, each as the first one that wants it.
pub fn nodes_are_claimed_by_one(one: &Handle, other: &Handle) {
    const KEYS: usize = 20;
    let node = name("claimed");
    let claims: Vec<Recorded> = thread::scope(|scope| {
        let claim = |n: usize| {
            let (store, node) = ([one, other][n % 2], &node);
            let record = record(&n.to_string());
            scope.spawn(move || block_on(store.record_node(node, record, Claim::Of(None))).unwrap())
        };
        let running: Vec<_> = (0..KEYS).map(claim).collect();
        running.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let stored = Recorded::Stored(None);
    let winner = claims.iter().position(|claim| *claim == stored).unwrap();
    assert_eq!(claims.iter().filter(|claim| **claim == stored).count(), 1);
    let held = record(&winner.to_string());
    for store in [one, other] {
        assert_eq!(block_on(store.node(&node)).unwrap(), Some(held.clone()));
        let all = block_on(store.nodes()).unwrap();
        assert_eq!(all, [(node.clone(), held.clone())]);
    }
    let next = Claim::Of(Some(held.clone()));
    let outcome = block_on(other.record_node(&node, record("next"), next.clone())).unwrap();
    assert_eq!(outcome, Recorded::Stored(Some(held)));
    let outcome = block_on(one.record_node(&node, record("late"), next)).unwrap();
    assert_eq!(outcome, Recorded::Changed);
    assert!(block_on(one.remove_node(&node)).unwrap());
    assert!(!block_on(other.remove_node(&node)).unwrap());
    assert_eq!(block_on(other.node(&node)).unwrap(), None);
}

fn revocations_stay(one: &Handle, other: &Handle) {
    let (early, late) = (Timestamp::from_unix(1), Timestamp::from_unix(2));
    block_on(one.revoke(&[(name("b"), early), (name("a"), late)])).unwrap();
    block_on(other.revoke(&[(name("b"), late)])).unwrap();
    for store in [one, other] {
        let all = block_on(store.revocations()).unwrap();
        assert_eq!(all, [(name("a"), late), (name("b"), late)]);
        assert_eq!(block_on(store.revoked(&name("b"))).unwrap(), Some(late));
        assert_eq!(block_on(store.revoked(&name("c"))).unwrap(), None);
    }
}
