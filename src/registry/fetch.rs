//! One file out of an image: its layers from the newest on, until one has the file or says it is gone.

use std::path::Path;

use super::blob::Blob;
use super::client::Client;
use super::digest::{Digest, Hasher};
use super::error::RegistryError;
use super::manifest::Layer;
use super::platform::Platform;
use super::progress::Progress;
use super::reference::Reference;
use super::resolve;
use super::tar::{self, Archive, Entry, Kind, TarError};
use super::unpack::{UnpackError, Unpacker};
use crate::system::files::Draft;

/// A file that was taken out of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Of the file.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Where it was in the image.
    pub path: String,
    /// Of what the name stands for, as pins have it: the list of images, or the image.
    pub image: Digest,
    /// Of the image for this platform.
    pub manifest: Digest,
}

pub fn file(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    wanted: &[&str],
    into: &Path,
    progress: &mut dyn Progress,
) -> Result<Fetched, RegistryError> {
    let image = resolve::image(client, reference, platform)?;
    let layers = &image.manifest.layers;
    let none = || RegistryError::NoFile {
        image: reference.to_string(),
        wanted: wanted.join(" or "),
    };
    let mut search: Vec<Wanted> = wanted
        .iter()
        .filter_map(|path| tar::parts(path))
        .map(|path| Wanted {
            path,
            from: layers.len(),
            gone: false,
        })
        .collect();
    // Where a link leads somewhere else, the search begins again, for that.
    for _ in 0..MAX_LINKS {
        let mut linked = None;
        for (at, layer) in layers.iter().enumerate().rev() {
            let what = format!("layer {} of {}", layers.len() - at, layers.len());
            let mut pass = Pass {
                client,
                reference,
                layer,
                at,
                what,
                into,
            };
            let (found, link) = pass.run(&mut search, progress)?;
            let to_found = |link: &Link, found: &Found<'_>| link.target == found.path;
            match (found, link) {
                (Some(found), None) => return found.commit(&image),
                (Some(found), Some(link)) if found.rank < link.rank || to_found(&link, &found) => {
                    return found.commit(&image);
                }
                (_, Some(link)) => {
                    linked = Some((link, at));
                    break;
                }
                (None, None) => {}
            }
            if search.iter().all(|wanted| wanted.gone) {
                break;
            }
        }
        let Some((link, at)) = linked else {
            return Err(none());
        };
        let from = match link.is_hard {
            // It means what its own layer has there.
            true => at + 1,
            false => layers.len(),
        };
        search[link.rank] = Wanted {
            path: link.target,
            from,
            gone: false,
        };
        for wanted in &mut search {
            wanted.gone = false;
        }
    }
    let way = wanted.join(" or ");
    Err(RegistryError::Unpack {
        what: reference.to_string(),
        source: UnpackError::Tar(TarError::Link(tar::short(&way))),
    })
}

/// A path that is looked for.
struct Wanted {
    path: Vec<String>,
    /// Only in layers before this one.
    from: usize,
    /// Layers below do not show what they have of it.
    gone: bool,
}

struct Found<'a> {
    rank: usize,
    path: Vec<String>,
    draft: Draft<'a>,
    digest: Digest,
    size: u64,
}

struct Link {
    rank: usize,
    target: Vec<String>,
    is_hard: bool,
}

impl Found<'_> {
    fn commit(self, image: &resolve::Image) -> Result<Fetched, RegistryError> {
        self.draft.commit()?;
        Ok(Fetched {
            digest: self.digest,
            size: self.size,
            path: self.path.join("/"),
            image: image.named,
            manifest: image.digest,
        })
    }
}

/// One layer, from its first byte to its last.
struct Pass<'a> {
    client: &'a Client,
    reference: &'a Reference,
    layer: &'a Layer,
    at: usize,
    what: String,
    into: &'a Path,
}

impl<'a> Pass<'a> {
    /// What the layer has of what is wanted, once its digest has proved right.
    fn run(
        &mut self,
        search: &mut [Wanted],
        progress: &mut dyn Progress,
    ) -> Result<(Option<Found<'a>>, Option<Link>), RegistryError> {
        let descriptor = &self.layer.descriptor;
        let limit = self.client.options.limits.image;
        if descriptor.size > limit {
            return Err(RegistryError::TooLarge {
                what: self.named(),
                size: descriptor.size,
                limit,
            });
        }
        progress.begin(&self.what, descriptor.size);
        let (client, reference) = (self.client, self.reference);
        let mut blob = Blob::open(client, reference, descriptor, self.named(), progress);
        let looked = self.look(&mut blob, search);
        if let Some(fault) = blob.fault() {
            return Err(fault);
        }
        let looked = looked?;
        blob.drain()?;
        Ok(looked)
    }

    fn look(
        &self,
        blob: &mut Blob<'_>,
        search: &mut [Wanted],
    ) -> Result<(Option<Found<'a>>, Option<Link>), RegistryError> {
        let unpacked = self.client.options.limits.unpacked;
        let mut archive = Archive::new(Unpacker::new(self.layer.packed, blob, unpacked));
        let (mut found, mut link): (Option<Found<'a>>, Option<Link>) = (None, None);
        // What a layer says of lower ones does not hold for itself.
        let mut hidden = vec![false; search.len()];
        let fault = |error: std::io::Error| self.fault(&error);
        while let Some(entry) = archive.entry().map_err(fault)? {
            for (rank, wanted) in search.iter().enumerate() {
                if wanted.gone || self.at >= wanted.from {
                    continue;
                }
                match relation(&entry, &wanted.path) {
                    Relation::None => {}
                    Relation::Hides => hidden[rank] = true,
                    Relation::Itself if entry.kind == Kind::File => {
                        link = link.filter(|link| link.rank != rank);
                        if found.as_ref().is_none_or(|found| rank <= found.rank) {
                            // The earlier draft goes before the next is begun.
                            drop(found.take());
                            found = Some(self.extract(&mut archive, &entry, rank)?);
                            break;
                        }
                    }
                    Relation::Itself | Relation::Above
                        if matches!(entry.kind, Kind::SymLink | Kind::HardLink) =>
                    {
                        found = found.filter(|found| found.rank != rank);
                        let target = target(&entry, &wanted.path);
                        let target = target.ok_or_else(|| {
                            self.refused(TarError::Link(tar::short(&entry.path.join("/"))))
                        })?;
                        if link.as_ref().is_none_or(|link| rank <= link.rank) {
                            link = Some(Link {
                                rank,
                                target,
                                is_hard: entry.kind == Kind::HardLink,
                            });
                        }
                    }
                    Relation::Above if entry.kind == Kind::Directory => {}
                    // A file, or worse, where a folder was.
                    Relation::Above => hidden[rank] = true,
                    Relation::Itself => {
                        let path = tar::short(&entry.path.join("/"));
                        return Err(self.refused(TarError::NoFile(path)));
                    }
                }
            }
        }
        for (wanted, hidden) in search.iter_mut().zip(hidden) {
            wanted.gone |= hidden;
        }
        Ok((found, link))
    }

    fn extract(
        &self,
        archive: &mut Archive<impl std::io::Read>,
        entry: &Entry,
        rank: usize,
    ) -> Result<Found<'a>, RegistryError> {
        let options = &self.client.options;
        if entry.size > options.limits.file {
            return Err(RegistryError::TooLarge {
                what: format!("{} in {}", entry.path.join("/"), self.named()),
                size: entry.size,
                limit: options.limits.file,
            });
        }
        let mut draft = options.files.draft(self.into, MODE)?;
        let mut hasher = Hasher::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            match archive
                .read(&mut chunk)
                .map_err(|error| self.fault(&error))?
            {
                0 => break,
                count => {
                    hasher.update(&chunk[..count]);
                    draft.write(&chunk[..count])?;
                }
            }
        }
        Ok(Found {
            rank,
            path: entry.path.clone(),
            draft,
            digest: hasher.finish(),
            size: entry.size,
        })
    }

    fn named(&self) -> String {
        format!("{} of {}", self.what, self.reference)
    }

    fn refused(&self, error: TarError) -> RegistryError {
        RegistryError::Unpack {
            what: self.named(),
            source: UnpackError::Tar(error),
        }
    }

    /// An error of reading; where it is the blob's own, that is what is told.
    fn fault(&self, error: &std::io::Error) -> RegistryError {
        let source = UnpackError::of(error).unwrap_or(UnpackError::Damaged("it can't be read"));
        RegistryError::Unpack {
            what: self.named(),
            source,
        }
    }
}

/// What an entry is to a path.
#[derive(Debug, PartialEq, Eq)]
enum Relation {
    /// A folder on the way to it.
    Above,
    /// Says that lower layers do not show it.
    Hides,
    Itself,
    None,
}

fn relation(entry: &Entry, path: &[String]) -> Relation {
    let Some((name, folder)) = entry.path.split_last() else {
        return Relation::None;
    };
    if name == OPAQUE {
        return match path.len() > folder.len() && path.starts_with(folder) {
            true => Relation::Hides,
            false => Relation::None,
        };
    }
    if let Some(name) = name.strip_prefix(WHITEOUT) {
        let same = path.len() > folder.len() && path.starts_with(folder);
        return match same && path[folder.len()] == name {
            true => Relation::Hides,
            false => Relation::None,
        };
    }
    match path.starts_with(&entry.path) {
        true if path.len() == entry.path.len() => Relation::Itself,
        true => Relation::Above,
        false => Relation::None,
    }
}

/// Where a path leads when `entry`, itself or a folder on the way, is a link; none when it leads out.
fn target(entry: &Entry, path: &[String]) -> Option<Vec<String>> {
    if entry.kind == Kind::HardLink {
        return tar::parts(&entry.link)
            .filter(|target| path.len() == entry.path.len() && target != path);
    }
    let absolute = entry.link.starts_with('/');
    let mut target: Vec<String> = match absolute {
        true => Vec::new(),
        false => entry.path[..entry.path.len() - 1].to_vec(),
    };
    for part in entry.link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                target.pop()?;
            }
            part => target.push(part.to_owned()),
        }
    }
    target.extend_from_slice(&path[entry.path.len()..]);
    (!target.is_empty() && target.len() <= MAX_DEPTH).then_some(target)
}

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const MAX_LINKS: usize = 8;
const MAX_DEPTH: usize = 64;
/// What is taken out is not for others before somebody has looked at it.
const MODE: u32 = 0o700;
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind, link: &str) -> Entry {
        Entry {
            path: tar::parts(path).unwrap(),
            kind,
            size: 0,
            link: link.to_owned(),
        }
    }

    #[test]
    fn whiteouts_hide() {
        let path = tar::parts("usr/bin/a").unwrap();
        for (name, expected) in [
            ("usr/bin/a", Relation::Itself),
            ("usr/bin", Relation::Above),
            ("usr/bin/ab", Relation::None),
            ("usr/bin/a/b", Relation::None),
            ("", Relation::None),
            ("usr/bin/.wh.a", Relation::Hides),
            ("usr/.wh.bin", Relation::Hides),
            (".wh.usr", Relation::Hides),
            (".wh.bin", Relation::None),
            ("usr/bin/.wh..wh..opq", Relation::Hides),
            (".wh..wh..opq", Relation::Hides),
            ("usr/bin/a/.wh..wh..opq", Relation::None),
            ("bin/.wh..wh..opq", Relation::None),
        ] {
            assert_eq!(
                relation(&entry(name, Kind::File, ""), &path),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn links_lead_somewhere_inside() {
        let path = tar::parts("usr/bin/a").unwrap();
        let leads = |at: &str, kind, link: &str| {
            target(&entry(at, kind, link), &path).map(|it| it.join("/"))
        };
        let leads = |at: &str, link: &str| leads(at, Kind::SymLink, link);
        assert_eq!(leads("usr/bin/a", "b").as_deref(), Some("usr/bin/b"));
        assert_eq!(leads("usr/bin/a", "../x/./b").as_deref(), Some("usr/x/b"));
        assert_eq!(leads("usr/bin/a", "/b").as_deref(), Some("b"));
        assert_eq!(leads("usr/bin", "../sbin").as_deref(), Some("sbin/a"));
        assert_eq!(leads("usr/bin", "/").as_deref(), Some("a"));
        assert_eq!(leads("usr/bin/a", "../../../etc/shadow"), None);
        assert_eq!(leads("usr/bin/a", "/.."), None);
        let hard = |link: &str| target(&entry("usr/bin/a", Kind::HardLink, link), &path);
        assert_eq!(hard("usr/bin/b"), tar::parts("usr/bin/b"));
        assert_eq!(hard("../b"), None);
        assert_eq!(hard("usr/bin/a"), None);
    }
}
