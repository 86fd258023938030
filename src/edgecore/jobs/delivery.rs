//! Which reports are on their way to the cloud, and how it is known that they have arrived.
//!
//! A cloud of ours says so. From KubeEdge's nothing comes back: but what it answers to a later question shows that it
//! has read the report too, since messages keep their order.

use std::collections::VecDeque;

/// The first reports of those that the cloud has not been told, as far as they were sent over the present session.
#[derive(Default)]
pub struct Delivery {
    session: u64,
    sent: VecDeque<Sent>,
}

struct Sent {
    id: String,
    /// Questions asked before.
    asked: u64,
}

impl Delivery {
    /// What went over an earlier session may be lost.
    pub fn over(&mut self, session: Option<u64>) {
        let session = session.unwrap_or_default();
        if self.session != session {
            *self = Delivery {
                session,
                sent: VecDeque::new(),
            };
        }
    }

    pub fn session(&self) -> u64 {
        self.session
    }

    /// Reports that are under way.
    pub fn count(&self) -> usize {
        self.sent.len()
    }

    pub fn add(&mut self, id: String, asked: u64) {
        self.sent.push_back(Sent { id, asked });
    }

    /// The cloud has read everything up to this report; how many are no longer under way.
    pub fn acknowledged(&mut self, id: &str) -> usize {
        let found = self.sent.iter().position(|it| it.id == id);
        let count = found.map_or(0, |at| at + 1);
        self.sent.drain(..count);
        count
    }

    /// The same by the number of a question that was answered.
    pub fn answered(&mut self, number: u64) -> usize {
        let count = self.sent.iter().take_while(|it| it.asked < number).count();
        self.sent.drain(..count);
        count
    }

    /// The first of all reports has been dropped.
    pub fn forget_first(&mut self) {
        self.sent.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_is_known_by_its_id_or_by_a_later_answer() {
        let mut delivery = Delivery::default();
        delivery.over(Some(1));
        for (id, asked) in [("a", 4), ("b", 4), ("c", 6)] {
            delivery.add(id.to_owned(), asked);
        }
        assert_eq!(delivery.answered(4), 0, "it was asked before");
        assert_eq!(delivery.acknowledged("x"), 0);
        assert_eq!(delivery.acknowledged("a"), 1);
        assert_eq!(delivery.answered(5), 1);
        assert_eq!(delivery.count(), 1);
        delivery.over(Some(1));
        assert_eq!(delivery.count(), 1);
        delivery.over(Some(2));
        assert_eq!((delivery.count(), delivery.session()), (0, 2));
        assert_eq!(delivery.acknowledged("c"), 0);
    }
}
