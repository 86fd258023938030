//! Which items of which objects a Pod wants as files, and under which names.

use serde_json::Value;

use crate::edgecore::meta::references::{Pod, list};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::sorted::SortedMap;

/// Of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Every item, each under its own name.
    pub all: bool,
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    /// From the folder on; not checked yet.
    pub path: String,
}

impl Chosen {
    pub fn all() -> Chosen {
        Chosen {
            all: true,
            items: Vec::new(),
        }
    }

    fn add(&mut self, items: &Value) {
        let items = list(items);
        self.all |= items.is_empty();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = items.iter().map(|item| Item {
            key: text(&item["key"]),
            path: text(&item["path"]),
        });
        self.items.extend(items);
    }

    pub fn also(&mut self, other: Chosen) {
        self.all |= other.all;
        self.items.extend(other.items);
    }
}

/// Volumes that mount an object say which; of one that is named elsewhere only, it is all.
pub fn of_pod(namespace: &str, text: &str) -> SortedMap<ObjectPath, Chosen> {
    let mut chosen: SortedMap<ObjectPath, Chosen> = SortedMap::new();
    let pod: Value = serde_json::from_str(text).unwrap_or_default();
    let mut mounted = |kind: Kind, name: &Value, items: &Value| {
        let name = name.as_str().unwrap_or_default();
        if let Ok(path) = ObjectPath::new(namespace, kind, name) {
            chosen.entry(path).or_default().add(items);
        }
    };
    for volume in list(&pod["spec"]["volumes"]) {
        let (config, secret) = (&volume["configMap"], &volume["secret"]);
        mounted(Kind::ConfigMap, &config["name"], &config["items"]);
        mounted(Kind::Secret, &secret["secretName"], &secret["items"]);
        for source in list(&volume["projected"]["sources"]) {
            let (config, secret) = (&source["configMap"], &source["secret"]);
            mounted(Kind::ConfigMap, &config["name"], &config["items"]);
            mounted(Kind::Secret, &secret["name"], &secret["items"]);
        }
    }
    let named = Pod::read(namespace, text).unwrap_or_default().references;
    for path in named {
        chosen.entry(path).or_insert_with(Chosen::all);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_choose_and_what_is_only_named_comes_whole() {
        let items = json!([{"key": "a", "path": "sub/b"}, {"key": "c", "path": "d", "mode": 256}]);
        let pod = json!({"spec": {
            "volumes": [
                {"configMap": {"name": "some", "items": items}},
                {"configMap": {"name": "whole"}},
                {"secret": {"secretName": "key", "items": [{"key": "k", "path": "l"}]}},
                {"projected": {"sources": [{"configMap": {"name": "whole", "items": [{"key": "x", "path": "y"}]}}]}},
            ],
            "containers": [{"envFrom": [{"configMapRef": {"name": "some"}}, {"configMapRef": {"name": "env"}}]}],
        }});
        let chosen = of_pod("default", &pod.to_string());
        let of = |name: &str| {
            let found = chosen.iter().find(|(path, _)| path.name == name);
            let chosen = found.expect("it is named").1;
            let items = chosen
                .items
                .iter()
                .map(|it| format!("{}>{}", it.key, it.path));
            (chosen.all, items.collect::<Vec<_>>())
        };
        assert_eq!(chosen.len(), 4);
        assert_eq!(
            of("some"),
            (false, vec!["a>sub/b".to_owned(), "c>d".to_owned()])
        );
        assert_eq!(of("whole"), (true, vec!["x>y".to_owned()]));
        assert_eq!(of("key"), (false, vec!["k>l".to_owned()]));
        assert_eq!(of("env"), (true, vec![]));
    }
}
