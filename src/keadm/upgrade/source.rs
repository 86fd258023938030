//! Where the new executable is from, and what proves that it is the one that is wanted; it ends up beside
//! the one that it shall replace.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::download::{Url, Web};
use super::error::UpgradeError;
use super::image;
use crate::pki::hash::Sha256Hash;
use crate::pki::minisign::{MinisignError, PublicKey, Signature};
use crate::pki::sums;
use crate::system::console;
use crate::system::files::Appender;
use crate::system::host::Host;
use crate::trial::{KEY, digest, has_room, room, successor};

/// What the command line says of it.
pub struct Wanted<'a> {
    pub from: Where<'a>,
    pub digest: Option<Sha256Hash>,
    /// A file; else it is looked for beside the executable.
    pub signature: Option<&'a str>,
    pub ca: Option<&'a Path>,
    pub proxy: Option<&'a str>,
}

pub enum Where<'a> {
    /// A file or an address.
    Given(&'a str),
    Image(ImageWish),
}

/// What is said of an image; empty is not said.
#[cfg_attr(not(feature = "oci"), expect(dead_code, reason = "nothing is pulled"))]
pub struct ImageWish {
    pub name: String,
    pub digest: String,
    pub auth_file: String,
    pub ca_file: String,
    pub proxy: String,
    pub plain_http: bool,
}

/// Puts the new executable beside `target`, checked; what was there of an earlier try is used or goes.
pub fn stage(host: &Host, wanted: &Wanted<'_>, target: &Path) -> Result<PathBuf, UpgradeError> {
    let key = trusted_key(host)?;
    let source = Source::open(host, wanted)?;
    let name = source.name().to_owned();
    let listed = match wanted.digest {
        Some(digest) => Some(digest),
        None => match source.small(host, LIST)? {
            Some(list) => {
                let found = sums::find(&list, &name);
                Some(found.ok_or_else(|| UpgradeError::NotListed(name.clone()))?)
            }
            None => None,
        },
    };
    let signature = match (&key, wanted.signature) {
        (None, _) => None,
        (Some(_), Some(path)) => {
            let text = host.files.read(Path::new(path), MAX_SIGNATURE)?;
            Some((path.to_owned(), text))
        }
        (Some(_), None) => {
            let file = format!("{name}.minisig");
            let found = source.signature(host, &file, target);
            let text = found.map_err(|error| UpgradeError::Unsigned(error.to_string()))?;
            let text = text.ok_or_else(|| UpgradeError::Unsigned(format!("no {file}")))?;
            Some((file, text))
        }
    };
    // What somebody has put on the device is theirs; what comes over the network is anybody's.
    if listed.is_none() && key.is_none() && matches!(source, Source::Web(..)) {
        return Err(UpgradeError::NoProof(name));
    }
    let staged = source.fetch(host, target, listed)?;
    let checked = check(&staged, listed, key.zip(signature));
    if let Err(error) = checked {
        host.files.remove(&staged)?;
        return Err(error);
    }
    Ok(staged)
}

fn check(
    staged: &Path,
    listed: Option<Sha256Hash>,
    signed: Option<(PublicKey, (String, Vec<u8>))>,
) -> Result<(), UpgradeError> {
    if let Some(wanted) = listed {
        let (wanted, found) = (wanted.to_string(), digest(staged)?);
        if found != wanted {
            return Err(UpgradeError::Digest { wanted, found });
        }
    }
    if let Some((key, (file, text))) = signed {
        let refuse = |source| UpgradeError::Signature {
            file: file.clone(),
            source,
        };
        let text = String::from_utf8_lossy(&text);
        let signature: Signature = text.parse().map_err(refuse)?;
        let content = File::open(staged).map_err(|_| refuse(MinisignError::Unreadable))?;
        key.verify(content, &signature).map_err(refuse)?;
        console::error(&format!("signed: {}", signature.comment.escape_default()));
    }
    Ok(())
}

/// Whose signature every executable must have, if anybody's.
fn trusted_key(host: &Host) -> Result<Option<PublicKey>, UpgradeError> {
    let Some(text) = host.files.read_opt(&host.root.at(KEY), MAX_SIGNATURE)? else {
        return Ok(None);
    };
    let key = String::from_utf8_lossy(&text).parse();
    key.map(Some).map_err(|source| UpgradeError::Signature {
        file: KEY.to_owned(),
        source,
    })
}

enum Source<'a> {
    File(PathBuf),
    Image(&'a ImageWish),
    Web(Box<Web>, Url),
}

impl<'a> Source<'a> {
    fn open(host: &Host, wanted: &'a Wanted<'_>) -> Result<Source<'a>, UpgradeError> {
        let from = match &wanted.from {
            Where::Given(from) => *from,
            Where::Image(wish) => return Ok(Source::Image(wish)),
        };
        match Url::read(from) {
            Some(url) => {
                let url = url?;
                let web = Web::new(host, wanted.ca, wanted.proxy)?;
                Ok(Source::Web(Box::new(web), url))
            }
            None => Ok(Source::File(from.into())),
        }
    }

    fn name(&self) -> &str {
        match self {
            Source::File(path) => path.file_name().and_then(|it| it.to_str()),
            Source::Image(wish) => Some(wish.name.as_str()),
            Source::Web(_, url) => Some(url.name()),
        }
        .unwrap_or_default()
    }

    /// A small file beside it, if there is one.
    fn small(&self, host: &Host, name: &str) -> Result<Option<Vec<u8>>, UpgradeError> {
        match self {
            Source::File(path) => Ok(host.files.read_opt(&path.with_file_name(name), MAX_LIST)?),
            // Its manifest says what it must be.
            Source::Image(_) => Ok(None),
            Source::Web(web, url) => web.small(&url.beside(name)),
        }
    }

    fn signature(
        &self,
        host: &Host,
        name: &str,
        target: &Path,
    ) -> Result<Option<Vec<u8>>, UpgradeError> {
        match self {
            Source::Image(wish) => image::signature(host, wish, &successor(target)),
            _ => self.small(host, name),
        }
    }

    fn fetch(
        &self,
        host: &Host,
        target: &Path,
        digest: Option<Sha256Hash>,
    ) -> Result<PathBuf, UpgradeError> {
        let (files, staged) = (&host.files, successor(target));
        let folder = target.parent().unwrap_or(Path::new("/"));
        let part = digest.map(|digest| part_of(target, &digest));
        clear(host, folder, part.as_deref())?;
        let needs_room = |size: u64| match has_room(folder, size) {
            true => Ok(()),
            false => Err(UpgradeError::Space {
                path: folder.to_owned(),
                needed: size,
            }),
        };
        match self {
            Source::File(path) => {
                needs_room(files.size(path)?)?;
                files.copy(path, &staged, 0o755)?;
            }
            Source::Image(wish) => {
                needs_room(files.size(target)?)?;
                image::fetch(host, wish, &staged)?;
            }
            Source::Web(web, url) => {
                // Nothing is known of its size yet, but that it is about as large as the present one.
                let part = part.unwrap_or_else(|| part_of(target, &Sha256Hash::of(b"")));
                let there = files.size(&part).unwrap_or(0);
                needs_room(files.size(target)?.saturating_sub(there))?;
                let mut file = files.appender(&part, 0o755)?;
                let fetched = fetch(web, url, &mut file, &part, digest);
                drop(file);
                if let Err(error @ UpgradeError::TooLarge { .. }) = fetched {
                    files.remove(&part)?;
                    return Err(error);
                }
                fetched?;
                files.rename(&part, &staged)?;
            }
        }
        Ok(staged)
    }
}

/// Fills a file from the web: once more from the beginning when what was there is of another one.
fn fetch(
    web: &Web,
    url: &Url,
    file: &mut Appender,
    path: &Path,
    wanted: Option<Sha256Hash>,
) -> Result<(), UpgradeError> {
    let room = room(path).saturating_add(file.len());
    let is_joined = web.large(url, file, room, wanted.is_some())?;
    if let Some(wanted) = wanted
        && is_joined
        && digest(path)? != wanted.to_string()
    {
        console::error("what came before is of another file: once more from the beginning");
        file.truncate(0)?;
        web.large(url, file, room, true)?;
    }
    Ok(())
}

/// Where a download of what has this digest is kept until it is complete.
fn part_of(target: &Path, digest: &Sha256Hash) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let digest = digest.to_string();
    target.with_file_name(format!(".{name}.{}.part", &digest[..16]))
}

/// Removes parts of other downloads, and what power cuts have left half written.
fn clear(host: &Host, folder: &Path, kept: Option<&Path>) -> Result<(), UpgradeError> {
    host.files.sweep(folder)?;
    for name in host.files.list(folder, MAX_NAMES)? {
        let path = folder.join(&name);
        let is_part = name.starts_with('.') && name.ends_with(".part");
        if is_part && Some(path.as_path()) != kept {
            host.files.remove(&path)?;
        }
    }
    Ok(())
}

/// `sha256:` and the digits.
pub fn read_digest(text: &str) -> Result<Option<Sha256Hash>, UpgradeError> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let digest = digits.parse().map(Some);
    digest.map_err(|_| UpgradeError::DigestForm(text.chars().take(80).collect()))
}

const LIST: &str = "SHA256SUMS";
/// Bytes.
const MAX_LIST: usize = 64 * 1024;
const MAX_SIGNATURE: usize = 8 * 1024;
const MAX_NAMES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_in_two_ways() {
        let digest = Sha256Hash::of(b"x");
        assert_eq!(read_digest("").unwrap(), None);
        assert_eq!(
            read_digest(&format!("sha256:{digest}")).unwrap(),
            Some(digest)
        );
        assert!(read_digest("sha512:00").is_err());
    }
}
