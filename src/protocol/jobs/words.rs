//! The words of a job that become arguments of a program: each a type, and none that could be an option.

use std::fmt;
use std::str::FromStr;

use super::BadJob;

/// `v1.23.1`, `v1.23.1-rc.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

/// The name of an image, with at least one `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(String);

/// `sha256:` and 64 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(String);

/// A key of edgecore.yaml and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    key: String,
    value: String,
}

impl Version {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Image {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Digest {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = BadJob;

    /// What KubeEdge's edges accept: `vN.N.N`, and parts of letters, digits, `_` and `.` after dashes.
    fn from_str(text: &str) -> Result<Version, BadJob> {
        let is_part = |part: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            !part.is_empty() && part.chars().all(fits)
        };
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        let fits = || {
            let mut parts = text.strip_prefix('v')?.split('-');
            let numbers: Vec<&str> = parts.next()?.split('.').collect();
            let good = numbers.len() == 3 && numbers.into_iter().all(is_number);
            (good && parts.all(is_part)).then_some(())
        };
        match text.len() <= MAX_VERSION && fits().is_some() {
            true => Ok(Version(text.to_owned())),
            false => Err(BadJob::Version(text.to_owned())),
        }
    }
}

/// Why a node does not understand jobs, by what it says of its version, such as `v1.32.10-kubeedge-v1.23.1`;
/// who says nothing of it is asked.
pub fn too_old(kubelet: &str) -> Option<String> {
    let numbers = || {
        let (_, own) = kubelet.split_once("-kubeedge-v")?;
        let mut parts = own.split(['.', '-', '+']);
        let mut number = || parts.next()?.parse::<u32>().ok();
        Some((number()?, number()?))
    };
    let is_old = numbers().is_some_and(|version| version < FIRST);
    is_old.then(|| {
        format!(
            "it has {kubelet}: such jobs are for edgecore from v1.21 on, upgrade it on the device"
        )
    })
}

impl FromStr for Image {
    type Err = BadJob;

    fn from_str(text: &str) -> Result<Image, BadJob> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let good = begins && text.contains('/') && !text.ends_with('/') && !text.contains("..");
        match text.len() <= MAX_IMAGE && good && text.chars().all(fits) {
            true => Ok(Image(text.to_owned())),
            false => Err(BadJob::Image(text.to_owned())),
        }
    }
}

impl FromStr for Digest {
    type Err = BadJob;

    fn from_str(text: &str) -> Result<Digest, BadJob> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        match hex.len() == 64 && hex.bytes().all(is_hex) {
            true => Ok(Digest(text.to_owned())),
            false => Err(BadJob::Digest(text.to_owned())),
        }
    }
}

impl Wish {
    /// Refuses what would let who sends jobs run programs, read or write other files, or allow itself
    /// more: that stays with who owns the device.
    pub fn new(key: &str, value: &str) -> Result<Wish, BadJob> {
        let refused = || BadJob::Wish(key.to_owned());
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_[]".contains(c);
        let parts: Vec<&str> = key.split('.').collect();
        let last = parts.last().copied().unwrap_or_default();
        let is_path = PATHS.iter().any(|end| last.ends_with(end));
        let is_kept = KEPT.iter().any(|kept| {
            let kept: Vec<&str> = kept.split('.').collect();
            parts.len() >= kept.len() && kept.iter().zip(&parts).all(|(a, b)| name(b) == *a)
        });
        let deep =
            parts.len() > 2 && parts[0] == "modules" && parts.iter().all(|it| !it.is_empty());
        // What separates wishes on a command line, or begins another notation, is no value here.
        let plain = |c: char| !c.is_control() && !",{}\"".contains(c);
        let good = key.len() <= MAX_KEY
            && value.len() <= MAX_VALUE
            && key.chars().all(fits)
            && value.chars().all(plain);
        match deep && good && !is_path && !is_kept {
            true => Ok(Wish {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            false => Err(refused()),
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }
}

/// As `--set` takes it.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl FromStr for Wish {
    type Err = BadJob;

    fn from_str(text: &str) -> Result<Wish, BadJob> {
        let (key, value) = text.split_once('=').ok_or(BadJob::Shape)?;
        Wish::new(key, value)
    }
}

fn name(part: &str) -> &str {
    part.split('[').next().unwrap_or(part)
}

/// Ends of keys whose values are paths.
const PATHS: &[&str] = &["File", "Dir", "Directory", "Path", "Folder", "Endpoint"];
const KEPT: &[&str] = &[
    "modules.edgeHub.sandbox",
    "modules.edgeHub.token",
    "modules.metaManager.deliver",
    "modules.taskManager",
];
/// KubeEdge's version that brought jobs of v1alpha2.
const FIRST: (u32, u32) = (1, 21);
const MAX_VERSION: usize = 128;
const MAX_IMAGE: usize = 255;
const MAX_KEY: usize = 200;
const MAX_VALUE: usize = 512;
