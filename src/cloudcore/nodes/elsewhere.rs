//! What has nodes' objects and is not our own store: what it is asked, and what it is told.

use std::sync::Arc;

use smol::channel::Receiver;

use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::outbox::{Item, Outbox};
use crate::cloudcore::registry::Registered;
use crate::protocol::message::Message;
use crate::protocol::resource::Resource;
use crate::protocol::terms::Terms;
use crate::system::clock::Timestamp;
use crate::system::names::NodeName;

/// It puts what it has into the state of `Nodes`, and answers what nodes ask.
pub trait Elsewhere: Send + Sync {
    /// Starts what goes on beside the sessions.
    fn start(self: Arc<Self>, cloud: &Arc<Cloud>);

    /// Whether all that nodes are to be told is known.
    fn is_synced(&self) -> bool;

    /// A node has a session here.
    fn begun(&self, cloud: &Cloud, registered: &Registered, terms: Option<Terms>);

    /// Whether it answers this, besides what our own store answers.
    fn is_handled(&self, resource: &Resource, operation: &str) -> bool;

    /// Answers a request beside the session, which reads on meanwhile; or at once.
    fn take(
        self: Arc<Self>,
        cloud: &Arc<Cloud>,
        node: &NodeName,
        outbox: &Outbox,
        resource: Resource,
        message: Message,
    ) -> Option<Message>;

    /// A node says how a step of a job went. What is returned says when that is written, and ends without a word
    /// when it can't be; nothing when there is nothing to write.
    fn job_reported(
        &self,
        node: &NodeName,
        message: &Message,
        now: Timestamp,
    ) -> Option<Receiver<()>>;

    /// Whether it is to be told what nodes have acknowledged.
    fn records(&self) -> bool;

    /// A node has an object, or has it no more.
    fn acknowledged(&self, node: &NodeName, item: &Item, uid: &str, version: u64);
}
