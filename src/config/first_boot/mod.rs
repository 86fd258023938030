//! First boot without a person: what the kernel's command line, a file or UCI says of the cloud to join.
//!
//! One image serves many devices: what is theirs alone (`{hostname}`, `{mac}`, `{serial}`) is put in when
//! the device knows it. Only a device without an identity asks.

mod erase;
mod error;
mod name;
pub mod options;
pub mod pairs;

use std::fmt;
use std::path::{Path, PathBuf};

pub use erase::{erase, keeps_token};
pub use error::FirstBootError;
pub use name::{filled, node_name};

use crate::system::files::{FileError, Files};
use crate::system::host::Host;
use crate::system::secret::Secret;
use pairs::Pairs;

/// What a device is asked to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub source: Source,
    /// Long flags of `keadm join`, without dashes, and their values.
    pub flags: Vec<(String, Secret<String>)>,
    /// The node's name, with `{hostname}`, `{mac}` and `{serial}` in it.
    pub name: Option<String>,
    pub token: Secret<String>,
}

/// Where it stands; the first one that asks counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    KernelCommandLine,
    JoinFile,
    Uci,
}

/// Who asks this device to join, if anybody does. A file that others may read is closed to them.
pub fn find(host: &Host) -> Result<Option<Request>, FirstBootError> {
    for source in [Source::KernelCommandLine, Source::JoinFile, Source::Uci] {
        if let Some(pairs) = source.read(host)? {
            return Request::read(host, source, pairs).map(Some);
        }
    }
    Ok(None)
}

/// The same, without what can't be erased.
pub fn find_erasable(host: &Host) -> Option<Request> {
    let sources = [Source::JoinFile, Source::Uci].into_iter();
    let mut found = sources.filter_map(|source| Some((source, source.read(host).ok()??)));
    let (source, pairs) = found.next()?;
    Request::read(host, source, pairs).ok()
}

/// The level of the log that UCI names.
pub fn log_level(host: &Host) -> Option<String> {
    let text = text(&host.files, &host.root.at(UCI)).ok()??;
    options::option(&text, "log_level")
}

/// Makes of a request what edgecore starts from; an argument of edgecore, since it is a command that can.
pub type Prepare = fn(&Host, &Request) -> Result<Prepared, Box<dyn std::error::Error>>;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// There was nothing to write.
    AsItWas,
    /// A person joins or resets the device right now.
    Busy,
    /// edgecore.yaml or the token has changed, for the node of this name.
    Written { node: String, hub: String },
}

impl Source {
    fn read(self, host: &Host) -> Result<Option<Pairs>, FirstBootError> {
        match self {
            Source::KernelCommandLine => {
                let line = host
                    .files
                    .read_secret(&host.root.at(COMMAND_LINE), MAX_FILE)?;
                pairs::of_command_line(line.as_ref().and_then(|line| line.text()).unwrap_or(""))
            }
            Source::JoinFile => match text(&host.files, &host.root.at(JOIN_FILE))? {
                Some(text) => {
                    close_to_others(&host.files, &host.root.at(JOIN_FILE));
                    pairs::of_file(&text).map(Some)
                }
                None => Ok(None),
            },
            Source::Uci => match text(&host.files, &host.root.at(UCI))? {
                Some(text) => {
                    let pairs = options::pairs(&text)?;
                    if pairs.as_ref().is_some_and(|pairs| pairs.has(TOKEN)) {
                        close_to_others(&host.files, &host.root.at(UCI));
                    }
                    Ok(pairs)
                }
                None => Ok(None),
            },
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::KernelCommandLine => "kubeedge.join= of the kernel's command line",
            Source::JoinFile => JOIN_FILE,
            Source::Uci => UCI,
        })
    }
}

impl Request {
    fn read(host: &Host, source: Source, pairs: Pairs) -> Result<Request, FirstBootError> {
        let (mut flags, mut name, mut token, mut file) = (Vec::new(), None, None, None);
        for (key, value) in pairs.0 {
            let is_known = FLAGS.contains(&key.as_str());
            let once = match key.as_str() {
                "node-name" | "edgenode-name" => name.replace(value.to_string()).is_none(),
                TOKEN => token.replace(value).is_none(),
                TOKEN_FILE => file.replace(PathBuf::from(&*value)).is_none(),
                // Other programs have options there as well.
                _ if !is_known && source == Source::Uci => true,
                _ if !is_known => return Err(FirstBootError::UnknownKey { source, key }),
                _ => {
                    let is_list = ["labels", "set"].contains(&key.as_str());
                    let once = is_list || flags.iter().all(|(other, _)| *other != key);
                    flags.push((key.clone(), value));
                    once
                }
            };
            if !once {
                return Err(FirstBootError::Twice { source, key });
            }
        }
        let missing = |what| FirstBootError::Missing { source, what };
        if flags.iter().all(|(key, _)| key != ADDRESS) {
            return Err(missing(ADDRESS));
        }
        let token = match (token, file) {
            (Some(token), None) => token,
            (Some(_), Some(_)) => return Err(FirstBootError::TwoTokens(source)),
            (None, None) => return Err(missing("token or token-file")),
            (None, Some(file)) => match text(&host.files, &host.root.at(&file))? {
                Some(text) => Secret::new(text.trim().to_owned()),
                None => return Err(FirstBootError::NoTokenFile { source, file }),
            },
        };
        Ok(Request {
            source,
            flags,
            name,
            token,
        })
    }
}

/// The text of a file, if it is there; without the mark that some editors put before it.
fn text(files: &Files, path: &Path) -> Result<Option<Secret<String>>, FirstBootError> {
    let Some(bytes) = files.read_secret(path, MAX_FILE)? else {
        return Ok(None);
    };
    let text = bytes
        .text()
        .ok_or_else(|| FirstBootError::NoText(path.to_owned()))?;
    Ok(Some(Secret::new(
        text.trim_start_matches('\u{feff}').to_owned(),
    )))
}

/// It holds, or is to hold, a secret.
fn close_to_others(files: &Files, path: &Path) {
    let closed = || -> Result<(), FileError> {
        let mode = files.mode(path)?;
        if mode & 0o077 != 0 {
            files.set_mode(path, 0o600)?;
            log::warn!(
                "{} had mode {mode:o}, so that others could read the token: it has 600 now",
                path.display()
            );
        }
        Ok(())
    };
    if let Err(error) = closed() {
        log::warn!("others can read the token: {error}");
    }
}

pub const JOIN_FILE: &str = "/etc/kubeedge/join";
/// OpenWrt's.
pub const UCI: &str = "/etc/config/kubeedge";
const COMMAND_LINE: &str = "/proc/cmdline";
/// Bytes of a file.
const MAX_FILE: usize = 64 * 1024;
const ADDRESS: &str = "cloudcore-ipport";
const TOKEN: &str = "token";
const TOKEN_FILE: &str = "token-file";
/// What else of `keadm join` says something of a device that nobody sits at.
const FLAGS: &[&str] = &[
    ADDRESS,
    "bind-address",
    "bind-interface",
    "certport",
    "cgroupdriver",
    "hub-protocol",
    "labels",
    "proxy",
    "remote-runtime-endpoint",
    "set",
];

#[cfg(test)]
mod tests;
