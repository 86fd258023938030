//! From a name to the one image that is meant: what its digest says, for the platform that is asked for.

use std::io::Read;

use serde::Deserialize;

use super::blob::Blob;
use super::client::{Ask, Client, broken};
use super::digest::Digest;
use super::error::RegistryError;
use super::manifest::{self, Answer, Descriptor, MAX_MANIFEST, Manifest, ManifestError};
use super::platform::Platform;
use super::reference::Reference;
use crate::system::paced::Pace;

/// One image for one platform.
pub struct Image {
    /// Of what the name stands for: a list, or the manifest itself.
    pub named: Digest,
    /// Of the manifest.
    pub digest: Digest,
    pub text: Vec<u8>,
    pub manifest: Manifest,
    pub platform: Platform,
}

/// Finds the image, checks every digest on the way, and that it is for this platform.
pub fn image(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
) -> Result<Image, RegistryError> {
    let (text, kind) = fetch(client, reference, &reference.version())?;
    let named = Digest::of(&text);
    if let Some(expected) = reference.digest() {
        check(&reference.to_string(), expected, &named)?;
    }
    match read(reference, &text, kind.as_deref())? {
        Answer::Image(manifest) => {
            let found = said_platform(client, reference, &manifest.config)?;
            if found.suits(platform).is_none() {
                return Err(no_platform(reference, platform, &[found]));
            }
            Ok(Image {
                named,
                digest: named,
                text,
                manifest,
                platform: found,
            })
        }
        Answer::Index(index) => {
            let Some((found, chosen)) = manifest::choose(&index, platform) else {
                let there: Vec<Platform> = index.into_iter().map(|(it, _)| it).collect();
                return Err(no_platform(reference, platform, &there));
            };
            let (text, kind) = fetch(client, reference, &chosen.digest.to_string())?;
            let digest = Digest::of(&text);
            let what = format!("{reference} for {found}");
            check(&what, &chosen.digest, &digest)?;
            match read(reference, &text, kind.as_deref())? {
                Answer::Image(manifest) => Ok(Image {
                    named,
                    digest,
                    text,
                    manifest,
                    platform: found.clone(),
                }),
                // Lists of lists are allowed, and made by nobody.
                Answer::Index(_) => Err(RegistryError::Manifest {
                    image: reference.to_string(),
                    source: ManifestError::Fields,
                }),
            }
        }
    }
}

/// A manifest or a list, and the kind that the registry says it is.
fn fetch(
    client: &Client,
    reference: &Reference,
    version: &str,
) -> Result<(Vec<u8>, Option<String>), RegistryError> {
    let ask = Ask {
        accept: manifest::ACCEPT,
        from: 0,
        pace: Pace::Within(client.options.patience),
    };
    let mut reply = client.get(reference, &format!("/manifests/{version}"), ask)?;
    let kind = reply.headers.get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let mut text = Vec::new();
    let body = reply.body.as_reader().take(MAX_MANIFEST as u64 + 1);
    let mut body = body;
    body.read_to_end(&mut text)
        .map_err(|error| RegistryError::Unreachable {
            server: reply.server,
            cause: broken(&error),
        })?;
    if text.len() > MAX_MANIFEST {
        return Err(RegistryError::TooLarge {
            what: format!("the manifest of {reference}"),
            size: text.len() as u64,
            limit: MAX_MANIFEST as u64,
        });
    }
    Ok((text, kind))
}

fn read(reference: &Reference, text: &[u8], kind: Option<&str>) -> Result<Answer, RegistryError> {
    manifest::read(text, kind).map_err(|source| RegistryError::Manifest {
        image: reference.to_string(),
        source,
    })
}

fn check(what: &str, expected: &Digest, found: &Digest) -> Result<(), RegistryError> {
    match expected == found {
        true => Ok(()),
        false => Err(RegistryError::Digest {
            what: what.to_owned(),
            expected: *expected,
            found: *found,
        }),
    }
}

/// The platform that the configuration of an image tells.
fn said_platform(
    client: &Client,
    reference: &Reference,
    config: &Descriptor,
) -> Result<Platform, RegistryError> {
    let what = format!("the configuration of {reference}");
    let mut nobody = ();
    let mut blob = Blob::open(client, reference, config, what, &mut nobody);
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match blob.next(&mut chunk)? {
            0 => break,
            // The manifest's reader has bounded what a configuration may claim.
            count => text.extend_from_slice(&chunk[..count]),
        }
    }
    let said: Option<Said> = serde_json::from_slice(&text).ok();
    let platform = said.and_then(|said| {
        let variant = said.variant.filter(|it| !it.is_empty());
        let variant = variant.map_or_else(String::new, |it| format!("/{it}"));
        format!("{}/{}{variant}", said.os, said.architecture)
            .parse()
            .ok()
    });
    platform.ok_or_else(|| RegistryError::Manifest {
        image: reference.to_string(),
        source: ManifestError::Fields,
    })
}

fn no_platform(reference: &Reference, platform: &Platform, there: &[Platform]) -> RegistryError {
    let mut names: Vec<String> = there.iter().map(Platform::to_string).collect();
    names.sort();
    names.dedup();
    names.truncate(20);
    RegistryError::NoPlatform {
        image: reference.to_string(),
        platform: platform.clone(),
        there: match names.is_empty() {
            true => "nothing for any platform".to_owned(),
            false => names.join(", "),
        },
    }
}

#[derive(Deserialize)]
struct Said {
    os: String,
    architecture: String,
    variant: Option<String>,
}
