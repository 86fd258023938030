//! Maps and sets as vectors in the order of their keys: for what has few entries, which is nearly everything here.
//!
//! Each type of entries costs a tenth of the machine code that a `BTreeMap` costs, and a small map less memory. What
//! comes or goes in the middle moves all that is behind it. So this is for some ten thousand entries of tens of
//! bytes, and what comes in any order and many at a time is collected, or given to `extend`, which sort once. All
//! nodes and all objects of a cloud, hundreds of thousands that come one by one, are kept in a `BTreeMap` or a
//! `HashMap`: in `store::journal`, `store::objects`, `store::kubernetes::cache` (whose keys have changed) and
//! `cloudcore::nodes`' state and index. `tests/house.rs` knows them.

mod rows;
mod set;

use std::borrow::Borrow;
use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::ops::Index;
use std::{mem, slice, vec};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

pub use set::SortedSet;

/// Values by their keys, in the order of these.
#[derive(Clone, PartialEq, Eq)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> SortedMap<K, V> {
    pub const fn new() -> SortedMap<K, V> {
        SortedMap(Vec::new())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter(self.0.iter())
    }

    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut(self.0.iter_mut())
    }

    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.0.iter())
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// Moves all the others.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    pub fn pop_last(&mut self) -> Option<(K, V)> {
        self.0.pop()
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Where the key is, or would be.
    fn position<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(it, _)| it.borrow().cmp(key))
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.position(key).is_ok()
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.position(key).ok()?;
        Some(&self.0[at].1)
    }

    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = self.position(key).ok()?;
        Some(&mut self.0[at].1)
    }

    /// What had the key before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.position(&key) {
            Ok(at) => Some(mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.position(key).ok()?;
        Some(self.0.remove(at).1)
    }

    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        Entry { map: self, key }
    }

    /// Puts in order what was only put behind one another; of equal keys the last counts.
    fn settle(&mut self) {
        let count = rows::arrange(&mut self.0);
        self.0.truncate(count);
    }

    /// Puts it behind all others, if it belongs there.
    fn push(&mut self, entry: (K, V), late: &mut Vec<(K, V)>) {
        match self.0.last() {
            Some((last, _)) if entry.0 <= *last => late.push(entry),
            _ => self.0.push(entry),
        }
    }

    /// Takes what did not belong behind the others. Its keys are none that were pushed after it.
    fn take_late(&mut self, mut late: Vec<(K, V)>) {
        if late.len() > FEW {
            self.0.append(&mut late);
            self.settle();
        }
        for (key, value) in late {
            self.insert(key, value);
        }
    }
}

/// The place of one key, which may be free.
pub struct Entry<'a, K, V> {
    map: &'a mut SortedMap<K, V>,
    key: K,
}

impl<'a, K: Ord, V> Entry<'a, K, V> {
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        let Entry { map, key } = self;
        let at = match map.position(&key) {
            Ok(at) => at,
            Err(at) => {
                map.0.insert(at, (key, make()));
                at
            }
        };
        &mut map.0[at].1
    }

    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> Index<&Q> for SortedMap<K, V> {
    type Output = V;

    /// Panics when there is none, as a place beyond a vector's end does.
    fn index(&self, key: &Q) -> &V {
        &self.0[self.position(key).unwrap_or(usize::MAX)].1
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> SortedMap<K, V> {
        SortedMap::new()
    }
}

impl<K: Debug, V: Debug> Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> SortedMap<K, V> {
        let mut map = SortedMap(entries.into_iter().collect());
        map.settle();
        map
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SortedMap<K, V> {
    fn from(entries: [(K, V); N]) -> SortedMap<K, V> {
        entries.into_iter().collect()
    }
}

impl<K: Ord, V> Extend<(K, V)> for SortedMap<K, V> {
    /// Sorts once, unless it is about a few.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        let mut late = Vec::new();
        for entry in entries {
            self.push(entry, &mut late);
        }
        self.take_late(late);
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut SortedMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// What goes through the entries of a vector, and shows of each what this says.
macro_rules! iterators {
    ($($(#[$doc:meta])* $name:ident<$($of:tt),*>($inner:ty): $item:ty = $entry:pat => $shown:expr;)*) => {
        $($(#[$doc])*
        pub struct $name<$($of),*>($inner);

        impl<$($of),*> Iterator for $name<$($of),*> {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                self.0.next().map(|$entry| $shown)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl<$($of),*> DoubleEndedIterator for $name<$($of),*> {
            fn next_back(&mut self) -> Option<$item> {
                self.0.next_back().map(|$entry| $shown)
            }
        }

        impl<$($of),*> ExactSizeIterator for $name<$($of),*> {})*
    };
}

iterators! {
    Iter<'a, K, V>(slice::Iter<'a, (K, V)>): (&'a K, &'a V) = (key, value) => (key, value);
    IterMut<'a, K, V>(slice::IterMut<'a, (K, V)>): (&'a K, &'a mut V) = (key, value) => (&*key, value);
    Keys<'a, K, V>(slice::Iter<'a, (K, V)>): &'a K = (key, _) => key;
    /// Of a set that is given up.
    IntoKeys<K>(vec::IntoIter<(K, ())>): K = (key, ()) => key;
}

impl<K: Serialize, V: Serialize> Serialize for SortedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for SortedMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SortedMap<K, V>, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
    type Value = SortedMap<K, V>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<SortedMap<K, V>, A::Error> {
        let mut map = SortedMap::new();
        while let Some(entry) = access.next_entry()? {
            map.0.push(entry);
        }
        map.settle();
        Ok(map)
    }
}

/// So many that come too late for their place are put in one by one.
const FEW: usize = 4;

#[cfg(test)]
mod tests;
