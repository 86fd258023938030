//! Questions to the cloud and their answers: who waits for what, for how long, and over which session.
//!
//! A question goes out on the newest session, and its answer may come over any that is still up.
//! When a session ends, those who asked over it are told at once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::channel::{Sender, TrySendError, bounded};
use smol::future::or;

use crate::protocol::message::Message;

/// The questions of one edge.
#[derive(Default)]
pub struct Requests {
    sessions: RefCell<Vec<(u64, Sender<Message>)>>,
    last: Cell<u64>,
    /// How many questions were asked.
    asked: Cell<u64>,
    /// The last one that was answered of those asked over a session, and which session.
    answered: Cell<(u64, u64)>,
    waiting: RefCell<HashMap<String, Waiting>>,
}

struct Waiting {
    session: u64,
    number: u64,
    answer: Sender<Message>,
}

/// A session over which can be asked, until this is dropped.
pub struct Attached {
    requests: Rc<Requests>,
    session: u64,
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// There is no session, or it ended before the answer came.
    NoSession,
    /// More questions wait than may.
    TooMany,
    TimedOut(Duration),
}

impl Requests {
    /// From now on, what is asked goes out through `outgoing`.
    pub fn attach(self: &Rc<Self>, outgoing: Sender<Message>) -> Attached {
        let session = self.last.get() + 1;
        self.last.set(session);
        self.sessions.borrow_mut().push((session, outgoing));
        Attached {
            requests: self.clone(),
            session,
        }
    }

    /// Sends a question and waits for its answer, whatever that says.
    pub async fn ask(&self, question: Message, patience: Duration) -> Result<Message, Unanswered> {
        let id = question.header.id.clone();
        let (answer, answered) = bounded(1);
        if self.waiting.borrow().len() >= MAX_WAITING {
            return Err(Unanswered::TooMany);
        }
        let session = self.send(question)?;
        let _forget = Forget(self, &id);
        let number = self.asked.get() + 1;
        self.asked.set(number);
        let waiting = Waiting {
            session,
            number,
            answer,
        };
        self.waiting.borrow_mut().insert(id.clone(), waiting);
        let answered = async { answered.recv().await.map_err(|_| Unanswered::NoSession) };
        let late = async {
            Timer::after(patience).await;
            Err(Unanswered::TimedOut(patience))
        };
        or(answered, late).await
    }

    /// Gives an answer to who waits for it; gives it back when nobody does, be it that it comes too late.
    pub fn answered(&self, answer: Message) -> Option<Message> {
        let waiting = self.waiting.borrow_mut().remove(&answer.header.parent_id);
        match waiting {
            Some(waiting) => {
                let answered = (waiting.session, waiting.number);
                self.answered.set(self.answered.get().max(answered));
                let given = waiting.answer.try_send(answer);
                given.err().map(TrySendError::into_inner)
            }
            None => Some(answer),
        }
    }

    /// The way out over the newest session.
    pub fn outgoing(&self) -> Option<Sender<Message>> {
        let sessions = self.sessions.borrow();
        sessions.last().map(|(_, outgoing)| outgoing.clone())
    }

    /// The number of the newest session; it grows with each that begins.
    pub fn session(&self) -> Option<u64> {
        self.sessions.borrow().last().map(|(number, _)| *number)
    }

    /// How many questions were asked so far, and the last of them that was answered over this session:
    /// whatever was sent before it has been read, too.
    #[cfg_attr(
        not(feature = "upgrade"),
        expect(dead_code, reason = "nothing is reported")
    )]
    pub fn heard(&self, session: u64) -> (u64, u64) {
        let (over, number) = self.answered.get();
        let number = if over == session { number } else { 0 };
        (self.asked.get(), number)
    }

    /// Ends the newest session: the hub takes what is sent, but whoever should answer does not.
    pub fn give_up(&self) {
        if let Some((_, outgoing)) = self.sessions.borrow().last() {
            outgoing.close();
        }
    }

    /// Through the newest session; which that is.
    fn send(&self, message: Message) -> Result<u64, Unanswered> {
        let sessions = self.sessions.borrow();
        let (session, outgoing) = sessions.last().ok_or(Unanswered::NoSession)?;
        match outgoing.try_send(message) {
            Ok(()) => Ok(*session),
            Err(TrySendError::Full(_)) => Err(Unanswered::TooMany),
            Err(TrySendError::Closed(_)) => Err(Unanswered::NoSession),
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let ended = self.session;
        let requests = &self.requests;
        requests
            .sessions
            .borrow_mut()
            .retain(|(number, _)| *number != ended);
        // Dropping the sender tells who waits.
        requests
            .waiting
            .borrow_mut()
            .retain(|_, waiting| waiting.session != ended);
    }
}

/// Whoever stops waiting leaves nothing behind.
struct Forget<'a>(&'a Requests, &'a str);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.waiting.borrow_mut().remove(self.1);
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::NoSession => f.write_str("there is no session with the cloud"),
            Unanswered::TooMany => f.write_str("too many questions wait for the cloud"),
            Unanswered::TimedOut(patience) => {
                write!(
                    f,
                    "the cloud did not answer within {} s",
                    patience.as_secs()
                )
            }
        }
    }
}

impl std::error::Error for Unanswered {}

/// Questions that may wait at once.
const MAX_WAITING: usize = 256;

#[cfg(test)]
mod tests {
    use smol::future::{block_on, poll_once, zip};

    use super::*;
    use crate::protocol::message::Route;
    use crate::system::clock::Timestamp;

    const LONG: Duration = Duration::from_secs(60);
    const NOW: Timestamp = Timestamp::from_unix(1);

    fn question() -> Message {
        Message::new(NOW, Route::default(), &serde_json::Value::Null)
    }

    #[test]
    fn an_answer_finds_who_asked_and_only_once() {
        let requests = Rc::new(Requests::default());
        let (outgoing, sent) = bounded(4);
        let _session = requests.attach(outgoing);
        let cloud = async {
            let first = sent.recv().await.unwrap();
            let second = sent.recv().await.unwrap();
            for question in [&second, &first] {
                let answer = question.answer(NOW, "cloud", "response", &question.header.id);
                assert!(requests.answered(answer.clone()).is_none());
                assert!(requests.answered(answer).is_some());
            }
        };
        let (one, two) = (question(), question());
        let ids = [one.header.id.clone(), two.header.id.clone()];
        let asked = zip(requests.ask(one, LONG), requests.ask(two, LONG));
        let ((one, two), ()) = block_on(zip(asked, cloud));
        assert_eq!(
            [one.unwrap(), two.unwrap()].map(|m| m.header.parent_id),
            ids
        );
        assert!(requests.waiting.borrow().is_empty());
    }

    #[test]
    fn the_end_of_a_session_is_told_to_who_asked_over_it_and_to_no_other() {
        let requests = Rc::new(Requests::default());
        block_on(async {
            assert_eq!(
                requests.ask(question(), LONG).await.unwrap_err(),
                Unanswered::NoSession
            );
            let (old_queue, _old) = bounded(4);
            let (new_queue, new) = bounded(4);
            let old = requests.attach(old_queue);
            let mut over_old = Box::pin(requests.ask(question(), LONG));
            assert!(poll_once(&mut over_old).await.is_none());
            let _new = requests.attach(new_queue);
            let mut over_new = Box::pin(requests.ask(question(), LONG));
            assert!(poll_once(&mut over_new).await.is_none());
            drop(old);
            assert_eq!(over_old.await.unwrap_err(), Unanswered::NoSession);
            let asked = new.recv().await.unwrap();
            let answer = asked.answer(NOW, "cloud", "response", "OK");
            assert!(requests.answered(answer).is_none());
            assert_eq!(over_new.await.unwrap().text().as_deref(), Some("OK"));
        });
    }

    #[test]
    fn nobody_waits_for_ever_and_what_is_late_comes_back() {
        let requests = Rc::new(Requests::default());
        let (outgoing, sent) = bounded(4);
        let _session = requests.attach(outgoing);
        block_on(async {
            let short = Duration::from_millis(1);
            let asked = requests.ask(question(), short).await;
            assert_eq!(asked.unwrap_err(), Unanswered::TimedOut(short));
            let late = sent
                .recv()
                .await
                .unwrap()
                .answer(NOW, "cloud", "response", "OK");
            assert!(requests.answered(late).is_some());
        });
    }

    #[test]
    fn a_session_that_is_given_up_takes_no_more_and_the_next_does() {
        let requests = Rc::new(Requests::default());
        let (old_queue, old) = bounded(4);
        let session = requests.attach(old_queue);
        assert_eq!(requests.session(), Some(1));
        requests.give_up();
        block_on(async {
            assert!(
                old.recv().await.is_err(),
                "its end is seen where it is sent from"
            );
            let asked = requests.ask(question(), LONG).await;
            assert_eq!(asked.unwrap_err(), Unanswered::NoSession);
            drop(session);
            assert_eq!(requests.session(), None);
            let (new_queue, _new) = bounded(4);
            let _session = requests.attach(new_queue);
            assert_eq!(requests.session(), Some(2));
            requests.outgoing().unwrap().try_send(question()).unwrap();
        });
    }

    #[test]
    fn what_waits_is_bounded() {
        let requests = Rc::new(Requests::default());
        let (outgoing, _sent) = bounded(MAX_WAITING * 2);
        let _session = requests.attach(outgoing);
        block_on(async {
            let mut waiting: Vec<_> = (0..MAX_WAITING)
                .map(|_| Box::pin(requests.ask(question(), LONG)))
                .collect();
            for asked in &mut waiting {
                assert!(poll_once(asked).await.is_none());
            }
            assert_eq!(
                requests.ask(question(), LONG).await.unwrap_err(),
                Unanswered::TooMany
            );
            drop(waiting);
            assert!(poll_once(requests.ask(question(), LONG)).await.is_none());
        });
    }
}
