//! What is on the device already: a running edgecore, an identity, a token that waits.

use std::fs;
use std::path::PathBuf;

use super::draft::Draft;
use super::error::JoinError;
use super::wish::Wish;
use crate::keadm::certs::inspect;
use crate::keadm::device::Device;
use crate::keadm::running;
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::hash::Sha256Hash;
use crate::pki::key::PrivateKey;
use crate::protocol::control::{EdgeState, EdgeStatus};
use crate::protocol::token::JoinToken;
use crate::system::clock::Timestamp;
use crate::system::host::Host;
use crate::system::processes::Process;
use crate::system::service;

pub struct Present {
    pub edgecore: Option<EdgeStatus>,
    /// The process that runs as edgecore, whether it answers or not.
    pub pid: Option<u32>,
    pub identity: Option<Identity>,
    /// In the bootstrap file.
    pub token: Option<JoinToken>,
    /// Where a token waits for edgecore.
    pub bootstrap: PathBuf,
    /// An earlier join of this very node was not finished, or only the device knows that it was.
    pub resumed: bool,
}

/// A whole one, whatever its name and time.
pub struct Identity {
    pub key: PrivateKey,
    pub certificate: Certificate,
    pub ca: Certificate,
    /// While the cloud changes its CA, the other one.
    also: Vec<Certificate>,
}

impl Present {
    pub fn look(host: &Host, draft: &Draft) -> Present {
        let bootstrap = host.root.at(BOOTSTRAP);
        let found = host.files.read_secret(&bootstrap, MAX_TOKEN).ok().flatten();
        let text = found.as_ref().and_then(|bytes| bytes.text());
        Present {
            edgecore: running::status(host),
            pid: running::process(host).map(|process| process.pid),
            identity: Identity::read(host, &draft.device),
            token: text.and_then(|text| text.parse().ok()),
            resumed: match &draft.node_before {
                Some(node) => *node == draft.device.node,
                None => draft.is_new() && found.is_some(),
            },
            bootstrap,
        }
    }

    /// The status of an edgecore with a session.
    pub fn connected(&self) -> Option<&EdgeStatus> {
        let edgecore = self.edgecore.as_ref();
        edgecore.filter(|status| status.state == EdgeState::Connected)
    }

    /// Whether edgecore has stopped at something that a start would try anew at once.
    pub fn is_in_trouble(&self) -> bool {
        self.connected().is_none()
            && self
                .edgecore
                .as_ref()
                .is_some_and(|status| status.last_error.is_some())
    }

    /// Whether the device is connected just as it shall be.
    pub fn is_done(&self, draft: &Draft, wish: &Wish) -> bool {
        self.connected().is_some_and(|status| {
            !draft.is_new_way
                && status.node == draft.device.node.as_str()
                && status.cloud == draft.device.hub.to_string()
                && wish
                    .token
                    .as_ref()
                    .is_none_or(|token| self.is_of(status, token.ca_hash()))
        })
    }

    /// Whether the connected device belongs to the cloud with this CA, be it one of two.
    fn is_of(&self, status: &EdgeStatus, pinned: &Sha256Hash) -> bool {
        let own = status
            .certificate
            .as_ref()
            .map(|facts| facts.ca_hash.as_str());
        let trusts = |it: &Identity| own == Some(&it.ca.hash().to_string()) && it.trusts(pinned);
        own == Some(&pinned.to_string()) || self.identity.as_ref().is_some_and(trusts)
    }

    /// Refuses to take a device away from its cloud, or its name from it, without `--force`.
    pub fn check_belonging(&self, draft: &Draft, wish: &Wish) -> Result<(), JoinError> {
        if wish.force {
            return Ok(());
        }
        let token = wish.token.as_ref();
        if let Some(status) = self.connected() {
            let (node, hub) = (draft.device.node.as_str(), draft.device.hub.to_string());
            let is_other_cloud = match token {
                Some(token) => !self.is_of(status, token.ca_hash()),
                None => status.cloud != hub,
            };
            if is_other_cloud || status.node != node {
                return Err(JoinError::Belongs {
                    now: format!("connected to {} as {}", status.cloud, status.node),
                    wanted: format!("to {hub} as {node}"),
                });
            }
            return Ok(());
        }
        // A cloud that was made anew has another CA at the same address: its token decides.
        let has_moved = draft.hub_before.as_ref() != Some(&draft.device.hub);
        match (&self.identity, token) {
            (Some(identity), Some(token)) if !identity.trusts(token.ca_hash()) && has_moved => {
                let before = draft.hub_before.as_ref();
                let before = before.map_or("another cloud".to_owned(), |hub| hub.to_string());
                Err(JoinError::Belongs {
                    now: format!("a node of {before}"),
                    wanted: format!("of {}", draft.device.hub),
                })
            }
            _ => Ok(()),
        }
    }

    /// Another program's edgecore would fight with ours for the node.
    pub fn check_strangers(&self, host: &Host) -> Result<(), JoinError> {
        let files = service::FOLDERS.map(|folder| host.root.at(folder).join("kubeedge"));
        let ours = files.map(|file| fs::canonicalize(file).ok());
        let is_ours = |process: &Process| {
            self.pid == Some(process.pid) || ours.contains(&running::executable(process.pid))
        };
        match running::edgecores(host).iter().find(|it| !is_ours(it)) {
            Some(process) => Err(JoinError::Stranger(process.pid)),
            None => Ok(()),
        }
    }
}

impl Identity {
    pub fn read(host: &Host, device: &Device) -> Option<Identity> {
        let found = inspect::unit(&host.files, &device.key, &device.certificate);
        let (key, certificate) = (found.key?, found.certificate?);
        let (ca, also) = match found.ca {
            Some(ca) => (ca, found.also),
            None => inspect::copies(&host.files, &device.ca)?,
        };
        let is_pair = key.spki_hash() == certificate.spki_hash();
        is_pair.then_some(Identity {
            key,
            certificate,
            ca,
            also,
        })
    }

    /// The CAs of the device's cloud.
    #[cfg_attr(
        not(feature = "upgrade"),
        expect(dead_code, reason = "nothing is told")
    )]
    pub fn trusted(&self) -> Vec<Certificate> {
        [&self.ca].into_iter().chain(&self.also).cloned().collect()
    }

    /// Whether the cloud with this CA is the device's.
    pub fn trusts(&self, ca: &Sha256Hash) -> bool {
        let all = [&self.ca].into_iter().chain(&self.also);
        all.into_iter().any(|it| it.hash() == *ca)
    }

    /// Whether it is good for this node now, at the cloud whose CA the token pins.
    pub fn serves(&self, device: &Device, pinned: Option<&Sha256Hash>, now: Timestamp) -> bool {
        let trusted = std::slice::from_ref(&self.ca);
        self.certificate.subject().node_name().as_ref() == Some(&device.node)
            && pinned.is_none_or(|hash| self.trusts(hash))
            && chain::verify_client(&self.certificate, trusted, now).is_ok()
    }
}

/// Where edgecore looks for a token.
pub const BOOTSTRAP: &str = "/etc/kubeedge/bootstrap-edgecore.conf";
/// Bytes.
const MAX_TOKEN: usize = 8 * 1024;
