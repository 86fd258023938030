//! Tests of maps and sets as vectors: whatever is done to them, they are as those of the standard library are.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What can be done to a map.
#[derive(Clone, Debug)]
enum Change {
    Insert(u8, u16),
    Remove(u8),
    Extend(Vec<(u8, u16)>),
    Entry(u8, u16),
    GetMut(u8, u16),
    Retain(u8),
    All(u16),
    PopFirst,
    PopLast,
    Clear,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let (key, value) = (|| 0..40_u8, any::<u16>());
    let change = prop_oneof![
        8 => (key(), value).prop_map(|(key, value)| Change::Insert(key, value)),
        4 => key().prop_map(Change::Remove),
        4 => vec((key(), value), 0..12).prop_map(Change::Extend),
        2 => (key(), value).prop_map(|(key, value)| Change::Entry(key, value)),
        2 => (key(), value).prop_map(|(key, value)| Change::GetMut(key, value)),
        1 => (2..5_u8).prop_map(Change::Retain),
        1 => value.prop_map(Change::All),
        1 => Just(Change::PopFirst),
        1 => Just(Change::PopLast),
        1 => Just(Change::Clear),
    ];
    vec(change, 0..60)
}

/// Does it to both, and compares what is answered.
fn change(ours: &mut SortedMap<u8, u16>, theirs: &mut BTreeMap<u8, u16>, change: Change) {
    match change {
        Change::Insert(key, value) => {
            assert_eq!(ours.insert(key, value), theirs.insert(key, value));
        }
        Change::Remove(key) => assert_eq!(ours.remove(&key), theirs.remove(&key)),
        Change::Extend(entries) => {
            ours.extend(entries.clone());
            theirs.extend(entries);
        }
        Change::Entry(key, value) => {
            let (one, other) = (ours.entry(key), theirs.entry(key));
            assert_eq!(one.or_insert(value), other.or_insert(value));
            *ours.entry(key).or_default() = value;
            *theirs.entry(key).or_default() = value;
        }
        Change::GetMut(key, value) => {
            let (one, other) = (ours.get_mut(&key), theirs.get_mut(&key));
            assert_eq!(one, other);
            one.into_iter().chain(other).for_each(|it| *it = value);
        }
        Change::Retain(part) => {
            ours.retain(|key, _| key % part == 0);
            theirs.retain(|key, _| key % part == 0);
        }
        Change::All(value) => {
            ours.values_mut().for_each(|it| *it ^= value);
            theirs.iter_mut().for_each(|(_, it)| *it ^= value);
        }
        Change::PopFirst => assert_eq!(ours.pop_first(), theirs.pop_first()),
        Change::PopLast => assert_eq!(ours.pop_last(), theirs.pop_last()),
        Change::Clear => {
            ours.clear();
            theirs.clear();
        }
    }
}

fn compare(ours: &SortedMap<u8, u16>, theirs: &BTreeMap<u8, u16>) {
    assert!(ours.iter().eq(theirs));
    assert!(ours.iter().rev().eq(theirs.iter().rev()));
    assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
    assert!(ours.clone().into_iter().eq(theirs.clone()));
    assert!(ours.clone().iter_mut().eq(&mut theirs.clone()));
    assert_eq!(ours.keys().len(), theirs.len());
    assert_eq!(
        (ours.len(), ours.is_empty()),
        (theirs.len(), theirs.is_empty())
    );
    assert_eq!(ours.first_key_value(), theirs.first_key_value());
    for key in 0..40 {
        assert_eq!(ours.get(&key), theirs.get(&key));
        assert_eq!(ours.contains_key(&key), theirs.contains_key(&key));
    }
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

proptest! {
    #[test]
    fn whatever_is_done_a_map_is_as_a_tree_is(changes in changes()) {
        let (mut ours, mut theirs) = (SortedMap::new(), BTreeMap::new());
        for one in changes {
            change(&mut ours, &mut theirs, one);
            compare(&ours, &theirs);
        }
    }

    #[test]
    fn of_equal_keys_the_last_counts(entries in vec((0..20_u8, any::<u16>()), 0..60)) {
        let theirs: BTreeMap<u8, u16> = entries.iter().copied().collect();
        compare(&entries.iter().copied().collect(), &theirs);
        // The same from JSON, and to it.
        let fields: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let ours = serde_json::from_str(&format!("{{{}}}", fields.join(","))).unwrap();
        compare(&ours, &theirs);
        prop_assert_eq!(serde_json::to_string(&ours).unwrap(), serde_json::to_string(&theirs).unwrap());
    }

    #[test]
    fn a_set_is_as_a_tree_is(keys in vec(0..20_u8, 0..40), more in vec(0..20_u8, 0..9)) {
        let mut ours: SortedSet<u8> = keys.iter().copied().collect();
        let mut theirs: BTreeSet<u8> = keys.iter().copied().collect();
        ours.extend(more.iter().copied());
        theirs.extend(more.iter().copied());
        for key in 0..20 {
            assert_eq!(ours.contains(&key), theirs.contains(&key));
            match key % 3 {
                0 => assert_eq!(ours.insert(key), theirs.insert(key)),
                1 => assert_eq!(ours.remove(&key), theirs.remove(&key)),
                _ => {}
            }
        }
        let (other, others) = (more.iter().copied().collect(), more.iter().copied().collect());
        assert!(ours.difference(&other).eq(theirs.difference(&others)));
        let json = serde_json::to_string(&ours).unwrap();
        assert_eq!(json, serde_json::to_string(&theirs).unwrap());
        assert_eq!(ours, serde_json::from_str(&json).unwrap());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        ours.retain(|key| key % 2 == 0);
        theirs.retain(|key| key % 2 == 0);
        assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
        assert!(ours.iter().eq(&theirs) && ours.into_iter().eq(theirs));
    }
}
