//! Who we are to a cluster at this moment: the TLS settings and the header that show it, renewed when
//! files change, when they expire, or when the cluster refuses them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::CallError;
use super::access::{Access, Login, Material, Pair};
use super::plugin;
use crate::pki::tls::{self, Presented};
use crate::pki::{PkiError, foreign};
use crate::system::clock::{Clock, Timestamp};
use crate::system::files::{FileError, Files};
use crate::system::secret::Secret;

/// What is shown. Shared; it never changes, another one takes its place.
pub struct Shown {
    pub tls: Arc<Tls>,
    /// The value of the Authorization header.
    pub authorization: Option<Secret<String>>,
    made: Instant,
    until: Until,
}

/// The settings of a connection. As long as they are the same, connections can be kept.
pub struct Tls {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
    /// What the server showed last.
    pub presented: Presented,
    authorities: Secret<Vec<u8>>,
    identity: Option<Pair>,
}

/// How long it is good.
#[derive(Clone, Copy)]
enum Until {
    Always,
    /// Files may have changed.
    Reread,
    Expires(Option<Timestamp>),
}

/// Makes what is shown out of what is known. All but `at_hand` blocks.
pub struct Holder {
    pub access: Arc<Access>,
    clock: Clock,
    files: Files,
    /// For a credential plugin.
    patience: Duration,
    current: Mutex<Option<Arc<Shown>>>,
    /// Held while one is made, so that not everybody makes one.
    making: Mutex<()>,
}

impl Holder {
    pub fn new(access: Access, clock: &Clock) -> Holder {
        Holder {
            access: Arc::new(access),
            clock: clock.clone(),
            files: Files::real(),
            patience: PATIENCE,
            current: Mutex::new(None),
            making: Mutex::new(()),
        }
    }

    /// What was made before, as long as it is good.
    pub fn at_hand(&self) -> Option<Arc<Shown>> {
        let current = locked(&self.current).clone()?;
        let good = match current.until {
            Until::Always | Until::Expires(None) => true,
            Until::Reread => current.made.elapsed() < REREAD,
            Until::Expires(Some(end)) => self.clock.now().plus(SLACK) < end,
        };
        good.then_some(current)
    }

    /// What is to be shown now.
    pub fn show(&self) -> Result<Arc<Shown>, CallError> {
        let _alone = locked(&self.making);
        match self.at_hand() {
            Some(shown) => Ok(shown),
            None => self.make(),
        }
    }

    /// Another one in the place of one that the cluster has refused; none when there is no other.
    pub fn renew(&self, refused: &Arc<Shown>) -> Result<Option<Arc<Shown>>, CallError> {
        let _alone = locked(&self.making);
        let current = locked(&self.current).clone();
        if let Some(current) = current
            && !Arc::ptr_eq(&current, refused)
        {
            return Ok(Some(current));
        }
        // Who is refused again at once gains nothing by asking on and on.
        if matches!(refused.until, Until::Always) || refused.made.elapsed() < SOONEST {
            return Ok(None);
        }
        let made = self.make()?;
        let same =
            made.authorization == refused.authorization && Arc::ptr_eq(&made.tls, &refused.tls);
        Ok((!same).then_some(made))
    }

    fn make(&self) -> Result<Arc<Shown>, CallError> {
        let before = locked(&self.current).clone();
        let made = match (self.assemble(before.as_deref()), before) {
            (Ok(made), _) => Arc::new(made),
            // What can't be read for a moment may still be as it was.
            (Err(error), Some(before)) if matches!(before.until, Until::Reread) => {
                log::warn!("{error}; going on with what was read before");
                Arc::new(Shown {
                    tls: before.tls.clone(),
                    authorization: before.authorization.clone(),
                    made: Instant::now(),
                    until: Until::Reread,
                })
            }
            (Err(error), _) => return Err(error),
        };
        *locked(&self.current) = Some(made.clone());
        Ok(made)
    }

    fn assemble(&self, before: Option<&Shown>) -> Result<Shown, CallError> {
        let access = &*self.access;
        let file = |error: FileError| CallError::Credentials(error.to_string());
        let mut until = match access.has_files() {
            true => Until::Reread,
            false => Until::Always,
        };
        let mut identity = match &access.certificate {
            Some((certificate, key)) => {
                let read = |material: &Material| material.read(&self.files).map_err(file);
                Some((read(certificate)?, read(key)?))
            }
            None => None,
        };
        let authorization = match &access.login {
            Login::Nothing => None,
            Login::Basic(both) => {
                let encoded = Secret::new(STANDARD.encode(both.as_bytes()));
                Some(Secret::<String>::concat(&["Basic ", &encoded]))
            }
            Login::Token(token) => Some(bearer(token, "the token of the kubeconfig")?),
            Login::TokenFile(path) => {
                let token = Material::File(path.clone()).read(&self.files);
                let token = token.map_err(file)?;
                let name = path.display().to_string();
                Some(bearer(token.text().unwrap_or("\0"), &name)?)
            }
            Login::Program(program) => {
                let credential = plugin::ask(program, access, self.patience)
                    .map_err(|error| CallError::Credentials(error.to_string()))?;
                until = Until::Expires(credential.expires);
                identity = credential.certificate.or(identity);
                let name = program.command.display().to_string();
                let token = credential.token.as_deref();
                token.map(|token| bearer(token, &name)).transpose()?
            }
        };
        let authorities = self.authorities().map_err(CallError::Credentials)?;
        let tls = match before.map(|before| &before.tls) {
            Some(tls) if tls.authorities == authorities && tls.identity == identity => tls.clone(),
            _ => Arc::new(self.tls(authorities, identity)?),
        };
        Ok(Shown {
            tls,
            authorization,
            made: Instant::now(),
            until,
        })
    }

    fn authorities(&self) -> Result<Secret<Vec<u8>>, String> {
        match &self.access.authorities {
            Some(material) => material.read(&self.files).map_err(|it| it.to_string()),
            None => foreign::of_this_machine(&self.files).ok_or_else(|| {
                "neither the kubeconfig nor this machine says which CAs to trust: add \
                 certificate-authority-data to the cluster"
                    .to_owned()
            }),
        }
    }

    fn tls(&self, authorities: Secret<Vec<u8>>, identity: Option<Pair>) -> Result<Tls, CallError> {
        let source = &self.access.source;
        let fault = |error: PkiError| CallError::Credentials(format!("{source}: {error}"));
        let certified = match &identity {
            Some((certificate, key)) => Some(foreign::identity(certificate, key).map_err(fault)?),
            None => None,
        };
        let roots = foreign::authorities(&authorities).map_err(fault)?;
        let presented = Presented::default();
        let config = foreign::client(roots, certified, &self.clock, &presented);
        Ok(Tls {
            config: config.map_err(fault)?,
            name: tls::server_name(self.access.certified_host()).map_err(fault)?,
            presented,
            authorities,
            identity,
        })
    }
}

impl Access {
    fn has_files(&self) -> bool {
        let certificate = self
            .certificate
            .iter()
            .flat_map(|(one, other)| [one, other]);
        let mut materials = certificate.chain(&self.authorities);
        matches!(self.login, Login::TokenFile(_)) || materials.any(Material::is_file)
    }
}

fn bearer(token: &str, name: &str) -> Result<Secret<String>, CallError> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let sentence = format!("{name} holds no token that can be sent: write a new one there");
        return Err(CallError::Credentials(sentence));
    }
    Ok(Secret::<String>::concat(&["Bearer ", token]))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// After which files are read again. The system that writes a pod's token has a new one there long
/// before the old one ends.
const REREAD: Duration = Duration::from_secs(60);
/// Before the end of what a plugin has handed out.
const SLACK: Duration = Duration::from_secs(10);
/// Between two tries to have something else to show.
const SOONEST: Duration = Duration::from_secs(1);
/// For a credential plugin, which may ask a server far away.
const PATIENCE: Duration = Duration::from_secs(30);
