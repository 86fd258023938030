//! What is known of a cluster, and of who we are there: where it listens, whom to trust, what to show.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Impersonation;
use crate::system::files::{FileError, Files};
use crate::system::names::{Endpoint, Host, NameError};
use crate::system::proxy::Proxy;
use crate::system::secret::Secret;

/// All that a way to a cluster is made of. Nothing of it is a secret when it is shown.
#[derive(Clone, Debug)]
pub struct Access {
    pub server: Server,
    /// PEM of the authorities that the server's certificate may be by; none: those of this machine.
    pub authorities: Option<Material>,
    /// The name that the server's certificate must be for, where it is not the one that is dialled.
    pub tls_server_name: Option<Host>,
    /// The certificate that is shown, and its key: PEM.
    pub certificate: Option<(Material, Material)>,
    pub login: Login,
    pub proxy: Option<Proxy>,
    /// Where objects are that are asked for without a namespace.
    pub namespace: Option<String>,
    /// For every request that names nobody else.
    pub impersonation: Option<Impersonation>,
    /// Where all of this was found, for people.
    pub source: String,
}

/// Where a cluster's API is: `https://HOST:PORT/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub endpoint: Endpoint,
    /// What stands before the path of each request: empty, or from a slash on without one at its end.
    pub prefix: String,
}

/// Bytes that are known, or a file that is read when they are needed, and read again later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    File(PathBuf),
    Inline(Secret<Vec<u8>>),
}

/// PEM of a certificate, and of its key.
pub type Pair = (Secret<Vec<u8>>, Secret<Vec<u8>>);

/// What is shown besides a certificate.
#[derive(Clone, Debug)]
pub enum Login {
    /// `user:password`.
    Basic(Secret<String>),
    Nothing,
    /// A program that hands out a token or a certificate.
    Program(Box<Program>),
    Token(Secret<String>),
    TokenFile(PathBuf),
}

/// A credential plugin, as `client.authentication.k8s.io` describes it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Looked for in PATH when it has no slash.
    pub command: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, Secret<String>)>,
    /// `client.authentication.k8s.io/v1` or `…/v1beta1`.
    pub api_version: &'static str,
    /// Whether it is told which cluster it is for.
    pub tell_cluster: bool,
    /// What it is told besides, as the kubeconfig has it.
    pub cluster_config: Option<serde_json::Value>,
    /// Words for people when it is not there.
    pub install_hint: String,
}

impl Material {
    pub fn read(&self, files: &Files) -> Result<Secret<Vec<u8>>, FileError> {
        match self {
            Material::File(path) => files.read(path, MAX_MATERIAL).map(Secret::new),
            Material::Inline(bytes) => Ok(bytes.clone()),
        }
    }

    /// Whether it may change while we run.
    pub fn is_file(&self) -> bool {
        matches!(self, Material::File(_))
    }
}

impl Access {
    /// The host that the server's certificate must name.
    pub fn certified_host(&self) -> &Host {
        let named = self.tls_server_name.as_ref();
        named.unwrap_or(&self.server.endpoint.host)
    }
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Server, ServerError> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
                return Err(ServerError::Plain);
            }
            Some(_) => return Err(ServerError::Form),
            None => text,
        };
        let (address, prefix) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.~%:+,=@".contains(&b);
        if address.contains(['@', '?', '#']) || !prefix.bytes().all(plain) {
            return Err(ServerError::Form);
        }
        Ok(Server {
            endpoint: Endpoint::parse_with_default_port(address, 443)
                .map_err(ServerError::Address)?,
            prefix: prefix.trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.endpoint, self.prefix)
    }
}

/// What is wrong with the URL of a server; continues a sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerError {
    Address(NameError),
    Form,
    /// What is said there could be read, and answered by anybody.
    Plain,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Address(error) => error.fmt(f),
            ServerError::Form => f.write_str("write it as https://HOST:PORT"),
            ServerError::Plain => f.write_str(
                "plain HTTP shows secrets to whoever listens: name the cluster's https:// address",
            ),
        }
    }
}

impl std::error::Error for ServerError {}

/// Bytes of a file of PEM or of a token. Bundles of systems have a quarter of it.
pub const MAX_MATERIAL: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        for (text, shown) in [
            ("https://k.example:6443", "https://k.example:6443"),
            ("HTTPS://k.example/", "https://k.example:443"),
            ("https://[2001:db8::1]:6443", "https://[2001:db8::1]:6443"),
            (
                "https://rancher.example/k8s/clusters/c-1/",
                "https://rancher.example:443/k8s/clusters/c-1",
            ),
            ("10.0.0.1:6443", "https://10.0.0.1:6443"),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!(server.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for (text, part) in [
            ("http://127.0.0.1:8080", "plain HTTP"),
            ("unix:///run/x", "https://HOST:PORT"),
            ("https://user@k.example", "https://HOST:PORT"),
            ("https://k.example/a b", "https://HOST:PORT"),
            ("https://", "empty"),
            ("https://k.example:99999", "port"),
        ] {
            let error = text.parse::<Server>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
