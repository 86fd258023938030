//! How a change that the store refuses is taken back: what it touched becomes what it was.

use std::sync::Arc;

use super::{Effects, State};
use crate::cloudcore::nodes::kept::{Gone, Kept};
use crate::protocol::resource::ObjectPath;

/// What was there before a change.
#[derive(Debug)]
pub enum Before {
    Object(Arc<ObjectPath>, Option<Arc<Kept>>),
    /// By uid.
    Gone(Arc<str>, Option<Box<Gone>>),
}

impl State {
    /// Makes all as it was before the change that had these effects, which must be the last one.
    pub fn undo(&mut self, before: Vec<Before>) {
        for one in before.into_iter().rev() {
            match one {
                Before::Object(path, old) => {
                    if let Some(kept) = self.objects.get(&path).cloned() {
                        self.take(&kept);
                    }
                    if let Some(old) = old {
                        self.insert(old);
                    }
                }
                Before::Gone(uid, old) => self.set_gone(&uid, old.map(|it| *it)),
            }
        }
    }

    pub(super) fn note_object(&self, path: &Arc<ObjectPath>, effects: &mut Effects) {
        // What others keep is never refused.
        if !self.of_others {
            let old = self.objects.get(path).cloned();
            effects.before.push(Before::Object(path.clone(), old));
        }
    }

    pub(super) fn note_gone(&self, uid: &Arc<str>, effects: &mut Effects) {
        if !self.of_others {
            let old = self.gone.get(uid).cloned().map(Box::new);
            effects.before.push(Before::Gone(uid.clone(), old));
        }
    }

    /// Puts what is gone in the place of what was known of this uid.
    pub(super) fn set_gone(&mut self, uid: &Arc<str>, gone: Option<Gone>) {
        for node in self.gone.remove(uid).into_iter().flat_map(|it| it.owed) {
            self.owes_no_more(&node, uid);
        }
        let Some(gone) = gone else {
            return;
        };
        for node in &gone.owed {
            let owed = self.owed.entry(node.clone()).or_default();
            owed.insert(uid.clone());
        }
        self.gone.insert(uid.clone(), gone);
    }
}
