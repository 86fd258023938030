//! Why no cluster could be found in what people have written.

use std::fmt;
use std::path::PathBuf;

use crate::system::files::FileError;
use crate::system::proxy::ProxyNameError;
use crate::system::yaml::{self, SyntaxError};

#[derive(Debug)]
pub enum ConfigError {
    File(FileError),
    /// There is an entry of this name in none of the lists.
    Missing {
        /// `contexts`, `clusters`, `users`.
        what: &'static str,
        name: String,
        files: String,
        known: Vec<String>,
    },
    NoContext {
        files: String,
        known: Vec<String>,
    },
    Nowhere {
        looked: Vec<PathBuf>,
    },
    /// The pod says that it is in a cluster, and not how to get to it.
    Pod {
        variable: &'static str,
        value: String,
    },
    /// The proxy that the environment names.
    Proxy(ProxyNameError),
    /// Understood, and not done.
    Refused {
        place: Place,
        key: &'static str,
        why: &'static str,
    },
    Shape {
        place: Place,
        key: String,
        wanted: &'static str,
    },
    Syntax(SyntaxError),
    /// Not UTF-8.
    Text {
        file: String,
    },
    Wrong {
        place: Place,
        sentence: String,
    },
}

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        yaml::place(f, &self.file, self.line)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::File(error) => error.fmt(f),
            ConfigError::Missing {
                what,
                name,
                files,
                known,
            } => {
                write!(f, "there is no {name:?} in the {what} of {files}: ")?;
                choose(f, known, "add one")
            }
            ConfigError::NoContext { files, known } => {
                write!(f, "{files} has no current-context: ")?;
                choose(f, known, "add a context")?;
                f.write_str(" with --context")
            }
            ConfigError::Nowhere { looked } => {
                let looked: Vec<_> = looked.iter().map(|it| it.display().to_string()).collect();
                write!(
                    f,
                    "no kubeconfig was found (looked for {}): name one with --kube-config",
                    looked.join(" and ")
                )
            }
            ConfigError::Pod { variable, value } => write!(
                f,
                "{variable} is {value:?}, which is no address of a cluster: correct it, or name a \
                 kubeconfig with --kube-config"
            ),
            ConfigError::Proxy(error) => write!(f, "HTTPS_PROXY: {error}"),
            ConfigError::Refused { place, key, why } => write!(f, "{place}{key} {why}"),
            ConfigError::Shape { place, key, wanted } => {
                write!(f, "{place}{key} is not {wanted}: correct it")
            }
            ConfigError::Syntax(error) => error.fmt(f),
            ConfigError::Text { file } => {
                write!(f, "{file} is no text: name a kubeconfig with --kube-config")
            }
            ConfigError::Wrong { place, sentence } => write!(f, "{place}{sentence}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConfigError::File(error) => Some(error),
            ConfigError::Proxy(error) => Some(error),
            ConfigError::Syntax(error) => Some(error),
            _ => None,
        }
    }
}

fn choose(f: &mut fmt::Formatter<'_>, known: &[String], otherwise: &str) -> fmt::Result {
    if known.is_empty() {
        return f.write_str(otherwise);
    }
    let known: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
    write!(f, "choose one of {}", known.join(", "))
}
