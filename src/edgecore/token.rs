//! Where a join token waits for the edge, and how it is erased once the identity is safe.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::parent::{self, Order};
use crate::config::first_boot::{self, FirstBootError};
use crate::config::veil::Veil;
use crate::config::{self, ConfigError};
use crate::protocol::token::{JoinToken, TokenError};
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::secret::Secret;

/// The bootstrap file wins over the key in edgecore.yaml, as it does for Go's edgecore.
#[derive(Clone)]
pub struct TokenSource {
    pub host: Host,
    pub bootstrap: PathBuf,
    pub config: PathBuf,
}

/// Why a token that is there can't be used, or erased.
#[derive(Debug)]
pub enum SourceError {
    File(FileError),
    Config(ConfigError),
    /// What a first boot was asked can't be erased.
    FirstBoot(FirstBootError),
    /// The supervisor, which had to do it, did not; a sentence.
    Supervisor(String),
    Token {
        path: PathBuf,
        fault: TokenError,
    },
}

impl TokenSource {
    /// The token that waits, if any.
    pub fn find(&self) -> Result<Option<JoinToken>, SourceError> {
        match self.look() {
            // Somebody has put it there with rights for root alone.
            Err(SourceError::File(error)) if error.is_denied() => {
                match parent::ask(Order::LetRead) {
                    Some(Ok(())) => self.look(),
                    _ => Err(error.into()),
                }
            }
            found => found,
        }
    }

    fn look(&self) -> Result<Option<JoinToken>, SourceError> {
        if let Some(bytes) = self
            .host
            .files
            .read_secret(&self.bootstrap, MAX_TOKEN_FILE)?
            && !bytes.trim_ascii().is_empty()
        {
            return self.parse(&self.bootstrap, text(&bytes)).map(Some);
        }
        match self.configured()? {
            Some(found) => self.parse(&self.config, &found.token).map(Some),
            None => Ok(None),
        }
    }

    /// Erases the token everywhere. Only to be called when the identity is safely on disk.
    pub fn erase(&self) -> Result<(), SourceError> {
        match parent::ask(Order::EraseToken) {
            Some(done) => done.map_err(SourceError::Supervisor),
            None => self.erase_here(),
        }
    }

    fn erase_here(&self) -> Result<(), SourceError> {
        // A file that can't be changed does not keep the other from being removed.
        let first = first_boot::erase(&self.host);
        // Last of all that brought a token here, and only when they are gone: without it, nobody would ask again.
        let removed = match first {
            Ok(_) => self
                .host
                .files
                .remove(&self.bootstrap)
                .map_err(SourceError::from),
            Err(error) => Err(error.into()),
        };
        if let Some(Configured { veil, .. }) = self.configured()? {
            let empty = Value::String(String::new());
            let erased = config::edit::set(veil.text(), &config::path(TOKEN_KEY), &empty)?;
            let erased = veil.lift(&erased);
            let mode = self.host.files.mode(&self.config)?;
            self.host
                .files
                .replace(&self.config, erased.as_bytes(), mode)?;
        }
        removed.map(drop)
    }

    /// What edgecore.yaml holds, when there is a token in it.
    fn configured(&self) -> Result<Option<Configured>, SourceError> {
        let Some(bytes) = self
            .host
            .files
            .read_secret(&self.config, config::MAX_FILE)?
        else {
            return Ok(None);
        };
        let veil = Veil::over(&String::from_utf8_lossy(&bytes));
        let token = config::edit::get(veil.text(), &config::path(TOKEN_KEY))?;
        let token = token.as_ref().and_then(Value::as_str);
        let token = token.map(|token| veil.lift(token));
        Ok(token
            .filter(|token| !token.trim().is_empty())
            .map(|token| Configured { veil, token }))
    }

    fn parse(&self, path: &std::path::Path, text: &str) -> Result<JoinToken, SourceError> {
        text.parse().map_err(|fault| SourceError::Token {
            path: path.to_owned(),
            fault,
        })
    }
}

/// A token in edgecore.yaml, and all of that file.
struct Configured {
    veil: Veil,
    token: Secret<String>,
}

/// What is no text is no token either.
fn text(bytes: &Secret<Vec<u8>>) -> &str {
    bytes.text().unwrap_or("?")
}

impl From<FileError> for SourceError {
    fn from(error: FileError) -> Self {
        SourceError::File(error)
    }
}

impl From<FirstBootError> for SourceError {
    fn from(error: FirstBootError) -> Self {
        SourceError::FirstBoot(error)
    }
}

impl From<ConfigError> for SourceError {
    fn from(error: ConfigError) -> Self {
        SourceError::Config(error)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::File(e) => write!(f, "{e}"),
            SourceError::Config(e) => write!(f, "{e}"),
            SourceError::FirstBoot(e) => write!(f, "{e}"),
            SourceError::Supervisor(sentence) => f.write_str(sentence),
            SourceError::Token { path, fault } => write!(f, "in {}: {fault}", path.display()),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SourceError::File(e) => Some(e),
            SourceError::Config(e) => Some(e),
            SourceError::FirstBoot(e) => Some(e),
            SourceError::Supervisor(_) => None,
            SourceError::Token { fault, .. } => Some(fault),
        }
    }
}

const TOKEN_KEY: &str = "modules.edgeHub.token";
const MAX_TOKEN_FILE: usize = 8 * 1024;
