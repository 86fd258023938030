//! A cloud in this process: one Node, one lease, and misdeeds to order.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::protocol::message::Message;
use crate::system::clock::Timestamp;

pub struct Cloud {
    pub node: Option<Value>,
    pub lease: Option<Value>,
    /// Everything asked, as `insert null/node/edge-1`, with its content.
    pub asked: Vec<(String, Value)>,
    /// How long each of these was on the wire.
    pub lengths: Vec<usize>,
    /// What to do with the next question of this kind, in order.
    pub misdeeds: VecDeque<(&'static str, Misdeed)>,
    /// Never answers questions that begin so.
    pub deaf_to: Vec<&'static str>,
    /// Keeps of a patch nothing but conditions.
    pub stubborn: bool,
    /// Writes down who wrote which field, as an API server does.
    pub tracks: bool,
    version: u64,
    uids: u64,
}

#[derive(Clone, Copy, Debug)]
pub enum Misdeed {
    /// Neither does it nor answers.
    Silence,
    /// Does it and does not answer.
    Lost,
    /// Does it and answers twice.
    Twice,
    /// An error of the API.
    Status(u16, &'static str),
    /// What a Go program makes of an error that is none of the API's.
    EmptyError,
    /// Plain words, as an error or not.
    Words(&'static str),
    /// An answer of another form, or about another.
    Form(&'static str),
}

impl Cloud {
    pub fn new() -> Cloud {
        Cloud {
            node: None,
            lease: None,
            asked: Vec::new(),
            lengths: Vec::new(),
            misdeeds: VecDeque::new(),
            deaf_to: Vec::new(),
            stubborn: false,
            tracks: true,
            version: 100,
            uids: 0,
        }
    }

    pub fn count(&self, what: &str) -> usize {
        let fits = |asked: &&(String, Value)| asked.0.starts_with(what);
        self.asked.iter().filter(fits).count()
    }

    /// The contents of the questions that begin so.
    pub fn contents(&self, what: &str) -> Vec<Value> {
        let of = self.asked.iter().filter(|it| it.0.starts_with(what));
        of.map(|it| it.1.clone()).collect()
    }

    /// The patches, as they are meant.
    pub fn patches(&self) -> Vec<Value> {
        let texts = self.contents("patch");
        let read = |text: &Value| serde_json::from_str(text.as_str().unwrap()).unwrap();
        texts.iter().map(read).collect()
    }

    pub fn answers(&mut self, question: &Message) -> Vec<Message> {
        let route = &question.route;
        let what = format!("{} {}", route.operation, route.resource);
        assert_eq!((&*route.source, &*route.group), ("edged", "meta"), "{what}");
        let content = question.content.as_ref().map_or("null", |it| it.get());
        let content: Value = serde_json::from_str(content).unwrap();
        self.asked.push((what.clone(), content.clone()));
        self.lengths.push(question.to_json().len());
        if self.deaf_to.iter().any(|it| what.starts_with(it)) {
            return Vec::new();
        }
        let misdeed = match self.misdeeds.front() {
            Some((of, misdeed)) if what.starts_with(of) => Some(*misdeed),
            _ => None,
        };
        if misdeed.is_some() {
            self.misdeeds.pop_front();
        }
        let is_query_of_node = what.starts_with("query null/node/");
        let both = |object: Value, error: Value| json!({"Object": object, "Err": error});
        let content = match misdeed {
            Some(Misdeed::Silence) => return Vec::new(),
            Some(Misdeed::Status(code, reason)) => {
                let error = status(code, reason);
                match is_query_of_node {
                    true => error,
                    false => both(Value::Null, error),
                }
            }
            Some(Misdeed::EmptyError) => both(json!({"metadata": {}}), json!({})),
            Some(Misdeed::Words(words)) => words.into(),
            Some(Misdeed::Form(text)) => serde_json::from_str(text).unwrap(),
            None | Some(Misdeed::Lost | Misdeed::Twice) => match self.done(&what, content) {
                Ok(object) if is_query_of_node => object,
                Err(error) if is_query_of_node => error,
                Ok(object) => both(object, Value::Null),
                Err(error) => both(Value::Null, error),
            },
        };
        let mut answer = question.answer(NOW, "edgecontroller", "response", "");
        answer.route.group = "resource".to_owned();
        answer.content = serde_json::value::to_raw_value(&content).ok();
        match misdeed {
            Some(Misdeed::Lost) => Vec::new(),
            Some(Misdeed::Twice) => vec![answer.clone(), answer],
            _ => vec![answer],
        }
    }

    fn done(&mut self, what: &str, content: Value) -> Result<Value, Value> {
        let (operation, resource) = what.split_once(' ').unwrap();
        match (operation, resource) {
            ("query", "null/node/edge-1") => found(&self.node),
            ("insert", "null/node/edge-1") if self.node.is_some() => {
                Err(status(409, "AlreadyExists"))
            }
            ("insert", "null/node/edge-1") => {
                let node = self.born(content);
                self.node = Some(node.clone());
                Ok(node)
            }
            ("patch", "null/nodepatch/edge-1") => {
                let mut node = found(&self.node)?;
                let patch: Value = serde_json::from_str(content.as_str().unwrap()).unwrap();
                let patch = match self.stubborn {
                    true => json!({"status": {"conditions": patch["status"]["conditions"]}}),
                    false => patch,
                };
                merge(&mut node, &patch);
                self.touch(&mut node);
                self.node = Some(node.clone());
                Ok(node)
            }
            ("query", LEASE) => found(&self.lease),
            ("insert", LEASE) if self.lease.is_some() => Err(status(409, "AlreadyExists")),
            ("insert", LEASE) => {
                let lease = self.born(content);
                self.lease = Some(lease.clone());
                Ok(lease)
            }
            ("update", LEASE) => {
                let old = found(&self.lease)?;
                if content["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
                    return Err(status(409, "Conflict"));
                }
                let mut lease = content;
                for key in ["uid", "creationTimestamp"] {
                    lease["metadata"][key] = old["metadata"][key].clone();
                }
                // An empty entry asks to forget who wrote what; none leaves it as it was.
                let kept = match lease["metadata"]["managedFields"].is_array() {
                    true => Value::Null,
                    false => old["metadata"]["managedFields"].clone(),
                };
                lease["metadata"]["managedFields"] = kept;
                self.touch(&mut lease);
                self.lease = Some(lease.clone());
                Ok(lease)
            }
            _ => panic!("{what} is no question of a node"),
        }
    }

    fn born(&mut self, mut object: Value) -> Value {
        self.uids += 1;
        object["metadata"]["uid"] = format!("uid-{}", self.uids).into();
        object["metadata"]["creationTimestamp"] = "2026-11-22T08:02:53Z".into();
        if self.tracks {
            object["metadata"]["managedFields"] = json!([{"manager": "cloudcore"}]);
        }
        self.touch(&mut object);
        object
    }

    pub fn touch(&mut self, object: &mut Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
    }
}

fn found(object: &Option<Value>) -> Result<Value, Value> {
    object.clone().ok_or_else(|| status(404, "NotFound"))
}

pub fn status(code: u16, reason: &str) -> Value {
    json!({"ErrStatus": {"metadata": {}, "status": "Failure", "reason": reason, "code": code,
        "message": format!("edge-1: {reason}")}})
}

/// A strategic merge patch, as far as a node's reports go.
pub fn merge(into: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().unwrap() {
        match key.as_str() {
            "conditions" => {
                let mut all = into[key].as_array().cloned().unwrap_or_default();
                for one in value.as_array().unwrap() {
                    match all.iter_mut().find(|old| old["type"] == one["type"]) {
                        Some(old) => merge(old, one),
                        None => all.push(one.clone()),
                    }
                }
                into[key] = all.into();
            }
            "addresses" => {
                let all = value.as_array().unwrap();
                assert!(all.contains(&json!({"$patch": "replace"})));
                into[key] = all
                    .iter()
                    .filter(|it| it["$patch"].is_null())
                    .cloned()
                    .collect();
            }
            directive if directive.starts_with('$') => {}
            _ if value.is_object() => merge(&mut into[key], value),
            _ => into[key] = value.clone(),
        }
    }
}

pub const LEASE: &str = "kube-node-lease/lease/edge-1";
const NOW: Timestamp = Timestamp::from_unix(1_795_334_573);
