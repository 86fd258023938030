//! Manifests of images, and lists of them: what a registry answers, read within bounds.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::digest::Digest;
use super::platform::Platform;

/// What a registry is asked for.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Something that can be fetched: its digest is what it has to be, its size how much of it there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// One image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: &'static str,
    pub config: Descriptor,
    /// The lowest first.
    pub layers: Vec<Layer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub descriptor: Descriptor,
    pub packed: Packed,
}

/// How the tar of a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    Gzip,
    Plain,
    Zstd,
}

/// What stands behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Image(Manifest),
    /// Images for several platforms; those whose platform is not said are left out.
    Index(Vec<(Platform, Descriptor)>),
}

/// Reads either. The media type in the text counts, then the one of the answer's head.
pub fn read(text: &[u8], content_type: Option<&str>) -> Result<Answer, ManifestError> {
    let raw: Raw = serde_json::from_slice(text).map_err(|error| ManifestError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    if raw.schema_version != 2 {
        return Err(ManifestError::Old);
    }
    let said = raw.media_type.as_deref().or(content_type);
    let said = said.and_then(|said| said.split(';').next()).map(str::trim);
    let is_index = match said {
        Some(OCI_INDEX | DOCKER_LIST) => true,
        Some(OCI_MANIFEST | DOCKER_MANIFEST) => false,
        // OCI asks nobody to say it: the fields do.
        _ => raw.manifests.is_some(),
    };
    // One text that could be read as both would have one digest and two meanings.
    match (is_index, raw.manifests, raw.config, raw.layers) {
        (true, Some(manifests), None, None) => read_index(manifests).map(Answer::Index),
        (false, None, Some(config), Some(layers)) => {
            let media_type = match said {
                Some(DOCKER_MANIFEST) => DOCKER_MANIFEST,
                _ => OCI_MANIFEST,
            };
            read_image(media_type, config, layers).map(Answer::Image)
        }
        _ => Err(ManifestError::Fields),
    }
}

/// The image that suits a machine best; of equals, the first.
pub fn choose<'a>(
    index: &'a [(Platform, Descriptor)],
    machine: &Platform,
) -> Option<&'a (Platform, Descriptor)> {
    let suited = index
        .iter()
        .filter_map(|entry| Some((entry.0.suits(machine)?, entry)));
    let best = suited.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, entry)| entry)
}

fn read_index(manifests: Vec<RawDescriptor>) -> Result<Vec<(Platform, Descriptor)>, ManifestError> {
    if manifests.len() > MAX_MANIFESTS {
        return Err(ManifestError::TooMany("manifests"));
    }
    let mut found = Vec::new();
    for raw in manifests {
        // Attestations and the like stand beside images, for a platform called unknown.
        let Some(platform) = &raw.platform else {
            continue;
        };
        let text = match platform.variant.as_deref() {
            None | Some("") => format!("{}/{}", platform.os, platform.architecture),
            Some(variant) => format!("{}/{}/{variant}", platform.os, platform.architecture),
        };
        let kind = raw.media_type.as_deref();
        let is_image = kind.is_none_or(|kind| [OCI_MANIFEST, DOCKER_MANIFEST].contains(&kind));
        if let (true, Ok(platform)) = (is_image, text.parse()) {
            let descriptor = raw.check(MAX_MANIFEST as u64)?;
            found.push((platform, descriptor));
        }
    }
    Ok(found)
}

fn read_image(
    media_type: &'static str,
    config: RawDescriptor,
    layers: Vec<RawDescriptor>,
) -> Result<Manifest, ManifestError> {
    if layers.len() > MAX_LAYERS {
        return Err(ManifestError::TooMany("layers"));
    }
    let layers = layers.into_iter().map(|raw| {
        let kind = raw.media_type.as_deref().unwrap_or_default();
        let packed = packed(kind).ok_or_else(|| ManifestError::Layer(short(kind)))?;
        let descriptor = raw.check(u64::MAX)?;
        Ok(Layer { descriptor, packed })
    });
    Ok(Manifest {
        media_type,
        layers: layers.collect::<Result<_, _>>()?,
        config: config.check(MAX_CONFIG)?,
    })
}

fn packed(media_type: &str) -> Option<Packed> {
    Some(match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Packed::Plain,
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Packed::Gzip,
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Packed::Zstd,
        _ => return None,
    })
}

fn short(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(80).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
    /// Places that the content may be fetched from instead: never gone to.
    #[serde(default)]
    urls: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl RawDescriptor {
    fn check(self, max: u64) -> Result<Descriptor, ManifestError> {
        let digest = self.digest.parse();
        let digest = digest.map_err(|_| ManifestError::Digest(short(&self.digest)))?;
        let elsewhere = self
            .urls
            .is_some_and(|urls| !["null", "[]"].contains(&urls.get()));
        if elsewhere {
            return Err(ManifestError::Elsewhere);
        }
        if self.size > max {
            return Err(ManifestError::Size(self.size));
        }
        Ok(Descriptor {
            media_type: short(&self.media_type.unwrap_or_default()),
            digest,
            size: self.size,
        })
    }
}

/// Why what a registry answers is no image; continues a sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    Digest(String),
    /// A layer that is to be fetched from somewhere else.
    Elsewhere,
    Fields,
    Json {
        line: usize,
        column: usize,
    },
    Layer(String),
    Old,
    Size(u64),
    TooMany(&'static str),
}

impl std::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ManifestError::Digest(text) => write!(f, "{text:?} in it is no digest by sha256"),
            ManifestError::Elsewhere => f.write_str(
                "a part of it lies outside of the registry, where nothing is fetched from",
            ),
            ManifestError::Fields => {
                f.write_str("it is neither an image nor a list of images for several platforms")
            }
            ManifestError::Json { line, column } => {
                write!(f, "it can't be read (line {line}, column {column})")
            }
            ManifestError::Layer(kind) => {
                write!(f, "a layer of the kind {kind:?} can't be unpacked")
            }
            ManifestError::Old => {
                f.write_str("its format is not version 2: push it again with a tool of this decade")
            }
            ManifestError::Size(size) => write!(f, "a part of it claims {size} bytes"),
            ManifestError::TooMany(what) => write!(f, "it has too many {what}"),
        }
    }
}

impl std::error::Error for ManifestError {}

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Bytes of a manifest or a list, as the specification has it.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;
/// Bytes of a configuration.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;
const MAX_MANIFESTS: usize = 1024;
/// Overlay file systems take 127.
const MAX_LAYERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn descriptor(kind: &str) -> serde_json::Value {
        json!({"mediaType": kind, "digest": Digest::of(b"").to_string(), "size": 7})
    }

    fn read_json(value: serde_json::Value) -> Result<Answer, ManifestError> {
        read(value.to_string().as_bytes(), None)
    }

    #[test]
    fn images_of_both_families_are_read() {
        for (kind, layer, packed) in [
            (
                OCI_MANIFEST,
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Packed::Zstd,
            ),
            (
                DOCKER_MANIFEST,
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Packed::Gzip,
            ),
            (
                OCI_MANIFEST,
                "application/vnd.oci.image.layer.v1.tar",
                Packed::Plain,
            ),
        ] {
            let text = json!({
                "schemaVersion": 2, "mediaType": kind,
                "config": descriptor("c"), "layers": [descriptor(layer)],
            });
            let Ok(Answer::Image(image)) = read_json(text) else {
                panic!("{kind}");
            };
            assert_eq!((image.media_type, image.layers[0].packed), (kind, packed));
            assert_eq!(image.layers[0].descriptor.size, 7);
        }
    }

    #[test]
    fn the_best_of_a_list_is_chosen() {
        let entry = |platform: serde_json::Value, size: u64| {
            let mut entry = descriptor(OCI_MANIFEST);
            entry["platform"] = platform;
            entry["size"] = size.into();
            entry
        };
        let text = json!({"schemaVersion": 2, "manifests": [
            entry(json!({"os": "unknown", "architecture": "unknown"}), 1),
            entry(json!({"os": "linux", "architecture": "arm", "variant": "v5"}), 2),
            entry(json!({"os": "linux", "architecture": "arm", "variant": "v6"}), 3),
            entry(json!({"os": "linux", "architecture": "amd64"}), 4),
            descriptor(OCI_MANIFEST),
        ]});
        let Ok(Answer::Index(index)) = read_json(text) else {
            panic!("no index");
        };
        let size = |machine: &str| choose(&index, &machine.parse().unwrap()).map(|(_, it)| it.size);
        assert_eq!(size("linux/arm/v7"), Some(3));
        assert_eq!(size("linux/arm/v6"), Some(3));
        assert_eq!(size("linux/arm/v5"), Some(2));
        assert_eq!(size("linux/amd64"), Some(4));
        assert_eq!(size("linux/arm64"), None);
    }

    #[test]
    fn what_is_neither_is_refused() {
        let layer = "application/vnd.oci.image.layer.v1.tar";
        let image =
            json!({"schemaVersion": 2, "config": descriptor("c"), "layers": [descriptor(layer)]});
        assert!(read_json(image.clone()).is_ok());
        let with = |key: &str, value: serde_json::Value| {
            let mut changed = image.clone();
            changed[key] = value;
            read_json(changed).unwrap_err()
        };
        assert_eq!(with("manifests", json!([])), ManifestError::Fields);
        assert_eq!(with("mediaType", json!(OCI_INDEX)), ManifestError::Fields);
        assert_eq!(with("schemaVersion", json!(1)), ManifestError::Old);
        assert_eq!(
            with("layers", json!([descriptor("x\n")])),
            ManifestError::Layer("x".to_owned())
        );
        assert!(matches!(
            with("layers", json!(7)),
            ManifestError::Json { .. }
        ));
        let mut elsewhere = descriptor(layer);
        elsewhere["urls"] = json!(["https://other.example"]);
        assert_eq!(with("layers", json!([elsewhere])), ManifestError::Elsewhere);
        let many = vec![descriptor(layer); MAX_LAYERS + 1];
        assert_eq!(
            with("layers", many.into()),
            ManifestError::TooMany("layers")
        );
        let mut large = descriptor("c");
        large["size"] = json!(1_000_000_000);
        assert_eq!(with("config", large), ManifestError::Size(1_000_000_000));
    }
}
