//! The two configuration files: read them, change them without losing a comment, say what is wrong.

pub mod audit;
pub mod cloud;
pub mod duration;
pub mod edge;
pub mod edit;
mod editor;
pub mod first_boot;
pub mod migrate;
mod read;
pub mod set;
mod types;
pub mod veil;

use std::fmt;

use crate::system::secret;
use crate::system::yaml::{self, SyntaxError, place};

pub use crate::system::yaml::{Segment, path, show};

/// No configuration file is larger, in bytes.
pub const MAX_FILE: usize = yaml::MAX_TEXT;

/// What can be wrong with a configuration file, or with a wish to change one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The text is not YAML, or YAML beyond what is read here.
    Syntax {
        file: String,
        line: usize,
        message: String,
    },
    /// A key holds what it cannot hold. `line` is where the key, or else its nearest parent, stands.
    Value {
        file: String,
        line: usize,
        key: String,
        message: String,
    },
    /// A key cannot be changed in place without changing something else.
    Edit { key: String, message: String },
    /// A `--set` item cannot be understood or does not fit its key. Never holds a secret.
    Set { item: String, message: String },
}

impl ConfigError {
    /// The same error with the name of the file, for those who edit a text and know where it is from.
    pub fn in_file(mut self, name: &str) -> ConfigError {
        if let ConfigError::Syntax { file, .. } | ConfigError::Value { file, .. } = &mut self {
            *file = name.to_owned();
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Syntax {
                file,
                line,
                message,
            } => {
                place(f, file, *line)?;
                f.write_str(message)
            }
            ConfigError::Value {
                file,
                line,
                key,
                message,
            } => {
                place(f, file, *line)?;
                write!(f, "{key}: {message}")
            }
            ConfigError::Edit { key, message } => write!(f, "cannot change {key}: {message}"),
            ConfigError::Set { item, message } => write!(f, "--set {item}: {message}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<SyntaxError> for ConfigError {
    fn from(error: SyntaxError) -> ConfigError {
        ConfigError::Syntax {
            file: error.file,
            line: error.line,
            message: error.message,
        }
    }
}

/// A text that must not reach a log: the join token of an old configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret(secret::Secret<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(secret::Secret::new(text.into()))
    }

    /// As it stands in the text under `veil`.
    fn lifted(self, veil: &veil::Veil) -> Secret {
        Secret(veil.lift(self.expose()))
    }

    /// The text itself, for the one who must use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_place_and_key() {
        let error = ConfigError::Value {
            file: String::new(),
            line: 7,
            key: "modules.edgeHub.heartbeat".into(),
            message: "expected whole seconds, found \"x\"".into(),
        };
        assert_eq!(
            error.to_string(),
            "line 7: modules.edgeHub.heartbeat: expected whole seconds, found \"x\""
        );
        assert_eq!(
            error.in_file("/etc/e.yaml").to_string(),
            "/etc/e.yaml:7: modules.edgeHub.heartbeat: expected whole seconds, found \"x\""
        );
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("token")), "Secret(Secret(…))");
    }
}
