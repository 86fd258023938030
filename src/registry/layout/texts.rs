//! The lists of a layout: OCI's `index.json`, and the `manifest.json` of `docker load`.

use serde_json::{Value, json};

use super::super::manifest::OCI_INDEX;
use super::super::reference::Reference;
use super::super::resolve::Image;
use super::blob_name;

pub const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

pub fn index(images: &[(&Reference, Image)]) -> Vec<u8> {
    let manifests = images.iter().map(|(reference, image)| {
        let platform = &image.platform;
        let mut shown = json!({"architecture": platform.architecture, "os": platform.os});
        if !platform.variant.is_empty() {
            shown["variant"] = platform.variant.clone().into();
        }
        let mut entry = json!({
            "mediaType": image.manifest.media_type,
            "digest": image.digest.to_string(),
            "size": image.text.len(),
            "platform": shown,
        });
        if let Some(name) = reference.tagged() {
            // containerd takes the first, podman and skopeo the second.
            entry["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name,
            });
        }
        entry
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": manifests.collect::<Vec<Value>>(),
    });
    index.to_string().into_bytes()
}

pub fn manifest(images: &[(&Reference, Image)]) -> Vec<u8> {
    let entries = images.iter().map(|(reference, image)| {
        let layers = image.manifest.layers.iter();
        let layers = layers.map(|layer| blob_name(&layer.descriptor.digest));
        json!({
            "Config": blob_name(&image.manifest.config.digest),
            "RepoTags": reference.tagged().into_iter().collect::<Vec<String>>(),
            "Layers": layers.collect::<Vec<String>>(),
        })
    });
    Value::from(entries.collect::<Vec<Value>>())
        .to_string()
        .into_bytes()
}
