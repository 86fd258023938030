//! How many connections there may be at a time, in all and from one source, and which of them goes
//! when another one comes.
//!
//! Whoever comes finds a place: the connection that has kept us waiting longest is cut for it, of
//! the newcomer's own source when that has as many as it may, else of the source that has most. So
//! slow clients, however many, hold up nobody who is quick, not even behind the same address; and a
//! source with few connections loses none to one with many. Only when all are being served is a
//! newcomer refused.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol::net::TcpStream;

use super::descriptors::{Descriptor, Descriptors};
use crate::system::sorted::SortedMap;

/// A bound on connections; each holds a `Place`.
pub struct Places<S = TcpStream> {
    state: Mutex<State<S>>,
    total: usize,
    per_source: usize,
    descriptors: Arc<Descriptors>,
}

struct State<S> {
    taken: usize,
    /// Counts the connections that came, so that a lower number means an older one.
    arrived: u64,
    by_source: HashMap<IpAddr, Source<S>>,
}

struct Source<S> {
    taken: usize,
    /// Those that may be cut, by their number.
    waiting: SortedMap<u64, S>,
}

/// What can be cut from another task.
pub trait Cut: Clone {
    /// Its owner notices at its next read or write.
    fn cut(&self);
}

/// A connection that found its place, and what that cost another one.
pub struct Taken<S: Cut = TcpStream> {
    pub place: Place<S>,
    pub cut: Option<Full>,
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Total,
    Source,
}

impl<S: Cut> Places<S> {
    pub fn new(total: usize, per_source: usize, descriptors: &Arc<Descriptors>) -> Arc<Places<S>> {
        Arc::new(Places {
            state: Mutex::new(State {
                taken: 0,
                arrived: 0,
                by_source: HashMap::new(),
            }),
            total,
            per_source,
            descriptors: descriptors.clone(),
        })
    }

    /// A place for a connection that just came.
    pub fn take(self: &Arc<Self>, address: IpAddr, stream: &S) -> Result<Taken<S>, Full> {
        let source = source(address);
        let mut state = self.lock();
        let of_source = state.by_source.get(&source).map_or(0, |s| s.taken);
        let cut = if of_source >= self.per_source {
            state.cut_oldest(source).then_some(Full::Source)
        } else {
            None
        };
        if of_source >= self.per_source && cut.is_none() {
            return Err(Full::Source);
        }
        let descriptor = self.descriptors.take();
        let cut = match state.taken >= self.total || descriptor.is_none() {
            true if !state.cut_of_largest() => return Err(Full::Total),
            true => Some(Full::Total),
            false => cut,
        };
        // What was just cut gives its own back in a moment, and the reserve bears that.
        let descriptor = descriptor.or_else(|| self.descriptors.take_beyond());
        let descriptor = descriptor.ok_or(Full::Total)?;
        state.arrived += 1;
        let number = state.arrived;
        state.taken += 1;
        let of_source = state.by_source.entry(source).or_insert_with(|| Source {
            taken: 0,
            waiting: SortedMap::new(),
        });
        of_source.taken += 1;
        of_source.waiting.insert(number, stream.clone());
        drop(state);
        let place = Place {
            places: self.clone(),
            source,
            number,
            descriptor: Some(descriptor),
        };
        Ok(Taken { place, cut })
    }

    /// How many there may be.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many there are.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Cut> State<S> {
    /// Takes the place of the oldest of this source that may be cut, if there is one.
    fn cut_oldest(&mut self, source: IpAddr) -> bool {
        let of_source = self.by_source.get_mut(&source);
        let Some((_, stream)) = of_source.and_then(|s| s.waiting.pop_first()) else {
            return false;
        };
        stream.cut();
        self.give_back(source);
        true
    }

    fn cut_of_largest(&mut self) -> bool {
        let waiting = self.by_source.iter().filter_map(|(address, source)| {
            let (oldest, _) = source.waiting.first_key_value()?;
            Some((source.taken, std::cmp::Reverse(*oldest), *address))
        });
        let largest = waiting.max();
        largest.is_some_and(|(_, _, address)| self.cut_oldest(address))
    }

    fn give_back(&mut self, source: IpAddr) {
        self.taken -= 1;
        if let Some(of_source) = self.by_source.get_mut(&source) {
            of_source.taken -= 1;
            if of_source.taken == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

/// One connection's place, given back when dropped.
pub struct Place<S: Cut = TcpStream> {
    places: Arc<Places<S>>,
    source: IpAddr,
    number: u64,
    descriptor: Option<Descriptor>,
}

impl<S: Cut> Place<S> {
    /// While this is held, the connection is served and is not cut for another one.
    pub fn busy(&self) -> Busy<'_, S> {
        let mut state = self.places.lock();
        let of_source = state.by_source.get_mut(&self.source);
        let stream = of_source.and_then(|s| s.waiting.remove(&self.number));
        Busy {
            place: self,
            stream,
        }
    }

    /// The connection stays and its place is given back: others bound it from now on.
    pub fn into_descriptor(mut self) -> Option<Descriptor> {
        self.descriptor.take()
    }
}

impl<S: Cut> Drop for Place<S> {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        let of_source = state.by_source.get_mut(&self.source);
        // One that was cut has lost its place already.
        if of_source.is_some_and(|s| s.waiting.remove(&self.number).is_some()) {
            state.give_back(self.source);
        }
    }
}

/// A connection that is served at the moment.
pub struct Busy<'a, S: Cut = TcpStream> {
    place: &'a Place<S>,
    /// None when it was cut before.
    stream: Option<S>,
}

impl<S: Cut> Drop for Busy<'_, S> {
    fn drop(&mut self) {
        let place = self.place;
        if let Some(stream) = self.stream.take() {
            let mut state = place.places.lock();
            if let Some(of_source) = state.by_source.get_mut(&place.source) {
                of_source.waiting.insert(place.number, stream);
            }
        }
    }
}

impl Cut for TcpStream {
    fn cut(&self) {
        // It is gone already when this fails.
        let _ = self.shutdown(Shutdown::Both);
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
#[path = "places_tests.rs"]
mod tests;
