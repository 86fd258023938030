//! The cluster that this pod runs in, as its service account.

use super::{ConfigError, Environment};
use crate::kubernetes::access::{Access, Login, Material, Server};
use crate::system::host::Host;
use crate::system::names::Endpoint;

/// None when this is no pod, or one without a token.
pub fn find(host: &Host, environment: Environment<'_>) -> Result<Option<Access>, ConfigError> {
    let said = |name| environment(name).filter(|value| !value.trim().is_empty());
    let Some(address) = said(HOST) else {
        return Ok(None);
    };
    let at = |name: &str| host.root.at(format!("{FOLDER}/{name}"));
    let token = at("token");
    if !token.exists() {
        return Ok(None);
    }
    let wrong = |variable, value: &str| ConfigError::Pod {
        variable,
        value: value.chars().take(MAX_SHOWN).collect(),
    };
    let port = said(PORT).unwrap_or_else(|| "443".to_owned());
    let port = port.trim().parse().map_err(|_| wrong(PORT, &port))?;
    // IPv6 comes without brackets.
    let parsed = address.trim().parse().map_err(|_| wrong(HOST, &address))?;
    let namespace = host.files.read_opt(&at("namespace"), MAX_NAME);
    let namespace = namespace.map_err(ConfigError::File)?;
    let namespace = namespace.and_then(|name| String::from_utf8(name).ok());
    Ok(Some(Access {
        server: Server {
            endpoint: Endpoint::new(parsed, port),
            prefix: String::new(),
        },
        authorities: Some(Material::File(at("ca.crt"))),
        tls_server_name: None,
        certificate: None,
        login: Login::TokenFile(token),
        proxy: None,
        namespace: namespace.map(|name| name.trim().to_owned()),
        impersonation: None,
        source: "the service account of this pod".to_owned(),
    }))
}

const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";
/// Where a pod finds what its service account may show.
pub const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MAX_NAME: usize = 256;
const MAX_SHOWN: usize = 80;
