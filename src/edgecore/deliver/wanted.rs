//! What folders should hold, by the annotations of what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::hand;
use super::spool::{File, Files};
use crate::edgecore::edge::{Edge, Failure};
use crate::edgecore::meta::references::Pod;
use crate::protocol::resource::{Kind, ObjectPath};

/// Fills in the items of all objects that name one of the folders; of two of the same name the later object's wins.
pub async fn fill(edge: &Rc<Edge>, wanted: &mut BTreeMap<PathBuf, Files>) -> Result<(), Failure> {
    let mut objects: BTreeSet<(PathBuf, ObjectPath)> = BTreeSet::new();
    let kinds = [Kind::Pod, Kind::ConfigMap, Kind::Secret];
    for path in edge.meta.paths(|path| kinds.contains(&path.kind)) {
        let Some(object) = edge.meta.get(&path).await? else {
            continue;
        };
        let Some(folder) = named(object.text()) else {
            continue;
        };
        if !wanted.contains_key(&folder) {
            log::warn!(
                "{path} is to be delivered to {}, which modules.metaManager.deliver does not allow",
                folder.display()
            );
            continue;
        }
        if path.kind == Kind::Pod {
            let namespace = path.namespace.as_str().unwrap_or_default();
            let pod = Pod::read(namespace, object.text()).unwrap_or_default();
            let referenced = pod.references.into_iter();
            objects.extend(referenced.map(|path| (folder.clone(), path)));
        } else {
            objects.insert((folder, path));
        }
    }
    for (folder, path) in objects {
        let Some(object) = edge.meta.get(&path).await? else {
            continue;
        };
        if let Some(files) = wanted.get_mut(&folder) {
            files
                .0
                .extend(items(object.text(), path.kind == Kind::Secret));
        }
    }
    Ok(())
}

/// The folder of the annotation.
fn named(text: &str) -> Option<PathBuf> {
    // Most objects have none, and need not be looked at more closely.
    if !text.contains(ANNOTATION) {
        return None;
    }
    let object: Value = serde_json::from_str(text).ok()?;
    let folder = object["metadata"]["annotations"][ANNOTATION].as_str()?;
    let folder = folder.trim_end_matches('/');
    (!folder.is_empty()).then(|| Path::new(folder).to_owned())
}

fn items(text: &str, secret: bool) -> BTreeMap<String, File> {
    let object: Value = serde_json::from_str(text).unwrap_or_default();
    let mut items = BTreeMap::new();
    for (field, encoded) in [("data", secret), ("binaryData", true)] {
        for (name, value) in object[field].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let content = match encoded {
                true => STANDARD.decode(text).ok(),
                false => Some(text.as_bytes().to_vec()),
            };
            match content {
                Some(content) if hand::is_name(name) => {
                    items.insert(name.clone(), File::new(&content, secret));
                }
                _ => log::warn!("an item that can't be a file is not delivered: {name:?}"),
            }
        }
    }
    items
}

const ANNOTATION: &str = "kubeedge.io/deliver";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_files() {
        let text = r#"{"data":{"a.conf":"text","../x":"no",".kubeedge-delivered":"no"},"binaryData":{"b":"AAE="}}"#;
        let files = items(text, false);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a.conf", "b"]);
        assert_eq!(files["a.conf"].content().unwrap(), b"text");
        assert_eq!(files["b"].content().unwrap(), [0, 1]);
        let secret = &items(r#"{"data":{"key":"aGlkZGVu","bad":"%"}}"#, true);
        assert_eq!(secret["key"].content().unwrap(), b"hidden");
        assert_eq!((secret.len(), secret["key"].mode()), (1, 0o600));
    }

    #[test]
    fn the_annotation_names_a_folder() {
        let of = |value: &str| {
            named(&format!(
                r#"{{"metadata":{{"annotations":{{"kubeedge.io/deliver":{value}}}}}}}"#
            ))
        };
        assert_eq!(of("\"/etc/app/\""), Some("/etc/app".into()));
        assert_eq!(of("\"\""), None);
        assert_eq!(of("7"), None);
        assert_eq!(named(r#"{"data":{"x":"kubeedge.io/deliver"}}"#), None);
    }
}
