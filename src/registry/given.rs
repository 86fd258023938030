//! What an operator says about registries on a command line, and the options that come of it.

use std::fmt;
use std::path::Path;

use super::Options;
use super::credentials::{Credentials, CredentialsError};
use crate::pki::foreign::MAX_BUNDLE;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::proxy::{Proxy, ProxyNameError};

/// The values of `--auth-file`, `--ca-file`, `--proxy` and `--plain-http`; empty ones were not given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub auth_file: String,
    pub ca_file: String,
    pub proxy: String,
    pub plain_http: bool,
}

impl Given {
    /// Reads the files. Without `--proxy` the environment's proxy is used.
    pub fn options(&self, host: &Host) -> Result<Options, GivenError> {
        let mut options = Options::new(host);
        options.plain_http = self.plain_http;
        if !self.auth_file.is_empty() {
            let path = Path::new(&self.auth_file);
            options.credentials = Credentials::read(&host.files, path)?;
        }
        if !self.ca_file.is_empty() {
            let path = Path::new(&self.ca_file);
            options.ca = Some(host.files.read(path, MAX_BUNDLE)?);
        }
        options.way.proxy = match self.proxy.as_str() {
            "" => Proxy::from_environment(|name| std::env::var(name).ok())
                .map_err(GivenError::Environment)?,
            url => Some(url.parse().map_err(GivenError::Proxy)?),
        };
        Ok(options)
    }
}

/// What is wrong with what was given.
#[derive(Debug)]
pub enum GivenError {
    Credentials(CredentialsError),
    Environment(ProxyNameError),
    File(FileError),
    Proxy(ProxyNameError),
}

impl From<CredentialsError> for GivenError {
    fn from(error: CredentialsError) -> GivenError {
        GivenError::Credentials(error)
    }
}

impl From<FileError> for GivenError {
    fn from(error: FileError) -> GivenError {
        GivenError::File(error)
    }
}

impl fmt::Display for GivenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GivenError::Credentials(error) => error.fmt(f),
            GivenError::Environment(error) => write!(f, "HTTPS_PROXY: {error}"),
            GivenError::File(error) => error.fmt(f),
            GivenError::Proxy(error) => write!(f, "--proxy: {error}"),
        }
    }
}

impl std::error::Error for GivenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GivenError::Credentials(error) => Some(error),
            GivenError::Environment(error) | GivenError::Proxy(error) => Some(error),
            GivenError::File(error) => Some(error),
        }
    }
}
