//! What a session costs while it rests: thousands do, so what each of them is made of has a bound here.

use std::sync::Arc;

use super::cloud::Cloud;
use super::outbox::{Next, Outbox};
use super::registry::{Registered, SessionFacts};
use super::session;
use crate::authority::Credential;
use crate::protocol::terms::Terms;
use crate::tunnel::{Line, Tunnel};

/// Of the future that a function gives.
fn of_session<F>(
    _: impl Fn(Arc<Cloud>, Tunnel, Registered, Outbox, Option<Terms>, Option<Arc<dyn Line>>) -> F,
) -> usize {
    size_of::<F>()
}

/// Bytes. What is rarely needed belongs into a box that is there only then, as the line of objects is.
#[test]
fn what_each_session_keeps_is_small() {
    let [waiting, line] = Outbox::sizes();
    for (what, size, bound) in [
        ("the task", of_session(session::run), 1536),
        ("its tunnel", size_of::<Tunnel>(), 64),
        ("what it sends next", size_of::<Next>(), 48),
        ("what waits", waiting, 96),
        ("objects on their way", line, 128),
        ("what is told of it", size_of::<SessionFacts>(), 128),
        ("what it was let in by", size_of::<Credential>(), 56),
        ("its registration", size_of::<Registered>(), 48),
    ] {
        assert!(size <= bound, "{what} of a session takes {size} bytes");
    }
}
