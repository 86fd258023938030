//! What waits for one edge, and for all of them.

use smol::future::{block_on, poll_once};

use super::room::{ROOM, SHARE};
use super::*;
use crate::protocol::message::Route;
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::clock::Timestamp;

fn message(bytes: usize) -> Message {
    Message::new(
        Timestamp::from_unix(1),
        Route::default(),
        &"x".repeat(bytes),
    )
}

async fn next(outbox: &Outbox) -> Arc<Message> {
    match outbox.next().await {
        Ok(Next::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn objects_come_when_no_message_waits_and_leave_nothing_behind() {
    let path = ObjectPath::of_cluster(Kind::Node, "edge-1");
    let item = Item {
        path: Arc::new(path),
        gone: None,
    };
    let outbox = Outbox::default();
    block_on(async {
        outbox.offer([(item.clone(), true)]);
        assert!(outbox.push(message(1)));
        next(&outbox).await;
        assert!(matches!(outbox.next().await, Ok(Next::Push(it, true)) if it == item));
        let mut sent = message(1);
        outbox.sent(item.clone(), true, &mut sent);
        let mut waiting = Box::pin(outbox.next());
        assert!(poll_once(&mut waiting).await.is_none());
        outbox.offer([(item.clone(), false)]);
        assert!(poll_once(&mut waiting).await.is_none(), "one at a time");
        assert_eq!(
            outbox.acknowledged(&sent.header.id),
            Some((item.clone(), 0))
        );
        assert!(matches!(waiting.await, Ok(Next::Push(_, false))));
        assert!(poll_once(outbox.next()).await.is_none());
    });
    assert!(outbox.lock().line.is_none());
}

#[test]
fn messages_come_out_in_order_and_a_waiting_task_is_woken() {
    let outbox = Outbox::default();
    let (first, second) = (message(1), message(2));
    block_on(async {
        let mut next = Box::pin(outbox.next());
        assert!(poll_once(&mut next).await.is_none());
        assert!(outbox.push(first.clone()));
        assert!(outbox.push(second.clone()));
        let sent = next.await;
        assert!(matches!(sent, Ok(Next::Message(it)) if it.header.id == first.header.id));
        assert_eq!(self::next(&outbox).await.header.id, second.header.id);
        assert!(poll_once(outbox.next()).await.is_none());
    });
    assert_eq!(outbox.lock().bytes, 0);
}

#[test]
fn too_many_messages_end_the_session() {
    let outbox = Outbox::default();
    assert!((0..MAX_MESSAGES).all(|_| outbox.push(message(1))));
    assert!(!outbox.push(message(1)));
    assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::TooSlow);
    assert!(outbox.lock().queue.is_empty());
}

#[test]
fn too_many_bytes_end_the_session_but_one_large_message_passes() {
    let outbox = Outbox::default();
    assert!(outbox.push(message(2 * MAX_BYTES)));
    assert!(block_on(outbox.next()).is_ok());
    assert!(outbox.push(message(MAX_BYTES - 1000)));
    assert!(!outbox.push(message(1000)));
    assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::TooSlow);
}

#[test]
fn an_end_is_heard_while_sending() {
    let outbox = Outbox::default();
    block_on(async {
        let mut ended = Box::pin(outbox.ended());
        assert!(poll_once(&mut ended).await.is_none());
        assert!(outbox.push(message(1)));
        assert!(poll_once(&mut ended).await.is_none());
        outbox.end(Ending::Stopping);
        assert_eq!(ended.await, Ending::Stopping);
    });
}

#[test]
fn the_first_reason_stays() {
    let outbox = Outbox::default();
    outbox.end(Ending::Replaced);
    outbox.end(Ending::Stopping);
    assert!(!outbox.push(message(1)));
    assert_eq!(block_on(outbox.next()).unwrap_err(), Ending::Replaced);
}

#[test]
fn all_together_have_a_bound_and_who_holds_most_is_ended() {
    let room = Room::default();
    let honest: Vec<Outbox> = (0..500).map(|_| Outbox::within(room.clone())).collect();
    let deaf: Vec<Outbox> = (0..500).map(|_| Outbox::within(room.clone())).collect();
    // What one node may hold anyway, and a little more for some.
    for (number, outbox) in honest.iter().enumerate() {
        let bytes = if number < 100 {
            SHARE + 1000
        } else {
            SHARE / 2
        };
        assert!(outbox.push(message(bytes)));
    }
    let large = message(400_000);
    for outbox in &deaf {
        for _ in 0..MAX_BYTES / 400_000 {
            outbox.push(large.clone());
            assert!(room.bytes() <= ROOM);
        }
    }
    let ended = |outbox: &&Outbox| outbox.lock().ending.is_some();
    assert_eq!(honest.iter().filter(ended).count(), 0);
    let held: usize = deaf.iter().map(|outbox| outbox.lock().held()).sum();
    assert!(held <= ROOM + deaf.len() * SHARE, "{held}");
    let gone: Vec<_> = deaf.iter().filter(ended).collect();
    assert!(gone.len() > deaf.len() / 2, "{} are ended", gone.len());
    assert_eq!(block_on(gone[0].next()).unwrap_err(), Ending::Crowded);
    // The honest ones go on, also with what is larger than their share.
    assert!(honest.iter().all(|it| it.push(message(10_000))));
    assert!(honest[0].push(message(2 * SHARE)));
    block_on(async {
        for outbox in &honest {
            while poll_once(outbox.next()).await.is_some() {}
        }
    });
    drop((honest, deaf));
    assert_eq!(room.bytes(), 0);
}

#[test]
fn what_waits_for_its_turn_is_passed_and_counts_until_it_has_gone() {
    let outbox = Outbox::default();
    let room = outbox.lock().room.clone();
    let (large, small) = (message(2 * SHARE), message(1000));
    let mut about_large = message(1000);
    about_large.route.resource = "default/podpatch/p".to_owned();
    let mut large = large;
    large.route.resource = "default/pod/p".to_owned();
    assert!(outbox.push(large.clone()));
    let of_large = room.bytes();
    assert!(outbox.push(about_large.clone()));
    assert!(outbox.push(small.clone()));
    let all = room.bytes();
    block_on(async {
        let held = next(&outbox).await;
        let passed = outbox.passing(Some(&held)).await;
        assert_eq!(passed.header.id, small.header.id);
        assert_eq!(room.bytes(), all, "it is being written");
        assert!(poll_once(outbox.passing(Some(&held))).await.is_none());
        assert_eq!(room.bytes(), of_large + weight(&about_large));
        assert_eq!(next(&outbox).await.header.id, about_large.header.id);
        assert_eq!(room.bytes(), 0);
        assert!(poll_once(outbox.next()).await.is_none());
        assert_eq!(outbox.lock().held(), 0);
        outbox.end(Ending::Stopping);
        assert!(poll_once(outbox.passing(Some(&held))).await.is_none());
        assert_eq!(outbox.lock().held(), 0);
    });
}

#[test]
fn what_is_on_its_way_counts_until_it_has_gone() {
    let outbox = Outbox::default();
    let room = outbox.lock().room.clone();
    assert!(outbox.push(message(2 * SHARE)));
    let waiting = room.bytes();
    assert!(waiting >= SHARE);
    block_on(async {
        next(&outbox).await;
        assert_eq!(room.bytes(), waiting);
        assert!(poll_once(outbox.next()).await.is_none());
    });
    assert_eq!(room.bytes(), 0);
}
