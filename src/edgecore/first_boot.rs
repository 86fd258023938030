//! First boot without a person: what a device without an identity is asked to join becomes its
//! configuration and its token, before the hub starts and whenever the request changes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::identity::{Identity, IdentityError, Place};
use super::settings::{BOOTSTRAP, CONFIG};
use crate::config;
use crate::config::edge::EdgeConfig;
use crate::config::first_boot::{self, Prepare, Prepared, Request};
use crate::protocol::token::JoinToken;
use crate::system::host::Host;
use crate::system::randomness;

/// The supervisor's, for as long as it has no identity to look after.
pub struct FirstBoot {
    host: Host,
    config: PathBuf,
    prepare: Prepare,
    /// Nobody is asked any more.
    is_over: bool,
    /// Process 1 has started us, and would start us again at once, for ever.
    is_inits: bool,
    /// What was prepared last.
    done: Option<Request>,
    /// What was wrong last, so that it is told once.
    fault: Option<String>,
    next: Instant,
}

impl FirstBoot {
    /// Looks at once.
    pub fn begin(host: &Host, config: PathBuf, prepare: Prepare) -> FirstBoot {
        let mut first = FirstBoot {
            host: host.clone(),
            prepare,
            // Whoever starts edgecore with another file knows what is in it.
            is_over: config != host.root.at(CONFIG),
            is_inits: nix::unistd::getppid().as_raw() == 1,
            config,
            done: None,
            fault: None,
            next: Instant::now(),
        };
        // A key is not read without randomness; then a file is taken for what it seems to be.
        if !randomness::is_there() {
            first.is_over |= host.files.exists(&first.place().key);
        }
        if !first.is_over {
            match first.identity() {
                Ok(identity) => {
                    first.is_over = true;
                    tidy(host, &identity);
                }
                // Whether there is one can't be seen, and then the hub says why.
                Err(IdentityError::File(error)) if !error.is_not_found() => first.is_over = true,
                Err(_) => {}
            }
        }
        first.look();
        if first.must_wait() && first.fault.is_none() {
            let config = first.config.display();
            log::warn!(
                "there is no {config}, and nothing asks this device to join: waiting for either"
            );
        }
        first
    }

    /// Asks, when it is time to; true when there is something new for the hub to read.
    pub fn look(&mut self) -> bool {
        if self.is_over || Instant::now() < self.next {
            return false;
        }
        self.next = Instant::now() + LOOK;
        match self.attempt() {
            Ok(is_new) => {
                self.fault = None;
                is_new
            }
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    log::error!("{fault}: it is tried again as soon as that has changed");
                }
                self.fault = Some(fault);
                false
            }
        }
    }

    /// The next look is now.
    pub fn hurry(&mut self) {
        self.next = Instant::now();
    }

    /// The device has its identity, as far as the token is concerned.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// How long until the next look.
    pub fn rest(&self) -> Duration {
        match self.is_over {
            true if self.must_wait() => LOOK,
            true => Duration::MAX,
            false => self.next.saturating_duration_since(Instant::now()),
        }
    }

    /// Whether there is nothing to start a hub with, and somebody is served by waiting for it: who has asked the
    /// device something that came to nothing yet, or an init that does not wait itself.
    pub fn must_wait(&self) -> bool {
        let is_asked = !self.is_over && self.fault.is_some();
        (is_asked || self.is_inits) && !self.host.files.exists(&self.config)
    }

    fn attempt(&mut self) -> Result<bool, String> {
        let request = match first_boot::find(&self.host).map_err(|error| error.to_string())? {
            Some(request) if self.done.as_ref() != Some(&request) => request,
            _ => return Ok(false),
        };
        let source = request.source;
        let prepared = (self.prepare)(&self.host, &request);
        match prepared.map_err(|error| format!("{source}: {error}"))? {
            Prepared::Busy => return Ok(false),
            Prepared::AsItWas => {}
            Prepared::Written { node, hub } => {
                log::info!("{source} asks to join {hub} as {node}");
                self.done = Some(request);
                return Ok(true);
            }
        }
        self.done = Some(request);
        Ok(false)
    }

    fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::read(&self.host.files, &self.place())
    }

    /// Where it is, or will be.
    fn place(&self) -> Place {
        let (root, files) = (&self.host.root, &self.host.files);
        let text = files
            .read_opt(&self.config, config::MAX_FILE)
            .ok()
            .flatten();
        let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
        // A file that can't be understood says nothing of where it is.
        let hub = EdgeConfig::load(&text, "").map(|(config, _)| config.hub);
        let hub = hub.unwrap_or_default();
        Place {
            key: root.at(&hub.tls_private_key_file),
            certificate: root.at(&hub.tls_cert_file),
            ca: root.at(&hub.tls_ca_file),
        }
    }
}

/// A power cut may have come before the end of the token, or a new firmware has brought it again. While
/// the bootstrap file is there, a session decides.
fn tidy(host: &Host, identity: &Identity) {
    if host.files.exists(&host.root.at(BOOTSTRAP)) {
        return;
    }
    let Some(request) = first_boot::find_erasable(host) else {
        return;
    };
    let source = request.source;
    let token: Option<JoinToken> = request.token.parse().ok();
    if !token.is_some_and(|token| identity.trusts(token.ca_hash())) {
        return log::warn!(
            "{source} is not used, since the device has an identity: `keadm reset edge` first"
        );
    }
    match first_boot::erase(host) {
        Ok(_) => log::info!("the token of {source} was erased: the device has its identity"),
        Err(error) => log::warn!("{error}"),
    }
}

/// While there is no identity.
pub const LOOK: Duration = Duration::from_secs(5);
