//! What comes after each step of a job, and which steps the cloud hears of: that depends on how old it is.

use crate::protocol::jobs::{Action, Order, Work};

/// The way through a job.
pub struct Course<'a> {
    pub order: &'a Order,
    /// The cloud asks for each step, but has left what comes after a person's agreement to the node.
    pub alone: bool,
}

impl Course<'_> {
    /// What comes after a step; nothing when the job is over, or the cloud is to ask for more.
    pub fn next(&self, action: Action, failed: bool) -> Option<Action> {
        let asks_for_each = self.asks_for_each();
        let is_upgrade = matches!(self.order.work, Work::Upgrade(_));
        match (action, failed) {
            (Action::Init, false) if self.confirm() => Some(Action::WaitingConfirmation),
            _ if asks_for_each && !self.alone => None,
            (Action::Check, false) if is_upgrade => Some(Action::WaitingConfirmation),
            (Action::Check, false) if matches!(self.order.work, Work::PrePull(_)) => {
                Some(Action::Pull)
            }
            (Action::Check | Action::WaitingConfirmation, false) => Some(Action::BackUp),
            (Action::BackUp, false) if is_upgrade => Some(Action::Upgrade),
            (Action::BackUp, false) => Some(Action::Update),
            (Action::Upgrade | Action::Update, true) => Some(Action::RollBack),
            _ => None,
        }
    }

    /// As what the cloud hears of it; nothing when it does not.
    pub fn told(&self, action: Action, failed: bool) -> Option<Action> {
        if self.order.history.is_some() {
            return self.next(action, failed).is_none().then_some(action);
        }
        if !self.asks_for_each() {
            return Some(action);
        }
        match (action, failed) {
            (Action::Init, false) if self.confirm() => Some(Action::WaitingConfirmation),
            // To that cloud the node is in its first state until the upgrade is over.
            (Action::WaitingConfirmation | Action::BackUp, false) if self.alone => None,
            (Action::BackUp, true) if self.alone => Some(Action::Init),
            (Action::Upgrade, true) if self.alone => None,
            _ => Some(action),
        }
    }

    /// A person has to agree first.
    pub fn confirm(&self) -> bool {
        matches!(&self.order.work, Work::Upgrade(upgrade) if upgrade.confirm)
    }

    /// A cloud of v1alpha1; but one before v1.16 asks only once.
    pub fn asks_for_each(&self) -> bool {
        self.order.address.is_stepwise() && self.order.history.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jobs::{Address, Upgrade};
    use crate::protocol::resource::JobFamily;

    fn order(family: JobFamily, confirm: bool, history: Option<&str>) -> Order {
        Order {
            address: Address {
                family,
                job: "j".to_owned(),
                node: "n".to_owned(),
            },
            action: Action::Check,
            history: history.map(str::to_owned),
            checks: Vec::new(),
            work: Work::Upgrade(Upgrade {
                version: "v1.2.3".parse().unwrap(),
                image: None,
                digest: None,
                confirm,
                timeout: None,
            }),
        }
    }

    /// Every step from this one on, as what it is told; `bad` fails.
    fn walk(order: &Order, from: Action, bad: Option<Action>) -> Vec<Option<Action>> {
        let (mut told, mut next, mut alone) = (Vec::new(), Some(from), false);
        while let Some(action) = next {
            let course = Course { order, alone };
            let failed = bad == Some(action);
            told.push(course.told(action, failed));
            next = course.next(action, failed);
            alone |= course.asks_for_each() && next.is_some();
        }
        told
    }

    #[test]
    fn each_generation_of_clouds_hears_what_it_knows() {
        use Action::{BackUp, Check, Init, RollBack, Upgrade, WaitingConfirmation};
        let new = order(JobFamily::NodeUpgrade, true, None);
        let all = [Check, WaitingConfirmation, BackUp, Upgrade].map(Some);
        assert_eq!(walk(&new, Check, None), all);
        let failed = walk(&new, Upgrade, Some(Upgrade));
        assert_eq!(failed, [Upgrade, RollBack].map(Some));
        let stepwise = order(JobFamily::OldUpgrade, false, None);
        for action in [Init, Check, BackUp, Upgrade, RollBack] {
            assert_eq!(walk(&stepwise, action, None), [Some(action)]);
        }
        let asked = order(JobFamily::OldUpgrade, true, None);
        let waits = Some(WaitingConfirmation);
        assert_eq!(walk(&asked, Init, None), [waits, None, None, Some(Upgrade)]);
        assert_eq!(walk(&asked, Init, Some(BackUp)), [waits, None, Some(Init)]);
        assert_eq!(
            walk(&asked, Init, Some(Upgrade)),
            [waits, None, None, None, Some(RollBack)]
        );
        assert_eq!(walk(&asked, Init, Some(Init)), [Some(Init)]);
        let oldest = order(JobFamily::OldUpgrade, false, Some("h"));
        assert_eq!(
            walk(&oldest, Check, None),
            [None, None, None, Some(Upgrade)]
        );
        assert_eq!(walk(&oldest, Check, Some(Check)), [Some(Check)]);
        assert_eq!(
            walk(&oldest, BackUp, Some(Upgrade)),
            [None, None, Some(RollBack)]
        );
    }
}
