//! Which cluster, and as whom: found as kubectl finds it, in kubeconfig files or in the pod we run in.
//!
//! In this order: `--kube-config`; the files of `$KUBECONFIG`, of which the first that has something
//! wins; the service account of the pod, if this is one; `~/.kube/config`; `/root/.kube/config`.

mod document;
mod error;
mod in_cluster;
mod program;
mod user;

use std::path::{Path, PathBuf};

pub use self::document::Files as Kubeconfig;
pub use self::error::{ConfigError, Place};

use self::document::{Part, short};
use super::access::{Access, Login, Material, Server};
use crate::system::host::Host;
use crate::system::names;
use crate::system::proxy::Proxy;
use crate::system::yaml;

/// What a person has said about it.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `--kube-config`.
    pub kube_config: Option<PathBuf>,
    /// `--context`; without one, the `current-context` of the files.
    pub context: Option<String>,
}

/// The environment variables of a process, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Finds the cluster that is meant. Reads files; asks nobody.
pub fn find(
    choice: &Choice,
    host: &Host,
    environment: Environment<'_>,
) -> Result<Access, ConfigError> {
    let mut access = match &choice.kube_config {
        Some(path) => load(std::slice::from_ref(path), Needed::All, choice, host)?,
        None => by_default(choice, host, environment)?,
    };
    if access.proxy.is_none() {
        access.proxy = Proxy::from_environment(environment).map_err(ConfigError::Proxy)?;
    }
    Ok(access)
}

/// The cluster that this pod runs in, whatever else there is.
pub fn pod(host: &Host, environment: Environment<'_>) -> Result<Access, ConfigError> {
    let found = in_cluster::find(host, environment)?;
    found.ok_or_else(|| ConfigError::Nowhere {
        looked: vec![Path::new(in_cluster::FOLDER).join("token")],
    })
}

fn by_default(
    choice: &Choice,
    host: &Host,
    environment: Environment<'_>,
) -> Result<Access, ConfigError> {
    let said = |name| environment(name).filter(|value| !value.is_empty());
    if let Some(list) = said("KUBECONFIG") {
        let paths: Vec<PathBuf> = list
            .split(':')
            .filter(|path| !path.is_empty())
            .take(MAX_FILES)
            .map(PathBuf::from)
            .collect();
        return load(&paths, Needed::Any, choice, host);
    }
    // A context is one of a file.
    if choice.context.is_none()
        && let Some(access) = in_cluster::find(host, environment)?
    {
        return Ok(access);
    }
    let home = said("HOME").map(|home| Path::new(&home).join(".kube/config"));
    let mut looked = Vec::new();
    for path in home.into_iter().chain([PathBuf::from(ROOTS)]) {
        let path = host.root.at(path);
        if path.exists() {
            return load(&[path], Needed::All, choice, host);
        }
        if !looked.contains(&path) {
            looked.push(path);
        }
    }
    Err(ConfigError::Nowhere { looked })
}

/// Which of several files must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    All,
    Any,
}

fn load(
    paths: &[PathBuf],
    needed: Needed,
    choice: &Choice,
    host: &Host,
) -> Result<Access, ConfigError> {
    let mut found = Kubeconfig::default();
    for path in paths {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        match host.files.read(&path, yaml::MAX_TEXT) {
            Ok(text) => found.add(&path, &text)?,
            Err(error) if error.is_not_found() && needed == Needed::Any => {}
            Err(error) => return Err(ConfigError::File(error)),
        }
    }
    if found.is_empty() {
        return Err(ConfigError::Nowhere {
            looked: paths.to_vec(),
        });
    }
    found.access(choice.context.as_deref())
}

impl Kubeconfig {
    /// The cluster and the user of a context.
    pub fn access(&self, context: Option<&str>) -> Result<Access, ConfigError> {
        let name = match context {
            Some(name) => name.to_owned(),
            None => self
                .current_context()?
                .ok_or_else(|| ConfigError::NoContext {
                    files: self.names(),
                    known: self.known("contexts"),
                })?,
        };
        let context = self.named("contexts", &name)?;
        let context = context.part("context")?;
        let cluster_name = context.needed("cluster")?;
        let cluster = self.named("clusters", cluster_name)?.part("cluster")?;
        let mut access = of_cluster(&cluster)?;
        access.namespace = context.text("namespace")?.map(str::to_owned);
        access.source = format!("context {:?} of {}", short(&name), self.names());
        if let Some(user) = context.text("user")? {
            let user = self.named("users", user)?.part("user")?;
            user::read(&user, &cluster, &mut access)?;
        }
        Ok(access)
    }
}

fn of_cluster(cluster: &Part<'_>) -> Result<Access, ConfigError> {
    let server = cluster.needed("server")?;
    let server: Server = server
        .parse()
        .map_err(|error| cluster.wrong("server", format!("the server can't be used: {error}")))?;
    if cluster.truth("insecure-skip-tls-verify")? {
        let key = "insecure-skip-tls-verify";
        return Err(cluster.refused(
            key,
            "would show our secrets to whoever answers: give the cluster's CA instead (kubectl config \
             set-cluster NAME --certificate-authority=FILE --embed-certs), and tls-server-name when \
             its certificate is for another name",
        ));
    }
    let proxy = cluster.text("proxy-url")?;
    let proxy = proxy.map(|url| {
        let read: Result<Proxy, _> = url.parse();
        read.map_err(|error| cluster.wrong("proxy-url", error.to_string()))
    });
    let name = cluster.text("tls-server-name")?;
    let name = name.map(|name| {
        let read: Result<names::Host, _> = name.parse();
        read.map_err(|error| cluster.wrong("tls-server-name", error.to_string()))
    });
    Ok(Access {
        server,
        authorities: cluster.material("certificate-authority")?,
        tls_server_name: name.transpose()?,
        certificate: None,
        login: Login::Nothing,
        proxy: proxy.transpose()?,
        namespace: None,
        impersonation: None,
        source: String::new(),
    })
}

impl Part<'_> {
    /// `KEY-data`, in base64, else the file that `KEY` names.
    fn material(&self, key: &str) -> Result<Option<Material>, ConfigError> {
        if let Some(bytes) = self.bytes(&format!("{key}-data"))? {
            return Ok(Some(Material::Inline(bytes)));
        }
        Ok(self.path(key)?.map(Material::File))
    }
}

const ROOTS: &str = "/root/.kube/config";
/// Files of one `$KUBECONFIG`.
const MAX_FILES: usize = 64;

#[cfg(test)]
mod tests;
