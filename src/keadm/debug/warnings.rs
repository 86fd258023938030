//! What the edgecore that runs remembers of its log.

use std::time::Duration;

use crate::protocol::control::{self, ControlError, EDGE_SOCKET, EdgeOp, Remembered, Request};
use crate::system::host::Host;
use crate::system::log::Told;

/// Its warnings and errors, the latest last; none of one that is too old to remember.
pub fn ask(host: &Host) -> Result<Vec<Told>, ControlError> {
    let socket = host.root.at(EDGE_SOCKET);
    let told: Remembered = control::call(&socket, &Request::new(EdgeOp::Log), PATIENCE)?;
    Ok(told.lines)
}

const PATIENCE: Duration = Duration::from_secs(3);
