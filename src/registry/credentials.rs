//! User and password for registries, from a file: docker's `config.json`, or one line `user:password`.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::reference::Reference;
use crate::system::files::{FileError, Files};
use crate::system::secret::Secret;
use crate::system::sorted::SortedMap;

/// What is known of users and passwords; shown by nothing.
#[derive(Clone, Default)]
pub struct Credentials {
    entries: Vec<(Option<String>, Login)>,
}

/// One user with a password.
#[derive(Clone)]
pub struct Login {
    /// `user:password` in base64, as a header has it.
    basic: Secret<String>,
}

impl Login {
    /// The value of `Authorization`.
    pub fn header(&self) -> Secret<String> {
        Secret::<String>::concat(&["Basic ", &self.basic])
    }
}

impl Credentials {
    /// Reads a file.
    pub fn read(files: &Files, path: &Path) -> Result<Credentials, CredentialsError> {
        let text = files.read(path, MAX_FILE).map(Secret::new)?;
        let wrong = |why| CredentialsError::Content {
            path: path.to_owned(),
            why,
        };
        Credentials::parse(&text).map_err(wrong)
    }

    fn parse(text: &[u8]) -> Result<Credentials, &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "it is no text")?;
        if !text.trim_start().starts_with('{') {
            let line = text.lines().next().unwrap_or_default().trim();
            let login = Login::of(line)?;
            return Ok(Credentials {
                entries: vec![(None, login)],
            });
        }
        let config: Config = serde_json::from_str(text).map_err(|_| "it is no JSON of docker's")?;
        let mut entries = Vec::new();
        for (key, entry) in config.auths {
            match entry.login()? {
                Some(login) => entries.push((Some(place(&key).to_owned()), login)),
                None if entry.identitytoken.is_some() => {
                    return Err(
                        "it holds an identity token, which is not spoken: log in with a password \
                                or an access token",
                    );
                }
                None => {}
            }
        }
        let helped = config.creds_store.is_some() || !config.cred_helpers.is_empty();
        if entries.is_empty() && helped {
            return Err(
                "it leaves passwords to a helper program, which is not run here: write \
                        USER:PASSWORD into a file of its own",
            );
        }
        Ok(Credentials { entries })
    }

    /// The login for an image: the entry with the longest name that its registry and repository
    /// begin with.
    pub fn of(&self, reference: &Reference) -> Option<&Login> {
        let image = format!("{}/{}", reference.registry(), reference.repository());
        let fits = |place: &str| {
            let rest = image.strip_prefix(place);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let fitting = self
            .entries
            .iter()
            .filter_map(|(place, login)| match place {
                None => Some((0, login)),
                Some(place) => fits(place).then_some((place.len() + 1, login)),
            });
        fitting
            .max_by_key(|(length, _)| *length)
            .map(|(_, login)| login)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} entries)", self.entries.len())
    }
}

impl Login {
    fn of(pair: &str) -> Result<Login, &'static str> {
        let user = pair.split_once(':').map_or("", |(user, _)| user);
        if user.is_empty() || pair.chars().any(char::is_control) {
            return Err("it holds neither USER:PASSWORD nor docker's JSON");
        }
        Ok(Login {
            basic: Secret::new(STANDARD.encode(pair)),
        })
    }
}

/// The part of a key of docker's that names a registry, and perhaps a repository.
fn place(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let key = key.trim_end_matches('/');
    let key = ["/v1", "/v2"]
        .iter()
        .find_map(|end| key.strip_suffix(end))
        .unwrap_or(key);
    match key {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        key => key,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: SortedMap<String, Entry>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: SortedMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Secretive>,
    username: Option<Secretive>,
    password: Option<Secretive>,
    identitytoken: Option<Secretive>,
}

/// A text that is wiped.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Secretive(Secret<String>);

impl From<String> for Secretive {
    fn from(text: String) -> Secretive {
        Secretive(Secret::new(text))
    }
}

impl Entry {
    fn login(&self) -> Result<Option<Login>, &'static str> {
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Login::of(&Secret::<String>::concat(&[&user.0, ":", &password.0])).map(Some);
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.0.is_empty()) else {
            return Ok(None);
        };
        let decoded = STANDARD.decode(auth.0.trim()).map(Secret::new);
        let decoded = decoded.map_err(|_| "an \"auth\" in it is no base64")?;
        let pair = decoded.text().ok_or("an \"auth\" in it is no text")?;
        // Old tools end it with a zero.
        Login::of(pair.trim_end_matches('\0')).map(Some)
    }
}

/// Why a file of credentials can't be used. Never holds one.
#[derive(Debug)]
pub enum CredentialsError {
    Content { path: PathBuf, why: &'static str },
    File(FileError),
}

impl From<FileError> for CredentialsError {
    fn from(error: FileError) -> CredentialsError {
        CredentialsError::File(error)
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialsError::Content { path, why } => {
                write!(f, "{} can't be used for registries: {why}", path.display())
            }
            CredentialsError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CredentialsError {}

/// Bytes.
const MAX_FILE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, image: &str) -> Option<String> {
        let credentials = Credentials::parse(text.as_bytes()).unwrap();
        let login = credentials.of(&image.parse().unwrap())?.header();
        let basic = login.strip_prefix("Basic ").unwrap();
        Some(String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap())
    }

    #[test]
    fn the_nearest_entry_counts() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOmE="},
            "r.example:5000": {"username": "whole", "password": "b:c"},
            "r.example:5000/team": {"auth": "dGVhbTpkAA=="},
            "none.example": {}
        }}"#;
        assert_eq!(shown(text, "alpine").as_deref(), Some("hub:a"));
        assert_eq!(
            shown(text, "r.example:5000/x").as_deref(),
            Some("whole:b:c")
        );
        assert_eq!(
            shown(text, "r.example:5000/team/x").as_deref(),
            Some("team:d")
        );
        assert_eq!(
            shown(text, "r.example:5000/teamx").as_deref(),
            Some("whole:b:c")
        );
        assert_eq!(shown(text, "r.example/x"), None);
        assert_eq!(shown(text, "none.example/x"), None);
        assert_eq!(
            shown("user:pass\n", "any.example/x").as_deref(),
            Some("user:pass")
        );
    }

    #[test]
    fn what_can_not_be_used_says_why() {
        for (text, part) in [
            ("", "USER:PASSWORD"),
            ("user", "USER:PASSWORD"),
            ("{", "no JSON"),
            (r#"{"credsStore": "pass"}"#, "helper program"),
            (r#"{"auths": {"a.b": {"auth": "!"}}}"#, "base64"),
            (
                r#"{"auths": {"a.b": {"identitytoken": "x"}}}"#,
                "identity token",
            ),
        ] {
            let error = Credentials::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let secret = Credentials::parse(b"user:geheim").unwrap();
        assert!(!format!("{secret:?}").contains("geheim"));
    }
}
