//! Where an object lies: its file's path, and back.

use std::path::{Path, PathBuf};

use crate::pki::hash::Sha256Hash;
use crate::protocol::resource::{Kind, ObjectPath};

/// `<kind>/<namespace>/<name>.json`, with `null` for what belongs to the whole cluster.
pub fn file(top: &Path, path: &ObjectPath) -> PathBuf {
    folder(top, path).join(format!("{}{END}", stem(&path.name)))
}

pub fn folder(top: &Path, path: &ObjectPath) -> PathBuf {
    top.join(path.kind.as_str())
        .join(path.namespace.to_string())
}

/// A name may be longer than what file systems allow together with what a temporary file adds.
fn stem(name: &str) -> String {
    match name.get(..MAX_STEM) {
        Some(start) if name.len() > MAX_STEM => {
            let hash = Sha256Hash::of(name.as_bytes()).to_string();
            format!("{start}{CUT}{}", &hash[..HASH])
        }
        _ => name.to_owned(),
    }
}

/// Which object a file is, when the object in it says that it is called `name`.
pub fn object(kind: Kind, namespace: &str, file: &str, name: &str) -> Option<ObjectPath> {
    let stem = file.strip_suffix(END)?;
    let name = match stem.contains(CUT) {
        true => name,
        false => stem,
    };
    let path = ObjectPath::new(namespace, kind, name).ok()?;
    (self::stem(name) == stem).then_some(path)
}

const END: &str = ".json";
/// No name has it.
const CUT: char = '~';
const MAX_STEM: usize = 160;
/// Hexadecimal digits.
const HASH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_file_of_its_own_and_comes_back() {
        let long = |end: char| format!("{}{end}", "a".repeat(252));
        let names = ["a", "kube-root-ca.crt", &long('a'), &long('b')];
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            let path = ObjectPath::new("default", Kind::ConfigMap, name).unwrap();
            let file = file(Path::new("/x"), &path);
            assert!(file.starts_with("/x/configmap/default"));
            let last = file.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(last.len() < 230, "{last}");
            assert_eq!(object(Kind::ConfigMap, "default", &last, name), Some(path));
            assert!(seen.insert(file));
        }
        let node = ObjectPath::of_cluster(Kind::Node, "edge-1");
        assert_eq!(
            file(Path::new("/x"), &node),
            Path::new("/x/node/null/edge-1.json")
        );
        assert_eq!(object(Kind::Node, "null", "edge-1.json", ""), Some(node));
        assert_eq!(object(Kind::Node, "null", "edge-1", ""), None);
        assert_eq!(object(Kind::Pod, "default", "a~b.json", "c"), None);
    }
}
