//! `--set`: wishes like `modules.edgeHub.heartbeat=30` read from text and carried out on a file.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::types::{Type, Types};
use super::yaml::Document;
use super::{ConfigError, Segment, edit};

/// Which file the keys are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cloud,
    Edge,
}

/// One `path=value`. What the value means depends on the key, so it is text until it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub(super) names: Vec<Name>,
    pub(super) value: String,
    /// The path as it was written, for errors. The value may be a secret and is not kept here.
    item: String,
}

/// One part of a path: `taints`, `taints[2]`, `"kubernetes.io/zone"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub text: String,
    pub quoted: bool,
    pub indexes: Vec<usize>,
}

/// Reads the items of one `--set`, which commas outside of `"…"` and `{…}` separate.
///
/// Blanks outside of these mean nothing, empty items are passed over, the first `=` separates path
/// and value. The parts of a path are separated by dots; quotes keep a dot in a key.
pub fn parse_items(text: &str) -> Result<Vec<Assignment>, ConfigError> {
    let items = split(text).map_err(|message| refuse(&shortened(text), message))?;
    let items = items.iter().filter(|item| !item.is_empty());
    items.map(|item| assignment(item)).collect()
}

/// Carries out the wishes, in order, on the text of a file; everything else in it stays as it is.
///
/// Keys are those of the file, or the names of the fields in KubeEdge's Go source when the first
/// one begins with a capital letter. A value takes the type of its key; a key that is not known
/// takes whatever the value looks like.
pub fn apply(text: &str, items: &[Assignment], kind: Kind) -> Result<String, ConfigError> {
    let types = Types::of(kind)?;
    let mut text = text.to_owned();
    for item in items {
        let document = Document::parse(&text, "")?;
        let refuse = |message: String| refuse(&item.item, message);
        let (path, target) = types
            .resolve(&item.names, &document.value)
            .map_err(refuse)?;
        let value = target.coerce(&item.value).map_err(refuse)?;
        let grown = grow(&text, &path, &value, &types).map_err(|e| refuse(e.to_string()))?;
        text = edit::set(&grown, &path, &value).map_err(|e| refuse(e.to_string()))?;
    }
    Ok(text)
}

/// Splits at the commas outside of quotes and braces, and drops the blanks there.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let (mut in_quotes, mut in_braces) = (false, false);
    for c in text.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            '{' if !in_quotes && in_braces => {
                return Err("braces cannot stand inside braces".to_owned());
            }
            '{' if !in_quotes => in_braces = true,
            '}' if !in_quotes && !in_braces => {
                return Err("a } has no { before it".to_owned());
            }
            '}' if !in_quotes => in_braces = false,
            _ => {}
        }
        let is_outside = !in_quotes && !in_braces;
        match parts.last_mut() {
            Some(_) if is_outside && c == ',' => parts.push(String::new()),
            Some(part) if !is_outside || !c.is_whitespace() => part.push(c),
            _ => {}
        }
    }
    if in_quotes {
        return Err("a quote is not closed".to_owned());
    }
    if in_braces {
        return Err("a { is not closed".to_owned());
    }
    Ok(parts)
}

/// The two sides of the first separator outside of quotes.
pub(super) fn split_once(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut in_quotes = false;
    let (position, _) = text.char_indices().find(|(_, c)| {
        in_quotes ^= *c == '"';
        !in_quotes && *c == separator
    })?;
    Some((&text[..position], &text[position + separator.len_utf8()..]))
}

fn assignment(item: &str) -> Result<Assignment, ConfigError> {
    let Some((path, value)) = split_once(item, '=') else {
        let message = "there is no '=': write it as key=value";
        return Err(refuse(&shortened(item), message));
    };
    let names = names(path).map_err(|message| refuse(path, message))?;
    super::types::check_braces(value).map_err(|message| refuse(path, message))?;
    Ok(Assignment {
        names,
        value: value.to_owned(),
        item: path.to_owned(),
    })
}

fn names(path: &str) -> Result<Vec<Name>, String> {
    let mut rest = path.chars().peekable();
    let mut names = Vec::new();
    loop {
        let (text, quoted) = word(&mut rest)?;
        let mut indexes = Vec::new();
        while rest.next_if_eq(&'[').is_some() {
            indexes.push(index(&mut rest)?);
        }
        if text.is_empty() {
            return Err("a key is missing in the path".to_owned());
        }
        names.push(Name {
            text,
            quoted,
            indexes,
        });
        match rest.next() {
            None => return Ok(names),
            Some('.') => {}
            Some(other) => return Err(format!("{other:?} cannot stand there in a path")),
        }
    }
}

fn word(rest: &mut Peekable<Chars<'_>>) -> Result<(String, bool), String> {
    let mut text = String::new();
    if rest.next_if_eq(&'"').is_some() {
        for c in rest {
            match c {
                '"' => return Ok((text, true)),
                c => text.push(c),
            }
        }
        return Err("a quote is not closed".to_owned());
    }
    while let Some(c) = rest.next_if(|c| !".[]\"{}".contains(*c)) {
        text.push(c);
    }
    Ok((text, false))
}

/// The number and the closing bracket of `[2]`.
fn index(rest: &mut Peekable<Chars<'_>>) -> Result<usize, String> {
    let mut digits = String::new();
    while let Some(c) = rest.next_if(char::is_ascii_digit) {
        digits.push(c);
    }
    let index = digits.parse().ok().filter(|index| *index <= MAX_INDEX);
    match (index, rest.next()) {
        (Some(index), Some(']')) => Ok(index),
        _ => Err(format!(
            "between [ and ] must be a number from 0 to {MAX_INDEX}"
        )),
    }
}

/// Lengthens the lists of a path until the element that is to be set can be the next one.
///
/// A list that is not in the file has its default elements: they are written first.
fn grow(text: &str, path: &[Segment], value: &Value, types: &Types) -> Result<String, ConfigError> {
    let mut text = text.to_owned();
    for (depth, segment) in path.iter().enumerate() {
        let Segment::Index(index) = segment else {
            continue;
        };
        let list = &path[..depth];
        let mut present = edit::get(&text, list)?.filter(|value| !value.is_null());
        if present.is_none()
            && let Some(default) = types.default_list(list)
        {
            text = edit::set(&text, list, default)?;
            present = Some(default.clone());
        }
        let elements = match &present {
            Some(Value::Array(items)) => items.len(),
            Some(_) => return Ok(text),
            None => 0,
        };
        for missing in elements..*index {
            let zero = match path.get(depth + 1) {
                Some(Segment::Key(_)) => Value::Object(Default::default()),
                Some(Segment::Index(_)) => Value::Array(Vec::new()),
                None => Type::zero(value),
            };
            let element = [list, &[Segment::Index(missing)]].concat();
            text = edit::set(&text, &element, &zero)?;
        }
    }
    Ok(text)
}

fn refuse(item: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Set {
        item: item.to_owned(),
        message: message.into(),
    }
}

/// Enough of an item to find it again, too little to give a token away.
fn shortened(item: &str) -> String {
    let path = item.split(['=', ':']).next().unwrap_or(item);
    match path.char_indices().nth(32) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

const MAX_INDEX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cloud::CloudConfig;
    use crate::config::edge::EdgeConfig;
    use proptest::prelude::*;
    use serde_json::json;

    fn edge(items: &str) -> Result<Value, String> {
        let text = EdgeConfig::default_yaml("h", "192.0.2.2");
        run(&text, items, Kind::Edge)
    }

    fn run(text: &str, items: &str, kind: Kind) -> Result<Value, String> {
        let edited = parse_items(items).and_then(|items| apply(text, &items, kind));
        let edited = edited.map_err(|error| error.to_string())?;
        Ok(Document::parse(&edited, "f").expect("YAML").value)
    }

    #[test]
    fn values_take_the_type_of_their_key() {
        for (item, pointer, expected) in [
            (
                "modules.edgeHub.heartbeat=30",
                "/modules/edgeHub/heartbeat",
                json!(30),
            ),
            (
                "modules.edgeHub.heartbeat=\"30\"",
                "/modules/edgeHub/heartbeat",
                json!(30),
            ),
            (
                " modules . edgeHub.enable = f ",
                "/modules/edgeHub/enable",
                json!(false),
            ),
            (
                "modules.edgeHub.enable=1",
                "/modules/edgeHub/enable",
                json!(true),
            ),
            (
                "modules.edgeHub.enable=off",
                "/modules/edgeHub/enable",
                json!(false),
            ),
            (
                "modules.edgeHub.token=a=b",
                "/modules/edgeHub/token",
                json!("a=b"),
            ),
            (
                "modules.edgeHub.token=",
                "/modules/edgeHub/token",
                json!(""),
            ),
            (
                "modules.edged.hostnameOverride=0123",
                "/modules/edged/hostnameOverride",
                json!("0123"),
            ),
            (
                "modules.edged.hostnameOverride=true",
                "/modules/edged/hostnameOverride",
                json!("true"),
            ),
            (
                "modules.edged.nodeIP=10",
                "/modules/edged/nodeIP",
                json!("10"),
            ),
            (
                "modules.edged.tailoredKubeletConfig.memoryThrottlingFactor=1",
                "/modules/edged/tailoredKubeletConfig/memoryThrottlingFactor",
                json!(1.0),
            ),
            (
                "modules.edged.tailoredKubeletConfig.syncFrequency=20s",
                "/modules/edged/tailoredKubeletConfig/syncFrequency",
                json!("20s"),
            ),
            (
                "modules.edged.nodeLabels={zone: 1, \"a:b\":\"c,d\"}",
                "/modules/edged/nodeLabels",
                json!({"zone": "1", "a:b": "c,d"}),
            ),
            (
                "modules.edged.nodeLabels.kubernetes.io/zone=1",
                "/modules/edged/nodeLabels",
                json!({"kubernetes.io/zone": "1"}),
            ),
            (
                "modules.edged.tailoredKubeletConfig.evictionHard.imagefs.available=5%",
                "/modules/edged/tailoredKubeletConfig/evictionHard/imagefs.available",
                json!("5%"),
            ),
            (
                "featureGates={moduleRestart:true}",
                "/featureGates",
                json!({"moduleRestart": true}),
            ),
            (
                "modules.metaManager.metaServer.apiAudiences={https://a, 5}",
                "/modules/metaManager/metaServer/apiAudiences",
                json!(["https://a", "5"]),
            ),
            (
                "modules.metaManager.metaServer.serviceAccountIssuers={}",
                "/modules/metaManager/metaServer/serviceAccountIssuers",
                json!([]),
            ),
            (
                "modules.metaManager.metaServer.serviceAccountIssuers[0]=x",
                "/modules/metaManager/metaServer/serviceAccountIssuers",
                json!(["x"]),
            ),
            (
                "modules.edged.tailoredKubeletConfig.enforceNodeAllocatable[2]=x",
                "/modules/edged/tailoredKubeletConfig/enforceNodeAllocatable",
                json!(["pods", "", "x"]),
            ),
            (
                "modules.edged.tailoredKubeletConfig.registerWithTaints[1].key=7",
                "/modules/edged/tailoredKubeletConfig/registerWithTaints",
                json!([{}, {"key": "7"}]),
            ),
        ] {
            let value = edge(item).expect(item);
            assert_eq!(value.pointer(pointer), Some(&expected), "{item}");
        }
    }

    #[test]
    fn go_names_are_aliases() {
        for (item, pointer, expected) in [
            (
                "Modules.EdgeHub.Heartbeat=30",
                "/modules/edgeHub/heartbeat",
                json!(30),
            ),
            (
                "Modules.EdgeHub.TLSCAFile=/x",
                "/modules/edgeHub/tlsCaFile",
                json!("/x"),
            ),
            (
                "Modules.EdgeHub.WebSocket.Server=c:1",
                "/modules/edgeHub/websocket/server",
                json!("c:1"),
            ),
            (
                "DataBase.DataSource=/x",
                "/database/dataSource",
                json!("/x"),
            ),
            (
                "Modules.EventBus.TLS.Enable=true",
                "/modules/eventBus/eventBusTLS/enable",
                json!(true),
            ),
            (
                "Modules.EdgeStream.TunnelServer=c:1",
                "/modules/edgeStream/server",
                json!("c:1"),
            ),
            (
                "Modules.Edged.HostnameOverride=n",
                "/modules/edged/hostnameOverride",
                json!("n"),
            ),
            (
                "Modules.Edged.TailoredKubeletFlag.ContainerRuntimeOptions.PodSandboxImage=p",
                "/modules/edged/podSandboxImage",
                json!("p"),
            ),
            (
                "Modules.Edged.NodeLabels={A:b}",
                "/modules/edged/nodeLabels",
                json!({"A": "b"}),
            ),
            (
                "Modules.Edged.TailoredKubeletConfig.ResolverConfig=/r",
                "/modules/edged/tailoredKubeletConfig/resolvConf",
                json!("/r"),
            ),
            (
                "Modules.Edged.TailoredKubeletConfig.RegisterWithTaints[0].Effect=NoExecute",
                "/modules/edged/tailoredKubeletConfig/registerWithTaints",
                json!([{"effect": "NoExecute"}]),
            ),
        ] {
            let value = edge(item).expect(item);
            assert_eq!(value.pointer(pointer), Some(&expected), "{item}");
        }
    }

    #[test]
    fn unknown_keys_take_what_the_value_looks_like() {
        for (value, expected) in [
            ("5", json!(5)),
            ("0x5", json!("0x5")),
            ("1.5", json!(1.5)),
            ("inf", json!("inf")),
            ("t", json!(true)),
            ("\"5\"", json!("5")),
            ("null", json!("null")),
            ("{1,2}", json!([1, 2])),
            ("{1.5,2}", json!([1.5, 2.0])),
            ("{x y, 2}", json!(["x y", "2"])),
            ("{a:1,b:true,c:\"2\"}", json!({"a": 1, "b": true, "c": "2"})),
            ("{}", json!([])),
        ] {
            let found = run("", &format!("my.key={value}"), Kind::Edge).expect(value);
            assert_eq!(found, json!({"my": {"key": expected}}), "{value}");
        }
    }

    #[test]
    fn several_items_come_in_order() {
        let found = run("", "a.b=1,, a.c={x,y},a.b=2,\"q.r\".s=\"t,u\",", Kind::Edge);
        let expected = json!({"a": {"b": 2, "c": ["x", "y"]}, "q.r": {"s": "t,u"}});
        assert_eq!(found, Ok(expected));
        assert_eq!(parse_items(" , "), Ok(vec![]));
    }

    #[test]
    fn the_cloud_has_keys_of_its_own() {
        let text = CloudConfig::default_yaml("192.0.2.2");
        let items = "modules.cloudHub.edgeCertLifetime=90s,Modules.CloudHub.DNSNames={a,b},\
                     modules.cloudHub.partialMessageBudget=9999999999";
        let hub = run(&text, items, Kind::Cloud).expect("good")["modules"]["cloudHub"].take();
        assert_eq!(hub["edgeCertLifetime"], json!("90s"));
        assert_eq!(hub["dnsNames"], json!(["a", "b"]));
        assert_eq!(hub["partialMessageBudget"], json!(9_999_999_999u64));
    }

    #[test]
    fn a_default_list_that_is_not_in_the_file_is_the_one_that_changes() {
        let path = "modules.edged.tailoredKubeletConfig.enforceNodeAllocatable";
        let found = run("", &format!("{path}[1]=x"), Kind::Edge).expect("good");
        let pointer = format!("/{}", path.replace('.', "/"));
        assert_eq!(found.pointer(&pointer), Some(&json!(["pods", "x"])));
    }

    #[test]
    fn refusals_name_the_item() {
        for (item, expected) in [
            (
                "modules.edgeHub.heartbeat",
                "modules.edgeHub.heartbeat: there is no '='",
            ),
            ("=5", ": a key is missing"),
            ("a..b=5", "a..b: a key is missing"),
            ("a.[1]=5", "a.[1]: a key is missing"),
            ("a[x]=5", "a[x]: between [ and ] must be a number"),
            ("a[256]=5", "a[256]: between [ and ]"),
            ("a[1=5", "a[1: between [ and ]"),
            ("a[1]b=5", "a[1]b: 'b' cannot stand there"),
            ("a=\"x", "a: a quote is not closed"),
            ("a={x", "a: a { is not closed"),
            ("a=x}", "a: a } has no {"),
            ("a={b:{c:1}}", "a: braces cannot stand inside braces"),
            (
                "a={x:1,y}",
                "a: y in braces has no value: write it as key:value",
            ),
            ("my={x:1,x:2}", "my: x is in the braces twice"),
            ("a={x,}", "a: an element in the braces is empty"),
            (
                "a={1,x}",
                "a: the elements of a list must be of one kind: x is no number",
            ),
            ("a={1}2", "a: something stands behind the closing brace"),
            (
                "modules.edgeHub.heartbeat=x",
                "expected a whole number from",
            ),
            (
                "modules.edgeHub.heartbeat=1.7",
                "expected a whole number from",
            ),
            (
                "modules.edgeHub.heartbeat=2147483648",
                "expected a whole number from",
            ),
            (
                "modules.eventBus.mqttQOS=300",
                "expected a whole number from 0 to 2, found 300",
            ),
            (
                "modules.serviceBus.port=65536",
                "expected a whole number from 0 to 65535",
            ),
            (
                "modules.edgeHub.enable=maybe",
                "expected true or false, found maybe",
            ),
            ("modules.edgeHub.token={a}", "expected text, found braces"),
            ("modules.edgeHub=5", "expected a mapping like {a:1,b:2}"),
            (
                "modules.edged.tailoredKubeletConfig.clusterDNS=x",
                "expected a list like {a,b}",
            ),
            (
                "modules.edgehub.heartbeat=5",
                "there is no key edgehub: did you mean edgeHub?",
            ),
            ("modules.edgeHub.heartbeat.x=5", "is not a mapping"),
            ("modules.edgeHub.heartbeat[0]=5", "is not a list"),
            ("Modules.EdgeHub.Nothing=5", "there is no field Nothing"),
            (
                "Modules.Edged.TailoredKubeletFlag=5",
                "the path ends at TailoredKubeletFlag",
            ),
        ] {
            let error = edge(item).expect_err(item);
            assert!(error.starts_with("--set "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn no_refusal_shows_a_token() {
        let token = "a".repeat(64) + ".secret.part";
        for item in [
            format!("modules.edgeHub.token={{{token}}}"),
            format!("modules.edgeHub.token=\"{token}"),
            format!("modules.edgeHub.token.x={token}"),
            token.clone(),
        ] {
            let error = edge(&item).expect_err("refused");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn comments_stay() {
        let text = "# mine\nmodules:\n  edgeHub:\n    heartbeat: 15 # slow\n";
        let items = parse_items("modules.edgeHub.heartbeat=30").expect("good");
        let edited = apply(text, &items, Kind::Edge).expect("good");
        assert_eq!(edited, text.replace("15", "30"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-zA-Z0-9.,=:{}\\[\\]\" ]{0,40}") {
            if let Ok(items) = parse_items(&text) {
                let _ = apply("", &items, Kind::Edge);
            }
        }
    }
}
