//! Objects on their way to one edge: in a line, some of them in flight, each again until it is acknowledged.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::message::Message;
use crate::protocol::resource::ObjectPath;

/// An object that an edge shall have, or have no more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    pub path: Arc<ObjectPath>,
    /// The uid of what is gone; none: the object as it is when its turn comes, so the latest counts.
    pub gone: Option<Arc<str>>,
}

/// Names only, also of what is in flight: it is made anew when it is to be sent again.
#[derive(Default)]
pub struct Line {
    /// With each, whether the edge never had it.
    waiting: VecDeque<(Item, bool)>,
    /// What is in `waiting`, which thereby is bounded by the number of objects.
    known: HashSet<Item>,
    flying: Vec<Flight>,
}

struct Flight {
    item: Item,
    new: bool,
    /// Of the message that it went out in.
    id: String,
    version: u64,
    bytes: usize,
    /// When it had gone out whole, the last time; before that, when it began to.
    written: Instant,
    /// How often, the first time included.
    times: u32,
}

/// What is to be done for an edge.
#[derive(Debug)]
pub enum Turn {
    /// Make a message of it and say `sent`.
    Push(Item, bool),
    /// The same for one that was sent and not acknowledged, or say `dropped`.
    Again(Item, bool),
    /// Nothing before this moment, unless something changes.
    Wait(Instant),
    Nothing,
}

impl Line {
    /// Puts an item at the end, if it does not wait already.
    pub fn offer(&mut self, item: Item, new: bool) {
        if self.known.insert(item.clone()) {
            self.waiting.push_back((item, new));
        }
    }

    pub fn turn(&mut self, now: Instant) -> Turn {
        self.give_up(now);
        let due = |flight: &Flight| now >= flight.due();
        if let Some(flight) = self.flying.iter_mut().find(|flight| due(flight)) {
            flight.times += 1;
            return Turn::Again(flight.item.clone(), flight.new);
        }
        if let Some(index) = self.next_waiting()
            && let Some((item, new)) = self.waiting.remove(index)
        {
            self.known.remove(&item);
            if self.waiting.is_empty() {
                // Thousands of sessions are idle: a burst must not cost memory for ever.
                (self.waiting, self.known) = Default::default();
            }
            return Turn::Push(item, new);
        }
        match self.flying.iter().map(Flight::due).min() {
            Some(at) => Turn::Wait(at),
            None => Turn::Nothing,
        }
    }

    /// Whether an item of `turn` is still to be sent, which it may have waited for. If so, as it is from now on, and
    /// what made it wait in line anew is in that; if not, say `dropped`.
    pub fn goes(&mut self, item: &Item, again: bool) -> bool {
        if again && !self.flying.iter().any(|flight| flight.item == *item) {
            // It was acknowledged.
            return false;
        }
        if !self.known.contains(item) {
            return true;
        }
        let before = |it: &Item| it.gone.is_some() && it.path == item.path;
        if item.gone.is_none() && self.waiting.iter().any(|(it, _)| before(it)) {
            // What took its place comes behind that.
            return false;
        }
        self.known.remove(item);
        self.waiting.retain(|(it, _)| it != item);
        true
    }

    /// This message goes out for the item, and is to be acknowledged. One that went out before, of
    /// the same version, goes by the id that it had.
    pub fn sent(&mut self, item: Item, new: bool, message: &mut Message, now: Instant) {
        let version = message.header.resource_version.parse();
        let version = version.unwrap_or_default();
        let content = message.content.as_ref();
        let bytes = content.map_or(0, |content| content.get().len());
        let of = |flight: &&mut Flight| flight.item == item;
        if let Some(flight) = self.flying.iter_mut().find(of) {
            if flight.version == version {
                message.header.id.clone_from(&flight.id);
            } else {
                flight.id.clone_from(&message.header.id);
                (flight.version, flight.bytes) = (version, bytes);
            }
            flight.written = now;
            return;
        }
        self.flying.push(Flight {
            item,
            new,
            id: message.header.id.clone(),
            version,
            bytes,
            written: now,
            times: 1,
        });
    }

    /// The message of this id has gone out whole. On a slow line that takes longer than an acknowledgement may, and
    /// nobody can acknowledge what has not come yet.
    pub fn written(&mut self, id: &str, now: Instant) {
        if let Some(flight) = self.flying.iter_mut().find(|flight| flight.id == id) {
            flight.written = now;
        }
    }

    /// What was to be sent again is not the edge's any more.
    pub fn dropped(&mut self, item: &Item) {
        self.flying.retain(|flight| flight.item != *item);
    }

    /// What the edge has acknowledged, if that was in flight, and its version.
    pub fn acknowledged(&mut self, id: &str) -> Option<(Item, u64)> {
        let index = self.flying.iter().position(|flight| flight.id == id)?;
        let flight = self.flying.swap_remove(index);
        Some((flight.item, flight.version))
    }

    /// One that the edge does not acknowledge must not hold up the others: it goes behind them.
    fn give_up(&mut self, now: Instant) {
        let late = |flight: &Flight| flight.times >= ATTEMPTS && now >= flight.due();
        while let Some(index) = self.flying.iter().position(late) {
            let flight = self.flying.swap_remove(index);
            self.offer(flight.item, flight.new);
        }
    }

    #[cfg(test)]
    /// Whether an object of this name is in line.
    pub fn waits(&self, name: &str) -> bool {
        self.known.iter().any(|item| item.path.name == name)
    }

    #[cfg(test)]
    /// When an object of this name is to be sent again.
    pub fn due(&self, name: &str) -> Option<Instant> {
        let mut flying = self.flying.iter();
        let flight = flying.find(|flight| flight.item.path.name == name)?;
        Some(flight.due())
    }

    /// The first one that may go: never two of one object at the same time, nor out of order.
    fn next_waiting(&self) -> Option<usize> {
        let bytes: usize = self.flying.iter().map(|flight| flight.bytes).sum();
        if self.flying.len() >= WINDOW || bytes >= MAX_BYTES {
            return None;
        }
        let mut taken: HashSet<&ObjectPath> = HashSet::new();
        taken.extend(self.flying.iter().map(|flight| &*flight.item.path));
        let mut waiting = self.waiting.iter();
        waiting.position(|(item, _)| taken.insert(&item.path))
    }
}

impl Flight {
    /// When to send it again.
    fn due(&self) -> Instant {
        self.written + RESEND
    }
}

/// Unacknowledged at a time: an edge of KubeEdge drops what is more than 100.
const WINDOW: usize = 32;

/// Of what is in flight; a single larger one goes when it is alone.
const MAX_BYTES: usize = 2 << 20;

/// What is written at once is sent after 0, 5, 10, 15 and 20 s, and given up after 25 s.
const RESEND: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Route;
    use crate::protocol::resource::Kind;
    use crate::system::clock::Timestamp;

    fn item(name: &str) -> Item {
        let path = ObjectPath::new("default", Kind::ConfigMap, name).unwrap();
        Item {
            path: Arc::new(path),
            gone: None,
        }
    }

    fn message(bytes: usize) -> Message {
        let text = "x".repeat(bytes);
        Message::new(Timestamp::from_unix(1), Route::default(), &text)
    }

    /// Sends what may go now; the ids.
    fn send_all(line: &mut Line, now: Instant) -> Vec<(String, String)> {
        let mut sent = Vec::new();
        loop {
            match line.turn(now) {
                Turn::Push(item, new) => {
                    let (name, mut message) = (item.path.name.clone(), message(10));
                    line.sent(item, new, &mut message, now);
                    sent.push((name, message.header.id));
                }
                Turn::Again(item, new) => {
                    let mut message = message(10);
                    line.sent(item, new, &mut message, now);
                    sent.push(("again".into(), message.header.id));
                }
                Turn::Wait(_) | Turn::Nothing => return sent,
            }
        }
    }

    #[test]
    fn at_most_a_window_is_in_flight_and_acks_move_it() {
        let (mut line, now) = (Line::default(), Instant::now());
        (0..100).for_each(|n| line.offer(item(&format!("c{n}")), true));
        let sent = send_all(&mut line, now);
        assert_eq!(sent.len(), WINDOW);
        assert_eq!(sent[0].0, "c0");
        assert_eq!(line.acknowledged(&sent[3].1), Some((item("c3"), 0)));
        assert_eq!(line.acknowledged(&sent[3].1), None);
        assert_eq!(line.acknowledged("other"), None);
        let more = send_all(&mut line, now);
        assert_eq!((more.len(), more[0].0.as_str()), (1, "c32"));
    }

    #[test]
    fn the_latest_of_an_object_goes_when_the_one_before_is_acknowledged() {
        let (mut line, now) = (Line::default(), Instant::now());
        line.offer(item("a"), true);
        let first = send_all(&mut line, now);
        (0..5).for_each(|_| line.offer(item("a"), false));
        line.offer(item("b"), true);
        let between = send_all(&mut line, now);
        assert_eq!((between.len(), between[0].0.as_str()), (1, "b"));
        line.acknowledged(&first[0].1).unwrap();
        assert_eq!(send_all(&mut line, now).len(), 1);
        assert_eq!(line.flying.len(), 2);
    }

    #[test]
    fn what_is_gone_goes_before_what_took_its_place() {
        let (mut line, now) = (Line::default(), Instant::now());
        let gone = Item {
            gone: Some("uid".into()),
            ..item("a")
        };
        line.offer(gone.clone(), false);
        line.offer(item("a"), true);
        let sent = send_all(&mut line, now);
        assert_eq!(sent.len(), 1);
        assert_eq!(line.acknowledged(&sent[0].1), Some((gone, 0)));
        let sent = send_all(&mut line, now);
        line.acknowledged(&sent[0].1).unwrap();
        assert!(matches!(line.turn(now), Turn::Nothing));
    }

    #[test]
    fn the_same_is_sent_again_and_then_given_up_behind_others() {
        let (mut line, start) = (Line::default(), Instant::now());
        line.offer(item("a"), true);
        let id = send_all(&mut line, start)[0].1.clone();
        for seconds in [5, 10, 15, 20] {
            let at = start + Duration::from_secs(seconds);
            let early = at - Duration::from_millis(1);
            assert!(matches!(line.turn(early), Turn::Wait(due) if due == at));
            assert_eq!(send_all(&mut line, at), [("again".to_owned(), id.clone())]);
        }
        line.offer(item("b"), true);
        let at = start + Duration::from_secs(25);
        let names: Vec<String> = send_all(&mut line, at).into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(line.acknowledged(&id), None, "an ack that comes too late");
    }

    #[test]
    fn an_acknowledgement_has_its_time_from_the_end_of_the_writing() {
        let (mut line, start) = (Line::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        line.offer(item("a"), true);
        let id = send_all(&mut line, start)[0].1.clone();
        line.written(&id, at(8));
        assert!(matches!(line.turn(at(8)), Turn::Wait(due) if due == at(13)));
        // The same when it goes out again, and it is given up only after all its attempts.
        let mut end = at(8);
        for _ in 1..ATTEMPTS {
            let begun = end + RESEND;
            assert_eq!(send_all(&mut line, begun).len(), 1);
            end = begun + Duration::from_secs(8);
            line.written(&id, end);
            assert!(matches!(line.turn(end), Turn::Wait(due) if due == end + RESEND));
        }
        assert!(matches!(line.turn(end + RESEND), Turn::Push(it, _) if it == item("a")));
        line.written(&id, end + RESEND);
        assert!(line.flying.is_empty(), "nobody waits for it");
    }

    #[test]
    fn what_has_waited_for_its_turn_goes_as_it_is_then_and_once() {
        let (mut line, now) = (Line::default(), Instant::now());
        let gone = Item {
            gone: Some("uid".into()),
            ..item("a")
        };
        line.offer(item("a"), true);
        assert!(matches!(line.turn(now), Turn::Push(..)));
        line.offer(item("a"), false);
        assert!(line.goes(&item("a"), false));
        assert!(line.waiting.is_empty() && line.known.is_empty());
        // It is gone by then, and another has taken its place.
        line.offer(gone.clone(), false);
        line.offer(item("a"), true);
        assert!(!line.goes(&item("a"), false));
        let sent = send_all(&mut line, now);
        assert_eq!(line.acknowledged(&sent[0].1), Some((gone, 0)));
        let sent = send_all(&mut line, now);
        // It was acknowledged before it went out again.
        assert!(matches!(line.turn(now + RESEND), Turn::Again(..)));
        assert!(line.goes(&item("a"), true));
        assert_eq!(line.acknowledged(&sent[0].1), Some((item("a"), 0)));
        assert!(!line.goes(&item("a"), true));
    }

    #[test]
    fn large_ones_go_one_after_the_other() {
        let (mut line, now) = (Line::default(), Instant::now());
        line.offer(item("a"), true);
        line.offer(item("b"), true);
        let Turn::Push(first, new) = line.turn(now) else {
            panic!("nothing goes");
        };
        line.sent(first, new, &mut message(MAX_BYTES), now);
        assert!(matches!(line.turn(now), Turn::Wait(_)));
    }

    #[test]
    fn what_has_changed_goes_again_as_it_is_now_and_what_is_gone_does_not() {
        let (mut line, start) = (Line::default(), Instant::now());
        line.offer(item("a"), true);
        let first = send_all(&mut line, start);
        let Turn::Again(again, new) = line.turn(start + RESEND) else {
            panic!("it is not sent again");
        };
        let mut later = message(10);
        later.header.resource_version = "7".to_owned();
        let id = later.header.id.clone();
        line.sent(again.clone(), new, &mut later, start + RESEND);
        assert_eq!(later.header.id, id, "it is another message");
        assert_eq!(line.acknowledged(&first[0].1), None);
        assert_eq!(line.acknowledged(&id), Some((item("a"), 7)));
        line.offer(item("a"), false);
        send_all(&mut line, start);
        line.dropped(&again);
        assert!(matches!(line.turn(start), Turn::Nothing));
    }
}
