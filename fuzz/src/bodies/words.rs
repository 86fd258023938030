//! What is read from lines and files: messages, local sockets, the journal, names, times and durations.

use kubeedge::config::duration;
use kubeedge::protocol::control::{
    CloudStatus, EdgeStatus, HubSession, NodeRow, ObjectLine, Reply, Request,
};
use kubeedge::protocol::jobs::{Address, Order, Report, Work};
use kubeedge::protocol::local::request::{self, Ask, Unasked};
use kubeedge::protocol::message::{Message, Route};
use kubeedge::protocol::object::Object;
use kubeedge::protocol::patch::Patch;
use kubeedge::protocol::reply::{bare_object, object_of_both};
use kubeedge::protocol::resource::Resource;
use kubeedge::protocol::selector::Selection;
use kubeedge::protocol::terms::Terms;
use kubeedge::store::journal::{Nodes, line, parse};
use kubeedge::store::{TokenId, TokenRecord, revocations};
use kubeedge::system::clock::{Timestamp, http_date};
use kubeedge::system::names::{Endpoint, Host, NodeName};
use kubeedge::system::pattern::NodePattern;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::assert_sentence;

/// A frame of the tunnel: what is read is written again to the same message.
pub fn message(data: &[u8]) {
    let message = match Message::from_json(data) {
        Ok(message) => message,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    let line = message.to_json();
    assert!(line.ends_with('\n') && line.matches('\n').count() >= 1);
    let again = Message::from_json(line.as_bytes()).expect("own JSON");
    assert_eq!(again.to_json(), line);
    assert_eq!(again.route, message.route);
    let content = |message: &Message| message.content.as_ref().map(|c| c.get().to_owned());
    assert_eq!(
        content(&again),
        content(&message),
        "content is not ours to change"
    );
    let answer = message.answer(Timestamp::from_unix(1), "cloudhub", "error", "no");
    assert_eq!(answer.header.parent_id, message.header.id);
    assert_eq!(answer.text().as_deref(), Some("no"));
    Message::from_json(answer.to_json().as_bytes()).expect("an answer can be read");
}

/// A job as a node gets it, and a report as a cloud does.
pub fn jobs(data: &[u8]) {
    let Ok(message) = Message::from_json(data) else {
        return;
    };
    if let Some(report) = Report::read(&message) {
        let again = serde_json::to_string(&report).expect("a report is JSON");
        assert_eq!(serde_json::from_str::<Report>(&again).ok(), Some(report));
    }
    let Some(address) = Address::of(&message) else {
        return;
    };
    assert_eq!(address.resource(), message.route.resource);
    match Order::read(address, &message, "arm64") {
        Err(why) => assert_sentence(&why.to_string()),
        Ok(order) => match order.work {
            Work::Upgrade(upgrade) => {
                let image = upgrade.image.iter().map(|it| it.as_str());
                let digest = upgrade.digest.iter().map(|it| it.as_str());
                for word in image.chain(digest).chain([upgrade.version.as_str()]) {
                    assert_word(word);
                }
            }
            Work::Config(wishes) => {
                for wish in wishes {
                    assert!(wish.key().starts_with("modules."));
                    assert!(!wish.key().starts_with("modules.taskManager."));
                    assert_eq!(wish.to_string().parse(), Ok(wish));
                }
            }
            Work::PrePull(images) => images.iter().for_each(|it| assert_word(it.as_str())),
            Work::Check => {}
        },
    }
}

/// An argument that no program takes for an option, and no shell for more than a word.
fn assert_word(word: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    assert!(
        !word.is_empty() && !word.starts_with('-') && word.chars().all(plain),
        "{word:?}"
    );
}

/// A request to the API on the device: path and query, in two lines. Whatever selects can be asked of any object.
pub fn local(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, query) = text.split_once('\n').unwrap_or((&text, ""));
    let mut selection = Selection::default();
    for added in [selection.add_labels(query), selection.add_fields(query)] {
        if let Err(error) = added {
            assert_sentence(&error.to_string());
        }
    }
    let asked = match request::read(path, query) {
        Ok(asked) => asked,
        Err(Unasked::Selector(error)) => return assert_sentence(&error.to_string()),
        Err(_) => return,
    };
    assert!(path.starts_with('/'));
    match asked.ask {
        Ask::Get(sort, object) => {
            // What comes out is a plain name, which leads nowhere else.
            let again = sort.path(object.namespace.as_str(), Some(&object.name));
            assert!(
                path.trim_end_matches('/').ends_with(&again),
                "{path} {again}"
            );
            assert!(!again.contains("..") && again.is_ascii());
        }
        Ask::List(list) => {
            let object = serde_json::json!({"metadata": {"name": "a", "labels": {"a": "b"}}});
            let fits = list.selection.fits(&object);
            assert!(fits || !list.selection.is_all());
        }
        _ => {}
    }
}

/// An object in the first line, and a patch of it in the rest.
pub fn patch(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (object, patch) = text.split_once('\n').unwrap_or(("{}", text));
    let Ok(serde_json::Value::Object(mut object)) = serde_json::from_str(object) else {
        return;
    };
    let patch = match Patch::parse(patch) {
        Ok(patch) => patch,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    match patch.apply(&mut object) {
        Ok(()) => {
            let mut again = object.clone();
            if patch.apply(&mut again).is_ok() {
                let text = serde_json::Value::from(again).to_string();
                assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }
        Err(error) => assert_sentence(&error.to_string()),
    }
}

/// The name of a resource: what is taken is written again to what means the same.
pub fn resource(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<Resource>() {
        Ok(resource) => {
            let written = resource.to_string();
            assert!(!written.contains(['\n', '\r', ' ']) && written.len() < 2048);
            assert_eq!(written.parse().as_ref(), Ok(&resource));
            if let Some(path) = resource.object() {
                assert!(!path.name.contains('/') && !path.name.is_empty());
                assert!(path.namespace.as_str() != Some(""));
            }
        }
        Err(error) => assert_sentence(&error.to_string()),
    }
    if let Ok(terms) = text.parse::<Terms>() {
        assert_eq!(terms.to_string().parse(), Ok(terms));
        assert_eq!(terms.granted().keepalive, terms.keepalive);
    }
}

/// What answers of a cloud carry: an object to the letter, or a sentence.
pub fn reply(data: &[u8]) {
    let Ok(content) = serde_json::from_slice::<Box<RawValue>>(data) else {
        return;
    };
    for operation in ["response", "error"] {
        let route = Route {
            operation: operation.to_owned(),
            ..Route::default()
        };
        let answer = Message::new(Timestamp::from_unix(1), route, &content);
        for read in [bare_object(&answer), object_of_both(&answer)] {
            match read {
                Ok(object) => {
                    assert!(!object.meta().name.is_empty());
                    assert!(content.get().contains(object.text()));
                    let again = Object::read(object.raw().to_owned()).expect("as before");
                    assert_eq!(again.meta(), object.meta());
                }
                Err(refusal) => assert_sentence(&refusal.to_string()),
            }
        }
    }
}

/// Lines of the local sockets.
pub fn control(data: &[u8]) {
    round::<Request>(data);
    round::<Reply>(data);
    round::<EdgeStatus>(data);
    round::<CloudStatus>(data);
    round::<HubSession>(data);
    round::<NodeRow>(data);
    round::<ObjectLine>(data);
}

/// What the cloud keeps of tokens and of revoked keys, in files that a person may have edited.
pub fn records(data: &[u8]) {
    round::<TokenRecord>(data);
    match revocations::parse(data) {
        Ok(known) => {
            let again = revocations::parse(&revocations::text(&known));
            assert_eq!(again, Ok(known), "what was written can be read");
        }
        Err(number) => assert!(number >= 1 && number <= 1 + data.len()),
    }
}

/// What is read from JSON is written to one line, and read again to the same.
fn round<T: DeserializeOwned + Serialize>(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(data) else {
        return;
    };
    let written = serde_json::to_vec(&value).expect("it was read from JSON");
    assert!(!written.contains(&b'\n'), "one line");
    let again: T = serde_json::from_slice(&written).expect("own JSON");
    assert_eq!(serde_json::to_vec(&again).expect("as before"), written);
}

/// The journal of nodes: what is left of a damaged file is a good file, and nothing in it was invented.
pub fn journal(data: &[u8]) {
    let found = parse(data);
    assert!(found.whole <= data.len() && found.whole == 0 || data[found.whole - 1] == b'\n');
    assert!(found.nodes.len() <= found.lines);
    let rewritten = |nodes: &Nodes| -> Vec<u8> {
        nodes
            .iter()
            .flat_map(|(name, record)| line(name, Some(record)))
            .collect()
    };
    let good = rewritten(&found.nodes);
    let again = parse(&good);
    assert!(again.damaged.is_empty() && again.whole == good.len());
    assert_eq!(again.nodes, found.nodes);
    // A tail torn anywhere takes the torn line and no other.
    let torn = parse(&good[..good.len().saturating_sub(1 + data.len() % 40)]);
    assert!(torn.damaged.is_empty() && torn.nodes.len() + 1 >= found.nodes.len());
    for (name, record) in &torn.nodes {
        assert_eq!(found.nodes.get(name), Some(record));
    }
    // Without a checksum no line counts, whatever stands in it.
    let unchecked = [b"00000000 ", data].concat();
    assert!(parse(&unchecked).lines <= data.iter().filter(|byte| **byte == b'\n').count());
}

/// Names, endpoints, times and durations are written as they are read.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<NodeName>() {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(
                !text.contains('/') && !text.contains(".."),
                "it becomes part of a path"
            );
        }
        Err(error) => assert_sentence(&error.to_string()),
    }
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint.clone()));
            let with_default = Endpoint::parse_with_default_port(text, 1);
            assert_eq!(with_default, Ok(endpoint), "a given port counts");
        }
        Err(error) => assert_sentence(&error.to_string()),
    }
    if let Ok(host) = text.parse::<Host>() {
        assert_eq!(host.to_string().parse(), Ok(host));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        let micros = time.rfc3339_micros().parse();
        assert_eq!(micros, Ok(time), "{text:?} is {}", time.rfc3339_micros());
    }
    if let Ok(length) = duration::parse(text) {
        let again = duration::parse(&duration::show(length));
        assert_eq!(again, Ok(length), "{text:?} is {}", duration::show(length));
    }
}

/// A pattern and a name, with a line end between: the matcher agrees with the plainest one there is.
pub fn pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(id) = text.parse::<TokenId>() {
        assert_eq!(id.as_str(), text);
    }
    if let Some(moment) = http_date::parse(text) {
        assert_eq!(http_date::parse(&http_date::show(moment)), Some(moment));
    }
    if let Ok(length) = duration::parse_with_days(text) {
        assert_eq!(duration::parse(&duration::show(length)), Ok(length));
    }
    let pattern = match pattern.parse::<NodePattern>() {
        Ok(pattern) => pattern,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
    let Ok(name) = name.parse::<NodeName>() else {
        return;
    };
    let fits = plainly_fits(pattern.as_str().as_bytes(), name.as_str().as_bytes());
    assert_eq!(pattern.matches(&name), fits, "{pattern} and {name}");
    if let Some(only) = pattern.exact() {
        assert_eq!(pattern.matches(&name), only == name);
    }
}

/// By a table: which beginnings of the name the pattern so far stands for.
fn plainly_fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut fits = vec![false; name.len() + 1];
    fits[0] = true;
    for byte in pattern {
        if *byte == b'*' {
            for at in 1..fits.len() {
                fits[at] |= fits[at - 1];
            }
            continue;
        }
        for at in (1..fits.len()).rev() {
            fits[at] = fits[at - 1] && (*byte == b'?' || *byte == name[at - 1]);
        }
        fits[0] = false;
    }
    fits[name.len()]
}
