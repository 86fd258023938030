//! Names of images: `registry/repository:tag@digest`, with the short forms of Docker Hub.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, DigestError};
use crate::system::names::{Endpoint, NameError};

/// What to pull, and from where. With a digest, nothing else than that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// As it is written and shown: `registry.example:5000`, `docker.io`.
    registry: String,
    /// Where requests go.
    endpoint: Endpoint,
    repository: String,
    /// None only where there is a digest.
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    pub fn registry(&self) -> &str {
        &self.registry
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository, and nothing but this content of it.
    pub fn pinned(mut self, digest: Digest) -> Reference {
        self.digest = Some(digest);
        self
    }

    /// What a registry is asked for: the digest, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.as_deref().unwrap_or(LATEST).to_owned(),
        }
    }

    /// The name by tag, as tools list it; none when only a digest was given.
    pub fn tagged(&self) -> Option<String> {
        let tag = self.tag.as_ref()?;
        Some(format!("{}/{}:{tag}", self.registry, self.repository))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        if text.contains("://") {
            return Err(ReferenceError::Scheme);
        }
        if text.len() > MAX_REFERENCE {
            return Err(ReferenceError::TooLong);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(ReferenceError::Digest)?)),
            None => (text, None),
        };
        // A colon behind the last slash begins a tag; one before belongs to the registry's port.
        let last = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[last..].find(':') {
            Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
            None => (name, None),
        };
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let (registry, repository) = split_registry(name);
        let hub = HUB_NAMES.contains(&registry);
        let mut repository = repository.to_owned();
        if hub && !repository.contains('/') {
            repository.insert_str(0, HUB_LIBRARY);
        }
        check_repository(&repository)?;
        let (registry, endpoint) = match hub {
            true => (HUB, HUB_ENDPOINT),
            false => (registry, registry),
        };
        let tag = match (tag, &digest) {
            (None, None) => Some(LATEST),
            (tag, _) => tag,
        };
        Ok(Reference {
            registry: registry.to_owned(),
            endpoint: Endpoint::parse_with_default_port(endpoint, 443)
                .map_err(ReferenceError::Registry)?,
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    Digest(DigestError),
    Registry(NameError),
    Repository(String),
    Scheme,
    Tag,
    TooLong,
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReferenceError::Digest(error) => error.fmt(f),
            ReferenceError::Registry(error) => write!(f, "the registry's address: {error}"),
            ReferenceError::Repository(name) => write!(
                f,
                "{name:?} is no name of a repository: use a-z (lower case), 0-9, '.', '_', '-' and '/', \
                 as in registry.example/kubeedge/cloudcore:v1.23.1"
            ),
            ReferenceError::Scheme => f.write_str(
                "the name of an image has no scheme: write REGISTRY/NAME:TAG, without https://",
            ),
            ReferenceError::Tag => f.write_str(
                "the tag is not one: use letters, digits, '.', '_' and '-', at most 128 of them",
            ),
            ReferenceError::TooLong => write!(
                f,
                "the name of the image is too long: at most {MAX_REFERENCE} characters"
            ),
        }
    }
}

impl std::error::Error for ReferenceError {}

/// The first part is a registry when it can be nothing else: it has a dot or a port, or is localhost.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':', '[']) || first == "localhost" => {
            (first, rest)
        }
        _ => (HUB, name),
    }
}

fn check_repository(name: &str) -> Result<(), ReferenceError> {
    let wrong = || ReferenceError::Repository(name.chars().take(80).collect());
    if name.is_empty() || name.len() > MAX_REPOSITORY {
        return Err(wrong());
    }
    let part_is_good = |part: &str| {
        let ends =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let all = part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        // No "..", which servers might take for a path.
        all && ends(part.chars().next()) && ends(part.chars().last()) && !part.contains("..")
    };
    match name.split('/').all(part_is_good) {
        true => Ok(()),
        false => Err(wrong()),
    }
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let begins_well = !tag.is_empty() && !tag.starts_with(['.', '-']);
    match begins_well && tag.len() <= MAX_TAG && tag.bytes().all(good) {
        true => Ok(()),
        false => Err(ReferenceError::Tag),
    }
}

/// Docker Hub: how it is called, and where it is.
const HUB: &str = "docker.io";
const HUB_NAMES: &[&str] = &[HUB, "index.docker.io", "registry-1.docker.io"];
const HUB_ENDPOINT: &str = "registry-1.docker.io";
const HUB_LIBRARY: &str = "library/";
const LATEST: &str = "latest";
const MAX_REFERENCE: usize = 600;
/// Characters, by the specification.
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        let digest = Digest::of(b"");
        for (text, shown, endpoint) in [
            (
                "alpine",
                "docker.io/library/alpine:latest",
                "registry-1.docker.io:443",
            ),
            (
                "kubeedge/cloudcore:v1.23.1",
                "docker.io/kubeedge/cloudcore:v1.23.1",
                "registry-1.docker.io:443",
            ),
            (
                "index.docker.io/alpine:3",
                "docker.io/library/alpine:3",
                "registry-1.docker.io:443",
            ),
            ("localhost/a", "localhost/a:latest", "localhost:443"),
            (
                "localhost:5000/a/b:1",
                "localhost:5000/a/b:1",
                "localhost:5000",
            ),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000"),
            ("r.example/a", "r.example/a:latest", "r.example:443"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), shown);
            assert_eq!(reference.endpoint().to_string(), endpoint);
            assert_eq!(reference.to_string().parse(), Ok(reference));
        }
        let both: Reference = format!("r.example/a:1@{digest}").parse().unwrap();
        assert_eq!(both.version(), digest.to_string());
        assert_eq!(both.tagged().unwrap(), "r.example/a:1");
        let bare: Reference = format!("r.example/a@{digest}").parse().unwrap();
        assert_eq!(bare.tagged(), None);
    }

    #[test]
    fn what_is_no_name() {
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "A",
            "a:",
            "a:-1",
            "a@",
            "a@sha256:00",
            "a b",
            "a/../b",
            "r.example/../b",
            "r.example//b",
            "r.example:0/a",
            "https://r.example/a",
            "a:b:c",
            "r.example:99999/a",
            "-a",
            "a\n",
            "r.example/a..b",
            "r_example.:5/é",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }
}
