//! What `--set` knows of the keys: their names, their types, what numbers they take.

use serde_json::{Map, Number, Value};

use super::cloud::CloudConfig;
use super::edge::EdgeConfig;
use super::set::{Kind, Name, split_once};
use super::{ConfigError, Segment};
use crate::system::args::nearest;
use crate::system::yaml::Document;
use crate::system::yaml::scalar;

/// The keys of one file.
pub(super) struct Types {
    defaults: Value,
    /// Keys that the default file does not have; `*` is any key of a mapping.
    optional: Value,
}

impl Types {
    pub fn of(kind: Kind) -> Result<Types, ConfigError> {
        let (text, optional) = match kind {
            Kind::Edge => (EdgeConfig::default_yaml("host", "127.0.0.1"), EDGE_OPTIONAL),
            Kind::Cloud => (CloudConfig::default_yaml("127.0.0.1"), CLOUD_OPTIONAL),
        };
        Ok(Types {
            defaults: Document::parse(&text, "")?.value,
            optional: Document::parse(optional, "")?.value,
        })
    }

    /// Finds the keys that the names stand for, in what KubeEdge knows and in the file itself.
    pub fn resolve<'a>(
        &'a self,
        names: &[Name],
        file: &'a Value,
    ) -> Result<(Vec<Segment>, Type<'a>), String> {
        let mut at = Type {
            default: Some(&self.defaults),
            optional: Some(&self.optional),
            present: Some(file),
            key: String::new(),
        };
        let is_go = names
            .first()
            .is_some_and(|name| !name.quoted && name.text.starts_with(char::is_uppercase));
        let mut path = Vec::new();
        let mut rest = names;
        while let Some(name) = rest.first() {
            if is_go && EMBEDDED.contains(&name.text.as_str()) {
                rest = &rest[1..];
                if rest.is_empty() {
                    return Err(format!(
                        "the path ends at {}: name a field of it",
                        name.text
                    ));
                }
                continue;
            }
            let (key, taken) = if is_go && !at.has("*") {
                (at.go_key(name)?, 1)
            } else {
                at.json_key(rest)?
            };
            at = at.child(&key);
            path.push(Segment::Key(key));
            for index in &rest[taken - 1].indexes {
                path.push(Segment::Index(*index));
                at = at.element(*index);
            }
            rest = &rest[taken..];
        }
        Ok((path, at))
    }

    /// What is known of a whole file.
    pub fn top(&self) -> Type<'_> {
        Type {
            default: Some(&self.defaults),
            optional: Some(&self.optional),
            present: None,
            key: String::new(),
        }
    }

    /// Why a key on this path, or in the mapping that is to stand there, has no effect; none when each is known, or
    /// nobody has listed what may stand there.
    pub fn stranger(&self, path: &[Segment], value: &Value) -> Option<String> {
        let mut at = self.top();
        for segment in path {
            at = match segment {
                Segment::Index(index) => at.element(*index),
                Segment::Key(key) => match at.stranger(key) {
                    None => at.child(key),
                    stranger => return stranger,
                },
            };
        }
        let mut keys = value.as_object().into_iter().flat_map(Map::keys);
        keys.find_map(|key| at.stranger(key))
    }

    /// The elements that a list has when the file does not name it.
    pub fn default_list(&self, path: &[Segment]) -> Option<&Value> {
        let list = path
            .iter()
            .try_fold(&self.defaults, |value, segment| match segment {
                Segment::Key(key) => value.get(key),
                Segment::Index(index) => value.get(index),
            });
        list.filter(|list| list.as_array().is_some_and(|items| !items.is_empty()))
    }
}

/// What is known of the value at one path.
pub(super) struct Type<'a> {
    default: Option<&'a Value>,
    optional: Option<&'a Value>,
    present: Option<&'a Value>,
    key: String,
}

impl<'a> Type<'a> {
    /// Gives a text the type of its key.
    pub fn coerce(&self, raw: &str) -> Result<Value, String> {
        match self.expected() {
            None | Some(Value::Null) => untyped(raw),
            Some(Value::Bool(_)) => boolean(unquoted(raw))
                .map(Value::Bool)
                .ok_or_else(|| format!("expected true or false, found {raw}")),
            Some(Value::Number(number)) if number.is_f64() => decimal(unquoted(raw))
                .map(Value::Number)
                .ok_or_else(|| format!("expected a number, found {raw}")),
            Some(Value::Number(_)) => self.whole(raw),
            Some(Value::String(_)) if raw.starts_with('{') => {
                Err("expected text, found braces: put it in quotes".to_owned())
            }
            Some(Value::String(_)) => Ok(unquoted(raw).into()),
            Some(Value::Array(_)) => {
                let items = elements(raw)?;
                let items = items.ok_or_else(|| "expected a list like {a,b}".to_owned());
                let element = self.element(0);
                items?.iter().map(|item| element.coerce(item)).collect()
            }
            Some(Value::Object(_)) => {
                let items = elements(raw)?;
                let items = items.ok_or_else(|| "expected a mapping like {a:1,b:2}".to_owned());
                let pairs = pairs(&items?)?.into_iter();
                pairs
                    .map(|(key, raw)| self.child(&key).coerce(&raw).map(|value| (key, value)))
                    .collect()
            }
        }
    }

    /// A value of the type; none when anything goes.
    pub fn expected(&self) -> Option<&'a Value> {
        let default = self.default.filter(|value| !value.is_null());
        default.or(self.optional)
    }

    /// Whether it is a mapping whose keys nobody has listed.
    pub fn is_free(&self) -> bool {
        self.keys().next().is_none()
    }

    /// Why this key has no effect in it, if it has none.
    pub fn stranger(&self, key: &str) -> Option<String> {
        if self.is_free() || self.has(key) || self.has("*") {
            return None;
        }
        Some(match nearest(key, self.keys()) {
            Some(near) => format!("there is no such key: did you mean {near}?"),
            None => "there is no such key: it has no effect".to_owned(),
        })
    }

    /// What fills a list up to the element that is set.
    pub fn zero(value: &Value) -> Value {
        match value {
            Value::Null => Value::Null,
            Value::Bool(_) => false.into(),
            Value::Number(_) => 0.into(),
            Value::String(_) => "".into(),
            Value::Array(_) => Value::Array(Vec::new()),
            Value::Object(_) => Value::Object(Map::new()),
        }
    }

    pub fn child(&self, key: &str) -> Type<'a> {
        let get = |value: Option<&'a Value>| value.and_then(|value| value.get(key));
        let any = self.optional.and_then(|value| value.get("*"));
        Type {
            default: get(self.default),
            optional: get(self.optional).or(any),
            present: get(self.present),
            key: key.to_owned(),
        }
    }

    pub fn element(&self, index: usize) -> Type<'a> {
        let first = |value: Option<&'a Value>| value.and_then(|value| value.get(0));
        Type {
            default: first(self.default),
            optional: first(self.optional),
            present: self.present.and_then(|value| value.get(index)),
            key: self.key.clone(),
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        [self.default, self.optional, self.present]
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .flat_map(|map| map.keys())
            .map(String::as_str)
    }

    pub fn has(&self, key: &str) -> bool {
        self.keys().any(|known| known == key)
    }

    fn go_key(&self, name: &Name) -> Result<String, String> {
        if self.has(&name.text) {
            return Ok(name.text.clone());
        }
        let alias = GO_NAMES
            .iter()
            .find(|(go, json)| *go == name.text && self.has(json));
        let same = || self.keys().find(|key| key.eq_ignore_ascii_case(&name.text));
        alias
            .map(|(_, json)| *json)
            .or_else(same)
            .map(str::to_owned)
            .ok_or_else(|| {
                format!(
                    "there is no field {}: --defaultconfig shows what there is",
                    name.text
                )
            })
    }

    /// The key that the next names stand for, and how many they are: keys can hold dots.
    fn json_key(&self, names: &[Name]) -> Result<(String, usize), String> {
        let name = &names[0];
        if name.quoted || self.has(&name.text) && !self.has("*") {
            return Ok((name.text.clone(), 1));
        }
        let ends = |name: &Name| !name.indexes.is_empty();
        let most = names
            .iter()
            .position(ends)
            .map_or(names.len(), |last| last + 1);
        let quoted = names.iter().position(|name| name.quoted);
        let most = most.min(quoted.unwrap_or(names.len()));
        let joined = |count: usize| {
            let parts: Vec<_> = names[..count]
                .iter()
                .map(|name| name.text.as_str())
                .collect();
            parts.join(".")
        };
        if self.has("*") {
            return Ok((joined(most), most));
        }
        if let Some(count) = (2..=most).rev().find(|count| self.has(&joined(*count))) {
            return Ok((joined(count), count));
        }
        match self.keys().find(|key| key.eq_ignore_ascii_case(&name.text)) {
            Some(key) => Err(format!(
                "there is no key {}: did you mean {key}?",
                name.text
            )),
            None => Ok((name.text.clone(), 1)),
        }
    }

    fn whole(&self, raw: &str) -> Result<Value, String> {
        let (low, high) = RANGES
            .iter()
            .find(|(keys, _, _)| keys.contains(&self.key.as_str()))
            .map_or((i32::MIN.into(), i32::MAX.into()), |(_, low, high)| {
                (*low, *high)
            });
        let number = unquoted(raw).parse::<i64>().ok();
        match number.filter(|number| (low..=high).contains(number)) {
            Some(number) => Ok(number.into()),
            None => Err(format!(
                "expected a whole number from {low} to {high}, found {raw}"
            )),
        }
    }
}

/// Refuses braces that no key can take, before anything is changed.
pub(super) fn check_braces(raw: &str) -> Result<(), String> {
    elements(raw).map(drop)
}

fn untyped(raw: &str) -> Result<Value, String> {
    match elements(raw)? {
        None => Ok(untyped_scalar(raw)),
        Some(items) if items.iter().any(|item| split_once(item, ':').is_some()) => {
            let pairs = pairs(&items)?.into_iter();
            Ok(pairs
                .map(|(key, raw)| (key, untyped_scalar(&raw)))
                .collect())
        }
        Some(items) => untyped_list(&items),
    }
}

/// The first element decides what all are: whole numbers, numbers, or texts.
fn untyped_list(items: &[String]) -> Result<Value, String> {
    let refuse = |item: &String| {
        format!("the elements of a list must be of one kind: {item} is no number like the first")
    };
    match items.first().map(|item| untyped_scalar(item)) {
        Some(Value::Number(first)) => {
            let whole = |item: &String| item.parse::<i64>().ok().map(Value::from);
            let number = |item: &String| decimal(item).map(Value::Number);
            let is_whole = !first.is_f64();
            items
                .iter()
                .map(|item| {
                    let value = if is_whole { whole(item) } else { number(item) };
                    value.ok_or_else(|| refuse(item))
                })
                .collect()
        }
        _ => Ok(items.iter().map(|item| unquoted(item)).collect()),
    }
}

fn untyped_scalar(raw: &str) -> Value {
    if let Ok(number) = raw.parse::<i64>() {
        return number.into();
    }
    match (decimal(raw), boolean_in_go(raw)) {
        (Some(number), _) => number.into(),
        (None, Some(flag)) => flag.into(),
        (None, None) => unquoted(raw).into(),
    }
}

/// The elements inside `{…}`, or nothing when there are no braces.
fn elements(raw: &str) -> Result<Option<Vec<String>>, String> {
    let Some(inside) = raw.strip_prefix('{') else {
        return Ok(None);
    };
    let inside = inside
        .strip_suffix('}')
        .ok_or("something stands behind the closing brace")?;
    if inside.trim().is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut items = Vec::new();
    let mut rest = inside;
    while let Some((item, behind)) = split_once(rest, ',') {
        items.push(item.trim().to_owned());
        rest = behind;
    }
    items.push(rest.trim().to_owned());
    if items.iter().any(String::is_empty) {
        return Err("an element in the braces is empty".to_owned());
    }
    Ok(Some(items))
}

fn pairs(items: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for item in items {
        let (key, value) = split_once(item, ':')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("{item} in braces has no value: write it as key:value"))?;
        let key = unquoted(key);
        if pairs.iter().any(|(known, _)| known == key) {
            return Err(format!("{key} is in the braces twice"));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

fn unquoted(raw: &str) -> &str {
    let inside = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    inside.unwrap_or(raw)
}

fn boolean(raw: &str) -> Option<bool> {
    boolean_in_go(raw).or_else(|| scalar::as_bool(&raw.into()))
}

fn boolean_in_go(raw: &str) -> Option<bool> {
    match raw {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn decimal(raw: &str) -> Option<Number> {
    let number = raw.parse().ok().filter(|_| scalar::is_decimal(raw))?;
    Number::from_f64(number)
}

/// Go fields whose names differ from the key by more than capital letters.
const GO_NAMES: &[(&str, &str)] = &[
    ("ResolverConfig", "resolvConf"),
    ("TLS", "eventBusTLS"),
    ("TunnelServer", "server"),
];

/// Go structures that have a name in the source and none in the file.
const EMBEDDED: &[&str] = &["ContainerRuntimeOptions", "TailoredKubeletFlag", "TypeMeta"];

/// Whole numbers that are not of 32 bits.
const RANGES: &[(&[&str], i64, i64)] = &[
    (&["mqttMode", "mqttQOS"], 0, 2),
    (
        &[
            "port",
            "readOnlyPort",
            "singlePort",
            "streamPort",
            "tunnelPort",
        ],
        0,
        65_535,
    ),
    (&["maxMessageSize", "partialMessageBudget"], 0, i64::MAX),
    (&["maxOpenFiles", "podPidsLimit"], i64::MIN, i64::MAX),
];

const EDGE_OPTIONAL: &str = r#"
featureGates: {"*": false}
modules:
  edgeHub:
    bindAddress: ""
    bindInterface: ""
    noProxy: [""]
    profile: ""
    proxy: ""
    proxyCredentialsFile: ""
    sandbox: true
    servers: [""]
  edged:
    annotations: {"*": ""}
    bandwidthManager: false
    customInterfaceName: ""
    nodeIP: ""
    nodeLabels: {"*": ""}
    runtimeCgroups: ""
    tailoredKubeletConfig:
      cgroupRoot: ""
      clusterDNS: [""]
      cpuManagerPolicyOptions: {"*": ""}
      evictionHard: {"*": ""}
      evictionSoft: {"*": ""}
      evictionSoftGracePeriod: {"*": ""}
      featureGates: {"*": false}
      kubeReserved: {"*": ""}
      kubeletCgroups: ""
      registerWithTaints: [{effect: "", key: "", value: ""}]
      systemCgroups: ""
      systemReserved: {"*": ""}
  metaManager:
    deliver: [{folder: "", hook: [""]}]
    metaServer:
      apiAudiences: [""]
      serviceAccountKeyFiles: [""]
    stateDir: ""
  taskManager:
    allowedImages: [""]
"#;

const CLOUD_OPTIONAL: &str = r#"
commonConfig: {monitorServer: {enableProfiling: false}}
featureGates: {"*": false}
modules: {cloudHub: {singlePort: 0, edgeCertLifetime: ""}}
"#;
