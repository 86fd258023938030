//! In place of `jobs` in a build without upgrades: nothing that the cloud sends is a job here.

use std::rc::Rc;

use smol::future::pending;

use super::edge::{Edge, Signal};
use crate::protocol::message::Message;

#[derive(Default)]
pub struct Jobs {
    /// A session has begun.
    pub session: Signal,
}

impl Jobs {
    /// Takes none.
    pub fn take(&self, message: Message) -> Option<Message> {
        Some(message)
    }

    /// None is about reports.
    pub fn heard(&self, message: Message) -> Option<Message> {
        Some(message)
    }

    /// None waits.
    pub fn confirm(&self) -> bool {
        false
    }
}

/// Never ends.
pub async fn run(_edge: &Rc<Edge>) {
    pending().await
}
