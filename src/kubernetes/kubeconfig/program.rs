//! The credential plugin of a kubeconfig's user: `exec`.

use std::path::PathBuf;

use super::ConfigError;
use super::document::{Part, short};
use crate::kubernetes::access::Program;
use crate::system::secret::Secret;

pub fn read(exec: &Part<'_>, cluster: &Part<'_>) -> Result<Program, ConfigError> {
    let version = exec.needed("apiVersion")?;
    let api_version = VERSIONS.iter().find(|known| **known == version);
    let api_version = api_version.ok_or_else(|| {
        let wanted = VERSIONS.join(" or ");
        let version = short(version);
        let sentence = format!("{version:?} is not spoken: the plugin must speak {wanted}");
        exec.wrong("apiVersion", sentence)
    })?;
    if exec.text("interactiveMode")? == Some("Always") {
        return Err(exec.refused(
            "interactiveMode",
            "Always: nobody can answer the plugin's questions here; log in with it first, and set \
             IfAvailable",
        ));
    }
    let command = exec.needed("command")?;
    if command.contains('\0') {
        return Err(exec.wrong("command", "a zero byte is in no path".to_owned()));
    }
    // One with a slash is a path, as others in the file; without, it is looked for in PATH.
    let command = match command.contains('/') {
        true => exec.beside(command),
        false => PathBuf::from(command),
    };
    let mut environment = Vec::new();
    for variable in exec.parts("env")? {
        let name = variable.needed("name")?;
        if name.contains(['=', '\0']) {
            let name = short(name);
            return Err(variable.wrong("name", format!("{name:?} is no name of a variable")));
        }
        let value = variable.text("value")?.unwrap_or_default();
        environment.push((name.to_owned(), Secret::new(value.to_owned())));
    }
    let arguments = exec.texts("args")?;
    let texts = arguments.iter().map(String::as_str);
    let values = environment.iter().map(|(_, value)| value.as_str());
    if texts.chain(values).any(|text| text.contains('\0')) {
        return Err(exec.wrong("args", "a zero byte can't be given to a program".to_owned()));
    }
    Ok(Program {
        command,
        arguments,
        environment,
        api_version,
        tell_cluster: exec.truth("provideClusterInfo")?,
        cluster_config: cluster_config(cluster)?,
        install_hint: exec.text("installHint")?.unwrap_or_default().to_owned(),
    })
}

/// What a cluster's extension of this name holds is for the plugin.
fn cluster_config(cluster: &Part<'_>) -> Result<Option<serde_json::Value>, ConfigError> {
    for extension in cluster.parts("extensions")? {
        if extension.text("name")? == Some("client.authentication.k8s.io/exec") {
            return Ok(extension.get("extension").cloned());
        }
    }
    Ok(None)
}

const VERSIONS: &[&str] = &[
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];
