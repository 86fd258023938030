//! The user of a kubeconfig: what is shown, and in whose name.

use super::document::Part;
use super::{ConfigError, program};
use crate::kubernetes::Impersonation;
use crate::kubernetes::access::{Access, Login};
use crate::system::secret::Secret;

pub fn read(user: &Part<'_>, cluster: &Part<'_>, access: &mut Access) -> Result<(), ConfigError> {
    if user.get("auth-provider").is_some() {
        return Err(user.refused(
            "auth-provider",
            "was removed from Kubernetes in 1.26: use a credential plugin (exec), a token or a \
             certificate",
        ));
    }
    let certificate = user.material("client-certificate")?;
    access.certificate = match (certificate, user.material("client-key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            let sentence = "a client-certificate without a client-key: give both";
            return Err(user.wrong("client-certificate", sentence.to_owned()));
        }
        (None, Some(_)) => {
            let sentence = "a client-key without a client-certificate: give both";
            return Err(user.wrong("client-key", sentence.to_owned()));
        }
    };
    access.login = login(user, cluster)?;
    access.impersonation = impersonation(user)?;
    Ok(())
}

/// In the order of their weight for kubectl.
fn login(user: &Part<'_>, cluster: &Part<'_>) -> Result<Login, ConfigError> {
    // Older clients wrote it so.
    for key in ["tokenFile", "token-file"] {
        if let Some(path) = user.path(key)? {
            return Ok(Login::TokenFile(path));
        }
    }
    if let Some(token) = user.text("token")? {
        return Ok(Login::Token(Secret::new(token.to_owned())));
    }
    if let Some(name) = user.text("username")? {
        let password = user.text("password")?.unwrap_or_default();
        let both = Secret::<String>::concat(&[name, ":", password]);
        return Ok(Login::Basic(both));
    }
    if user.get("exec").is_some() {
        let program = program::read(&user.part("exec")?, cluster)?;
        return Ok(Login::Program(Box::new(program)));
    }
    Ok(Login::Nothing)
}

fn impersonation(user: &Part<'_>) -> Result<Option<Impersonation>, ConfigError> {
    for key in ["as-uid", "as-user-extra"] {
        if user.get(key).is_some() {
            return Err(user.refused(key, "is not sent: leave it out, or use as and as-groups"));
        }
    }
    let groups = user.texts("as-groups")?;
    match user.text("as")? {
        Some(name) => Ok(Some(Impersonation {
            user: name.to_owned(),
            groups,
        })),
        None if groups.is_empty() => Ok(None),
        None => {
            let sentence = "as-groups without a name: give `as` too".to_owned();
            Err(user.wrong("as-groups", sentence))
        }
    }
}
