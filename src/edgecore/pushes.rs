//! What the cloud sends unasked, in line for who stores it: bounded, and who brings more has to wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use smol::channel::Sender;

use super::edge::Signal;
use crate::protocol::message::Message;

/// A message that the cloud sent unasked, and where its acknowledgement goes when it is stored.
pub struct Push {
    pub message: Message,
    pub acks: Sender<Message>,
}

/// First in, first out.
#[derive(Default)]
pub struct Pushes {
    queue: RefCell<VecDeque<Push>>,
    bytes: Cell<usize>,
    came: Signal,
    room: Signal,
}

impl Pushes {
    /// Puts a message in line as soon as there is room.
    pub async fn add(&self, push: Push) {
        let size = size(&push);
        while !self.fits(size) {
            self.room.wait().await;
        }
        self.queue.borrow_mut().push_back(push);
        self.bytes.update(|bytes| bytes + size);
        self.came.raise();
        // One wake-up may have been for more than one who waits.
        if self.fits(0) {
            self.room.raise();
        }
    }

    /// Waits until something is there, and takes all that is, but not more than `most`.
    pub async fn take(&self, most: usize) -> Vec<Push> {
        loop {
            let taken: Vec<Push> = {
                let mut queue = self.queue.borrow_mut();
                let most = most.min(queue.len());
                queue.drain(..most).collect()
            };
            if !taken.is_empty() {
                let sizes: usize = taken.iter().map(size).sum();
                self.bytes.update(|bytes| bytes - sizes);
                self.room.raise();
                return taken;
            }
            self.came.wait().await;
        }
    }

    fn fits(&self, size: usize) -> bool {
        let queue = self.queue.borrow();
        queue.is_empty() || (queue.len() < MAX_MESSAGES && self.bytes.get() + size <= MAX_BYTES)
    }
}

fn size(push: &Push) -> usize {
    push.message
        .content
        .as_ref()
        .map_or(0, |content| content.get().len())
}

const MAX_MESSAGES: usize = 128;
/// Of contents. A message of more is let in alone.
const MAX_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use smol::channel::bounded;
    use smol::future::{block_on, poll_once};

    use super::*;
    use crate::protocol::message::Route;
    use crate::system::clock::Timestamp;

    fn push(content: &str) -> Push {
        let message = Message::new(Timestamp::from_unix(1), Route::default(), &content);
        Push {
            message,
            acks: bounded(1).0,
        }
    }

    #[test]
    fn what_does_not_fit_waits_and_keeps_its_turn() {
        let pushes = Pushes::default();
        block_on(async {
            for number in 0..MAX_MESSAGES {
                let added = pushes.add(push(&number.to_string()));
                assert!(poll_once(added).await.is_some());
            }
            let mut late = Box::pin(pushes.add(push("late")));
            let mut later = Box::pin(pushes.add(push("later")));
            assert!(poll_once(&mut late).await.is_none());
            assert!(poll_once(&mut later).await.is_none());
            let taken = pushes.take(2).await;
            let texts: Vec<_> = taken.iter().map(|it| it.message.text().unwrap()).collect();
            assert_eq!(texts, ["0", "1"]);
            assert!(poll_once(&mut late).await.is_some());
            assert!(poll_once(&mut later).await.is_some());
            let rest = pushes.take(usize::MAX).await;
            assert_eq!(rest.len(), MAX_MESSAGES);
            assert_eq!(rest[MAX_MESSAGES - 1].message.text().unwrap(), "later");
            assert!(poll_once(pushes.take(1)).await.is_none());
        });
    }

    #[test]
    fn bytes_are_bounded_and_one_that_is_too_large_comes_alone() {
        let pushes = Pushes::default();
        let large = "x".repeat(MAX_BYTES * 2);
        block_on(async {
            pushes.add(push(&large)).await;
            let mut small = Box::pin(pushes.add(push("small")));
            assert!(poll_once(&mut small).await.is_none());
            assert_eq!(pushes.take(9).await.len(), 1);
            small.await;
            assert!(poll_once(pushes.add(push(&large))).await.is_none());
            assert_eq!(pushes.take(9).await[0].message.text().unwrap(), "small");
        });
    }
}
