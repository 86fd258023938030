//! How many connections there may be, in all and from one source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bound on connections; each holds a `Place`.
pub struct Places {
    state: Mutex<State>,
    total: usize,
    per_source: usize,
}

#[derive(Default)]
struct State {
    taken: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    Total,
    Source,
}

impl Places {
    pub fn new(total: usize, per_source: usize) -> Arc<Places> {
        Arc::new(Places {
            state: Mutex::default(),
            total,
            per_source,
        })
    }

    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let source = source(address);
        let mut state = self.lock();
        if state.taken >= self.total {
            return Err(NoPlace::Total);
        }
        let of_source = state.by_source.entry(source).or_default();
        if *of_source >= self.per_source {
            return Err(NoPlace::Source);
        }
        *of_source += 1;
        state.taken += 1;
        drop(state);
        Ok(Place {
            places: self.clone(),
            source,
        })
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place, given back when dropped.
pub struct Place {
    places: Arc<Places>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.taken -= 1;
        if let Some(of_source) = state.by_source.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                state.by_source.remove(&self.source);
            }
        }
    }
}

/// Who is behind an address: of IPv6, a whole /64 is usually one subscriber.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_bounded_in_all_and_per_source_and_come_back() {
        let places = Places::new(3, 2);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = places.take(a).unwrap();
        let _second = places.take(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(places.take(a).err(), Some(NoPlace::Source));
        let _third = places.take(b).unwrap();
        assert_eq!(places.take(b).err(), Some(NoPlace::Total));
        drop(first);
        assert!(places.take(a).is_ok());
        assert_eq!(places.lock().by_source.len(), 2);
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        assert_eq!(
            source(address("2001:db8::1")),
            source(address("2001:db8::2:3"))
        );
        assert_ne!(
            source(address("2001:db8::1")),
            source(address("2001:db8:0:1::1"))
        );
    }
}
