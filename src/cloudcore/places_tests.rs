//! Which connection goes when another one comes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A connection that can tell whether it was cut.
#[derive(Clone, Default)]
struct Line(Arc<AtomicBool>);

impl Line {
    fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Cut for Line {
    fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn places(total: usize, per_source: usize) -> Arc<Places<Line>> {
    Places::new(total, per_source, &Descriptors::new(1_000_000))
}

/// Takes places for several connections of one source, all of which must find one.
fn take(places: &Arc<Places<Line>>, from: IpAddr, count: usize) -> Vec<(Line, Place<Line>)> {
    let one = |_| {
        let line = Line::default();
        let taken = places.take(from, &line);
        (
            line,
            taken.map_err(|full| format!("{full:?}")).unwrap().place,
        )
    };
    (0..count).map(one).collect()
}

fn cut(lines: &[(Line, Place<Line>)]) -> Vec<bool> {
    lines.iter().map(|(line, _)| line.is_cut()).collect()
}

#[test]
fn a_source_at_its_bound_loses_its_own_oldest() {
    let places = places(10, 2);
    let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
    let others = take(&places, b, 2);
    let mut own = take(&places, a, 2);
    let line = Line::default();
    // The same address, as a socket of both families tells it.
    let taken = places.take(address("::ffff:192.0.2.1"), &line).unwrap();
    assert_eq!(taken.cut, Some(Full::Source));
    assert_eq!(
        (cut(&own), cut(&others)),
        (vec![true, false], vec![false; 2])
    );
    assert_eq!(places.taken(), 4);
    // What was cut gives nothing back a second time.
    own.clear();
    assert_eq!(places.taken(), 3);
    drop((taken, others));
    assert_eq!(places.taken(), 0);
    assert!(places.lock().by_source.is_empty());
}

#[test]
fn when_all_is_full_the_source_with_most_loses_its_oldest() {
    let places = places(6, 6);
    let few = take(&places, address("192.0.2.1"), 2);
    let many = take(&places, address("192.0.2.2"), 4);
    let line = Line::default();
    let taken = places.take(address("192.0.2.3"), &line).unwrap();
    assert_eq!(taken.cut, Some(Full::Total));
    assert_eq!(cut(&few), [false; 2]);
    assert_eq!(cut(&many), [true, false, false, false]);
}

#[test]
fn of_equal_sources_the_oldest_connection_goes() {
    let places = places(3, 3);
    let old = take(&places, address("192.0.2.9"), 1);
    let newer = take(&places, address("192.0.2.1"), 1);
    let newest = take(&places, address("192.0.2.2"), 1);
    let _new = take(&places, address("192.0.2.3"), 1);
    assert!(old[0].0.is_cut() && !newer[0].0.is_cut() && !newest[0].0.is_cut());
}

#[test]
fn who_is_served_is_not_cut_and_a_newcomer_is_refused() {
    let places = places(2, 2);
    let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
    let own = take(&places, a, 2);
    let served: Vec<Busy<'_, Line>> = own.iter().map(|(_, place)| place.busy()).collect();
    let line = Line::default();
    assert_eq!(places.take(a, &line).err(), Some(Full::Source));
    assert_eq!(places.take(b, &line).err(), Some(Full::Total));
    drop(served);
    // They are as old as they were.
    assert_eq!(
        places.take(b, &line).map(|taken| taken.cut).ok(),
        Some(Some(Full::Total))
    );
    assert_eq!(cut(&own), [true, false]);
    // One that was cut can be served no more, and that changes nothing.
    drop(own[0].1.busy());
    assert_eq!(places.taken(), 1);
}

#[test]
fn descriptors_bound_all_places_together() {
    let descriptors = Descriptors::new(8);
    let room = descriptors.limit();
    let (one, two) = (
        Places::<Line>::new(1000, 1000, &descriptors),
        Places::<Line>::new(1000, 1000, &descriptors),
    );
    let a = address("192.0.2.1");
    let held = take(&one, a, room);
    let line = Line::default();
    // The other kind has nothing to cut.
    assert_eq!(two.take(a, &line).err(), Some(Full::Total));
    let taken = one.take(a, &line).unwrap();
    assert_eq!(taken.cut, Some(Full::Total));
    // A tunnel keeps its descriptor, and not its place.
    let kept = taken.place.into_descriptor();
    assert_eq!((one.taken(), descriptors.used()), (room - 1, room + 1));
    drop((held, kept));
    assert_eq!((one.taken(), descriptors.used()), (0, 0));
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
