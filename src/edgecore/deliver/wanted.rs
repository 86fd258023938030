//! What folders should hold, by the annotations of what is stored.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::chosen::{self, Chosen, Item};
use super::folder;
use super::spool::{File, Files};
use crate::edgecore::edge::{Edge, Failure};
use crate::edgecore::meta::index::Entry;
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::sorted::{SortedMap, SortedSet};

/// Looks at what is stored again and again, and only at what is new.
#[derive(Default)]
pub struct Looker {
    /// Objects that name no folder, as they were.
    plain: SortedMap<ObjectPath, Entry>,
    /// What was remarked the last time, so that it is not said again and again.
    remarks: SortedSet<String>,
}

impl Looker {
    /// The files of all objects that name one of the folders.
    pub async fn look<'a>(
        &mut self,
        edge: &Rc<Edge>,
        folders: impl Iterator<Item = &'a PathBuf>,
    ) -> Result<SortedMap<PathBuf, Files>, Failure> {
        let mut claims: SortedMap<PathBuf, Claims> = folders
            .map(|folder| (folder.clone(), Claims::default()))
            .collect();
        let mut remarks = SortedSet::new();
        let mut objects: SortedMap<(PathBuf, ObjectPath), Chosen> = SortedMap::new();
        let kinds = [Kind::Pod, Kind::ConfigMap, Kind::Secret];
        let paths = edge.meta.paths(|path| kinds.contains(&path.kind));
        self.plain.retain(|path, _| edge.meta.has(path));
        for path in paths {
            let entry = edge.meta.entry(&path);
            if entry.is_some() && self.plain.get(&path) == entry.as_ref() {
                continue;
            }
            let Some(object) = edge.meta.get(&path).await? else {
                continue;
            };
            let Some(folder) = named(object.text()) else {
                if let Some(entry) = entry {
                    self.plain.insert(path, entry);
                }
                continue;
            };
            self.plain.remove(&path);
            if !claims.contains_key(&folder) {
                remarks.insert(format!(
                    "{path} is to be delivered to {}, which modules.metaManager.deliver does not allow",
                    folder.display()
                ));
                continue;
            }
            let chosen = match path.kind {
                Kind::Pod => {
                    let namespace = path.namespace.as_str().unwrap_or_default();
                    chosen::of_pod(namespace, object.text())
                }
                _ => SortedMap::from([(path, Chosen::all())]),
            };
            for (path, chosen) in chosen {
                let known = objects.entry((folder.clone(), path)).or_default();
                known.also(chosen);
            }
        }
        for ((folder, path), chosen) in objects {
            let Some(object) = edge.meta.get(&path).await? else {
                continue;
            };
            if let Some(claims) = claims.get_mut(&folder) {
                let name = path.to_string();
                let secret = path.kind == Kind::Secret;
                claims.add(&name, object.text(), secret, &chosen, &mut remarks);
            }
        }
        let settled = claims
            .into_iter()
            .map(|(folder, claims)| {
                let files = claims.settle(&folder, &mut remarks);
                (folder, files)
            })
            .collect();
        for remark in remarks.difference(&self.remarks) {
            log::warn!("{remark}");
        }
        self.remarks = remarks;
        Ok(settled)
    }
}

/// Who wants which file of one folder. In the order in which they win.
#[derive(Default)]
struct Claims(SortedMap<(String, String, String), File>);

impl Claims {
    fn add(
        &mut self,
        object: &str,
        text: &str,
        secret: bool,
        chosen: &Chosen,
        remarks: &mut SortedSet<String>,
    ) {
        let data = data(text, secret);
        let mut wanted = chosen.items.clone();
        if chosen.all {
            let own = data.keys().map(|key| Item {
                key: key.clone(),
                path: key.clone(),
            });
            wanted.extend(own);
        }
        for Item { key, path } in wanted {
            let why = match data.get(&key) {
                None => "there is no such item",
                Some(None) => "its content can't be read",
                Some(Some(_)) if !folder::is_path(&path) => "it would be no file in the folder",
                Some(Some(content)) => {
                    let file = File::new(content, secret);
                    self.0.insert((object.to_owned(), key, path), file);
                    continue;
                }
            };
            remarks.insert(format!(
                "the item {key:?} of {object} is not delivered as {path:?}: {why}"
            ));
        }
    }

    /// Of several who want the same file, or one as a folder what the other wants as a file, the first has it: in
    /// the order of `<namespace>/<type>/<name>`, and then of the item.
    fn settle(self, folder: &Path, remarks: &mut SortedSet<String>) -> Files {
        let mut files: SortedMap<String, File> = SortedMap::new();
        let mut owners: SortedMap<String, (String, String)> = SortedMap::new();
        for ((object, key, path), file) in self.0 {
            let clash = owners.iter().find(|(other, _)| {
                **other == path || is_below(other, &path) || is_below(&path, other)
            });
            match clash {
                Some((other, (owner, item))) => {
                    remarks.insert(format!(
                        "{} is wanted by {owner} for its item {item:?}, which has it, and as {} by {object} for \
                         {key:?}, which has it not",
                        folder.join(other).display(),
                        folder.join(&path).display()
                    ));
                }
                None => {
                    owners.insert(path.clone(), (object, key));
                    files.insert(path, file);
                }
            }
        }
        Files {
            by_path: files,
            ..Files::default()
        }
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
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

/// The items of an object; none for one that can't be read.
fn data(text: &str, secret: bool) -> SortedMap<String, Option<Vec<u8>>> {
    let object: Value = serde_json::from_str(text).unwrap_or_default();
    let mut data = Vec::new();
    for (field, encoded) in [("data", secret), ("binaryData", true)] {
        for (name, value) in object[field].as_object().into_iter().flatten() {
            let text = value.as_str();
            let content = match encoded {
                true => text.and_then(|text| STANDARD.decode(text).ok()),
                false => text.map(|text| text.as_bytes().to_vec()),
            };
            data.push((name.clone(), content));
        }
    }
    data.into_iter().collect()
}

const ANNOTATION: &str = "kubeedge.io/deliver";

#[cfg(test)]
mod tests {
    use super::*;

    /// Content and mode.
    type Found = (Vec<u8>, u32);

    fn settled(given: &[(&str, &str, bool, Chosen)]) -> (SortedMap<String, Found>, Vec<String>) {
        let (mut claims, mut remarks) = (Claims::default(), SortedSet::new());
        for (object, text, secret, chosen) in given {
            claims.add(object, text, *secret, chosen, &mut remarks);
        }
        let files = claims.settle(Path::new("/etc/app"), &mut remarks).by_path;
        let files = files.into_iter();
        let files = files.map(|(path, it)| (path, (it.content().unwrap(), it.mode())));
        (files.collect(), remarks.into_iter().collect())
    }

    fn chosen(items: &[(&str, &str)]) -> Chosen {
        let items = items.iter().map(|(key, path)| Item {
            key: (*key).to_owned(),
            path: (*path).to_owned(),
        });
        Chosen {
            all: false,
            items: items.collect(),
        }
    }

    #[test]
    fn items_become_files() {
        let text = r#"{"data":{"a.conf":"text","../x":"no",".kubeedge-delivered":"no"},"binaryData":{"b":"AAE="}}"#;
        let secret = r#"{"data":{"key":"aGlkZGVu","bad":"%"}}"#;
        let (files, remarks) = settled(&[
            ("d/configmap/c", text, false, Chosen::all()),
            ("d/secret/s", secret, true, Chosen::all()),
        ]);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a.conf", "b", "key"]);
        assert_eq!(files["a.conf"], (b"text".to_vec(), 0o644));
        assert_eq!(files["b"], (vec![0, 1], 0o644));
        assert_eq!(files["key"], (b"hidden".to_vec(), 0o600));
        assert_eq!(remarks.len(), 3, "{remarks:?}");
        assert!(!remarks.iter().any(|remark| remark.contains('%')));
    }

    #[test]
    fn a_mapping_names_files_that_stay_in_the_folder() {
        let text = r#"{"data":{"a":"1","b":"2"}}"#;
        let wanted = chosen(&[
            ("a", "sub/deep/x"),
            ("b", "y"),
            ("b", "../z"),
            ("b", "/etc/passwd"),
            ("b", "sub/../../z"),
            ("b", "sub//z"),
            ("b", ""),
            ("c", "w"),
        ]);
        let (files, remarks) = settled(&[("d/configmap/c", text, false, wanted)]);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["sub/deep/x", "y"]);
        assert_eq!(remarks.len(), 6, "{remarks:?}");
        assert!(remarks.iter().any(|it| it.contains("no such item")));
    }

    #[test]
    fn of_two_that_want_a_file_the_first_has_it_and_that_is_said() {
        let text = |content: &str| format!(r#"{{"data":{{"x":"{content}"}}}}"#);
        let (one, two) = (text("one"), text("two"));
        let (files, remarks) = settled(&[
            ("d/configmap/b", &two, false, Chosen::all()),
            ("d/configmap/a", &one, false, Chosen::all()),
            // As a folder, what is a file.
            ("d/configmap/c", &two, false, chosen(&[("x", "x/y")])),
        ]);
        assert_eq!(files.len(), 1);
        assert_eq!(files["x"].0, b"one");
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        let said = "/etc/app/x is wanted by d/configmap/a";
        assert!(remarks.iter().all(|it| it.starts_with(said)), "{remarks:?}");
        // Twice the same is no conflict.
        let twice = chosen(&[("x", "x"), ("x", "x")]);
        assert_eq!(settled(&[("d/configmap/a", &one, false, twice)]).1, [""; 0]);
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
