//! What a join writes, for a device that nobody sits at: no network, no service, no links.
//!
//! edgecore, which runs already, has it done and then enrols by itself, for as long as it takes.

use super::draft::Draft;
use super::error::JoinError;
use super::present::BOOTSTRAP;
use super::wish::{API_PORT, HUB_PORT, Wish};
use super::{Flags, SPEC, configure};
use crate::config::first_boot::{self, Prepare, Prepared, Request};
use crate::keadm::lock::{self, LockError};
use crate::protocol::token::JoinToken;
use crate::system::args::{self, Stop};
use crate::system::host::Host;
use crate::system::names::Endpoint;

pub const AT_FIRST_BOOT: Prepare = |host, request| Ok(prepare(host, request)?);

fn prepare(host: &Host, request: &Request) -> Result<Prepared, JoinError> {
    let _lock = match lock::take(host) {
        Err(LockError::Busy(_)) => return Ok(Prepared::Busy),
        lock => lock?,
    };
    let token: JoinToken = request.token.parse()?;
    let mut words = Vec::new();
    for (flag, value) in &request.flags {
        words.push(format!("--{flag}={}", **value));
    }
    let given = args::parse::<Flags>(&SPEC, &words).map_err(|stop| match stop {
        Stop::Usage(sentence) | Stop::Help(sentence) => JoinError::FirstBoot(sentence),
    })?;
    let mut wish = Wish::read(host, &given.flags)?;
    if let Some(template) = &request.name {
        let card = wish.uplink.interface.as_ref().map(ToString::to_string);
        let name = first_boot::node_name(host, template, card.as_deref());
        wish.node = Some(name.map_err(|error| JoinError::FirstBoot(error.to_string()))?);
    }
    let draft = Draft::make(host, &wish, Some(&api(&wish)))?;
    let bootstrap = host.root.at(BOOTSTRAP);
    // It is not written when it is there already: a device may boot many times without a network.
    let there = host.files.read_secret(&bootstrap, MAX_TOKEN)?;
    let there = there.as_ref().and_then(|bytes| bytes.text());
    let is_there = there.and_then(|text| text.parse().ok()).as_ref() == Some(&token);
    let done = configure(host, &draft, &bootstrap, (!is_there).then_some(&token))?;
    Ok(match done.is_empty() {
        true => Prepared::AsItWas,
        false => Prepared::Written {
            node: draft.device.node.to_string(),
            hub: draft.device.hub.to_string(),
        },
    })
}

/// A cloud at a port of its own has its certificate API there as well, unless the request says
/// otherwise; a join asks the cloud, which may be out of reach at a first boot.
fn api(wish: &Wish) -> Endpoint {
    let port = match wish.hub.port {
        HUB_PORT => API_PORT,
        port => port,
    };
    Endpoint::new(wish.hub.host.clone(), wish.certport.unwrap_or(port))
}

/// Bytes.
const MAX_TOKEN: usize = 8 * 1024;

#[cfg(test)]
mod tests;
