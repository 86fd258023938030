//! Tests of which node has which session.

use smol::future::block_on;

use super::*;
use crate::authority::testing::credential;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn facts(serial: &str) -> SessionFacts {
    let peer = ([127, 0, 0, 1], 1).into();
    SessionFacts {
        since: Timestamp::from_unix(1),
        peer,
        serial: serial.to_owned(),
        follows: false,
        terms: None,
        transport: Transport::WebSocket,
        roaming: None,
    }
}

fn begin(registry: &Arc<Registry>, node: &str, serial: &str) -> (Registered, Outbox) {
    let outbox = Outbox::default();
    let promise = registry.promise(&name(node)).unwrap();
    let registered = promise.begin(facts(serial), credential(), outbox.clone());
    (registered, outbox)
}

#[test]
fn the_newest_session_replaces_the_older_whose_late_end_does_no_harm() {
    let registry = Registry::new(10);
    let (old, old_outbox) = begin(&registry, "a", "01");
    let (new, _new_outbox) = begin(&registry, "a", "02");
    assert_eq!(block_on(old_outbox.next()).unwrap_err(), Ending::Replaced);
    assert_ne!(old.generation, new.generation);
    drop(old);
    let rows = registry.rows(&[]);
    assert_eq!((rows.len(), rows[0].generation), (1, new.generation));
    assert_eq!(rows[0].facts.serial, "02");
    assert_eq!(rows[0].last_gap, Some(Duration::ZERO));
    assert_eq!((registry.sessions(), registry.replaced()), (1, 1));
    drop(new);
    assert_eq!(registry.sessions(), 0);
    assert!(registry.rows(&[]).is_empty());
}

#[test]
fn a_gap_is_what_lies_between_two_sessions() {
    let registry = Registry::new(10);
    let (first, _) = begin(&registry, "a", "01");
    assert_eq!(registry.rows(&[name("a")])[0].last_gap, None);
    drop(first);
    let left = Instant::now();
    while left.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    let (_second, _) = begin(&registry, "a", "02");
    assert!(registry.rows(&[])[0].last_gap.unwrap() >= Duration::from_millis(2));
}

#[test]
fn the_limit_counts_nodes_and_not_replacements() {
    let registry = Registry::new(2);
    let (a, _) = begin(&registry, "a", "01");
    let promise = registry.promise(&name("b")).unwrap();
    let full = Err(Refused::Full { limit: 2 });
    assert_eq!(registry.promise(&name("c")).map(drop), full);
    let (again, _) = begin(&registry, "a", "02");
    drop(promise);
    let (_c, _) = begin(&registry, "c", "03");
    assert_eq!(registry.promise(&name("b")).map(drop), full);
    // The replaced one leaves late: its place is still taken by the newer one.
    drop(a);
    assert_eq!(registry.promise(&name("b")).map(drop), full);
    drop(again);
    assert!(registry.promise(&name("b")).is_ok());
}

#[test]
fn nodes_that_never_had_a_session_are_not_remembered() {
    let registry = Registry::new(2);
    drop(registry.promise(&name("a")).unwrap());
    assert!(registry.lock().nodes.is_empty());
    assert_eq!(registry.lock().occupied, 0);
}

#[test]
fn after_closing_no_session_begins() {
    let registry = Registry::new(2);
    let promise = registry.promise(&name("a")).unwrap();
    assert!(registry.close().is_empty());
    assert_eq!(
        registry.promise(&name("b")).map(drop),
        Err(Refused::Stopping)
    );
    let outbox = Outbox::default();
    let _late = promise.begin(facts("01"), credential(), outbox.clone());
    assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::Stopping);
}

#[test]
fn a_session_is_ended_by_name() {
    let registry = Registry::new(2);
    let (_a, outbox) = begin(&registry, "a", "01");
    assert!(registry.end(&name("a"), Ending::KeyReplaced));
    assert!(!registry.end(&name("b"), Ending::KeyReplaced));
    assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::KeyReplaced);
}

#[test]
fn what_sessions_were_opened_with_ends_them() {
    let registry = Registry::new(3);
    let (first, outbox) = begin(&registry, "a", "01");
    let (_b, other) = begin(&registry, "b", "02");
    let _promised = registry.promise(&name("c")).unwrap();
    let (generation, _) = registry.credential(&name("a")).unwrap();
    assert_eq!(generation, first.generation);
    assert!(registry.credential(&name("c")).is_none());
    let mut names = registry.names();
    names.sort();
    assert_eq!(names, [name("a"), name("b")]);
    assert_eq!(registry.end_where(|_| false, Ending::CaRetired), 0);
    assert_eq!(registry.end_where(|_| true, Ending::CaRetired), 2);
    for outbox in [outbox, other] {
        assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::CaRetired);
    }
    drop(first);
    assert!(registry.credential(&name("a")).is_none());
}
