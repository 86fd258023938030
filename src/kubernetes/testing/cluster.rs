//! The objects of the cluster in memory, their versions, and what has changed.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use super::super::request::{Method, Request};
use super::super::{Answer, CallError, EventKind};
use super::select::{Change, Past, Select};
use super::{check, merge, refusal};

#[derive(Default)]
pub struct Cluster {
    version: u64,
    /// Given to objects as uids and to names that are made up.
    made: u64,
    /// By type, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    history: VecDeque<(u64, String, Past)>,
    /// Changes up to this version are forgotten.
    compacted: u64,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `v1/secrets`, `apps/v1/deployments`.
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub part: String,
}

impl Place {
    pub fn of(path: &str) -> Option<Place> {
        let mut rest: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let head = match *rest.first()? {
            "api" => 1,
            "apis" => 2,
            _ => return None,
        };
        let mut words = rest.split_off(1);
        if words.len() <= head {
            return None;
        }
        let mut tail = words.split_off(head);
        let deep = tail.len() > 2 && tail[0] == "namespaces" && !PARTS.contains(&tail[2]);
        let namespace = match deep {
            true => tail.drain(..2).next_back()?.to_owned(),
            false => String::new(),
        };
        let at = |index: usize| tail.get(index).map(|word| unescape(word));
        Some(Place {
            kind: format!("{}/{}", words.join("/"), tail.first()?),
            namespace,
            name: at(1).unwrap_or_default(),
            part: at(2).unwrap_or_default(),
        })
    }

    fn key(&self) -> (String, String, String) {
        (self.kind.clone(), self.namespace.clone(), self.name.clone())
    }

    pub fn plural(&self) -> &str {
        self.kind.rsplit('/').next().unwrap_or_default()
    }

    fn missing(&self) -> CallError {
        let message = format!("{} \"{}\" not found", self.plural(), self.name);
        refusal(404, "NotFound", &message)
    }
}

impl Cluster {
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, place: &Place) -> Option<Value> {
        self.objects.get(&place.key()).cloned()
    }

    pub fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.version;
    }

    pub fn answer(&mut self, request: &Request) -> Result<Answer, CallError> {
        let place =
            Place::of(&request.path).ok_or_else(|| refusal(404, "NotFound", "no such path"))?;
        let body = request.body.as_ref();
        if body.is_some_and(|body| body.bytes.len() > MAX_BODY) {
            return Err(refusal(
                413,
                "RequestEntityTooLarge",
                "the request is too large",
            ));
        }
        let value = match body {
            Some(body) => serde_json::from_slice(&body.bytes)
                .map_err(|error| refusal(400, "BadRequest", &error.to_string()))?,
            None => Value::Null,
        };
        let (status, object) = match request.method {
            Method::Get if place.name.is_empty() => (200, self.list(&place, request)?),
            Method::Get => (200, self.get(&place).ok_or_else(|| place.missing())?),
            Method::Post => (201, self.create(place, value)?),
            Method::Put => (200, self.replace(&place, value)?),
            Method::Patch => {
                let content = body.map(|body| body.content_type).unwrap_or_default();
                self.patch(&place, content, value)?
            }
            Method::Delete => (200, self.delete(&place, &value)?),
        };
        Ok(Answer {
            status,
            body: object.to_string().into_bytes(),
            warnings: Vec::new(),
        })
    }

    fn list(&self, place: &Place, request: &Request) -> Result<Value, CallError> {
        let query = |key| {
            request
                .query
                .iter()
                .find(|it| it.0 == key)
                .map(|it| it.1.as_str())
        };
        let select = Select::of(request);
        let all: Vec<&Value> = self
            .objects
            .iter()
            .filter(|((kind, namespace, _), object)| {
                *kind == place.kind
                    && (place.namespace.is_empty() || *namespace == place.namespace)
                    && select.has(object)
            })
            .map(|it| it.1)
            .collect();
        let limit = query("limit")
            .and_then(|it| it.parse().ok())
            .filter(|it| *it > 0);
        let limit = limit.unwrap_or(usize::MAX);
        // `version.offset`; the fake goes on from the present state, as one of an old version would.
        let (version, offset) = match query("continue") {
            None | Some("") => (self.version, 0),
            Some(token) => {
                let parts = token.split_once('.').and_then(|(version, offset)| {
                    Some((version.parse::<u64>().ok()?, offset.parse::<usize>().ok()?))
                });
                parts.ok_or_else(|| refusal(400, "BadRequest", "invalid continue token"))?
            }
        };
        if version < self.compacted {
            return Err(refusal(410, "Expired", "the continue token is too old"));
        }
        let end = offset.saturating_add(limit).min(all.len());
        let page = all.get(offset..end).unwrap_or_default();
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if end < all.len() {
            metadata["continue"] = json!(format!("{version}.{end}"));
            metadata["remainingItemCount"] = json!(all.len() - end);
        }
        let api_version = place
            .kind
            .rsplit_once('/')
            .map(|it| it.0)
            .unwrap_or_default();
        Ok(json!({"kind": "List", "apiVersion": api_version, "metadata": metadata, "items": page}))
    }

    fn create(&mut self, mut place: Place, mut object: Value) -> Result<Value, CallError> {
        if !place.part.is_empty() {
            return self.token(&place, object);
        }
        if place.kind.starts_with("authorization.k8s.io/") {
            object["status"] = json!({"allowed": true});
            return Ok(object);
        }
        self.made += 1;
        let made = self.made;
        let metadata = metadata(&mut object)?;
        let text = |key: &str| {
            metadata
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        place.name = match (text("name"), text("generateName")) {
            ("", "") => return Err(check::invalid("metadata.name: Required value")),
            ("", prefix) => format!("{prefix}{made:05}"),
            (name, _) => name.to_owned(),
        };
        if !text("resourceVersion").is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(refusal(400, "BadRequest", message));
        }
        check::name(&place.name)?;
        let namespaces = (
            "v1/namespaces".to_owned(),
            String::new(),
            place.namespace.clone(),
        );
        if !place.namespace.is_empty() && !self.objects.contains_key(&namespaces) {
            let message = format!("namespaces \"{}\" not found", place.namespace);
            return Err(refusal(404, "NotFound", &message));
        }
        if self.objects.contains_key(&place.key()) {
            let message = format!("{} \"{}\" already exists", place.plural(), place.name);
            return Err(refusal(409, "AlreadyExists", &message));
        }
        metadata.insert("name".to_owned(), json!(place.name));
        if !place.namespace.is_empty() {
            metadata.insert("namespace".to_owned(), json!(place.namespace));
        }
        metadata.insert(
            "uid".to_owned(),
            json!(format!("00000000-0000-4000-8000-{made:012}")),
        );
        metadata.insert("creationTimestamp".to_owned(), json!(TIME));
        self.store(&place, object)
    }

    /// `serviceaccounts/NAME/token`, the only part that is created.
    fn token(&mut self, place: &Place, mut object: Value) -> Result<Value, CallError> {
        let whole = Place {
            part: String::new(),
            ..place.clone()
        };
        if place.part != "token" || self.get(&whole).is_none() {
            return Err(whole.missing());
        }
        self.made += 1;
        let token = format!("fake.{}.{}.{}", place.namespace, place.name, self.made);
        object["status"] = json!({"token": token, "expirationTimestamp": "2026-11-29T08:00:00Z"});
        Ok(object)
    }

    fn replace(&mut self, place: &Place, mut object: Value) -> Result<Value, CallError> {
        let held = self.get(place).ok_or_else(|| place.missing())?;
        let metadata = metadata(&mut object)?;
        let text = |key: &str| {
            metadata
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        if text("name") != place.name {
            let message = "the name of the object does not match the name on the URL";
            return Err(refusal(400, "BadRequest", message));
        }
        let version = text("resourceVersion");
        if version.is_empty() && place.plural() == "leases" {
            return Err(check::invalid(
                "metadata.resourceVersion: must be specified for an update",
            ));
        }
        let other = |key: &str, text: &str| !text.is_empty() && held["metadata"][key] != *text;
        if other("resourceVersion", version) || other("uid", text("uid")) {
            let message = format!(
                "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please \
                 apply your changes to the latest version and try again",
                place.plural(),
                place.name
            );
            return Err(refusal(409, "Conflict", &message));
        }
        for key in ["uid", "creationTimestamp", "namespace", "deletionTimestamp"] {
            match held["metadata"].get(key) {
                Some(value) => metadata.insert(key.to_owned(), value.clone()),
                None => metadata.remove(key),
            };
        }
        // A part is changed alone, and the rest without it.
        let kept = if place.part == "status" {
            "spec"
        } else {
            "status"
        };
        if let Some(object) = object.as_object_mut() {
            match held.get(kept) {
                Some(value) => object.insert(kept.to_owned(), value.clone()),
                None => object.remove(kept),
            };
        }
        self.store(place, object)
    }

    fn patch(
        &mut self,
        place: &Place,
        content: &str,
        change: Value,
    ) -> Result<(u16, Value), CallError> {
        let held = self.get(place);
        if content == "application/apply-patch+yaml" && held.is_none() {
            return Ok((201, self.create(place.clone(), change)?));
        }
        let mut object = held.ok_or_else(|| place.missing())?;
        match content {
            "application/merge-patch+json" | "application/apply-patch+yaml" => {
                merge::plain(&mut object, &change);
            }
            "application/strategic-merge-patch+json" => merge::strategic(&mut object, &change),
            _ => {
                return Err(refusal(
                    415,
                    "UnsupportedMediaType",
                    "the fake can't do this patch",
                ));
            }
        }
        let given = &change["metadata"]["resourceVersion"];
        if given.is_null() {
            metadata(&mut object)?.remove("resourceVersion");
            let version = self
                .get(place)
                .map(|held| held["metadata"]["resourceVersion"].clone());
            metadata(&mut object)?
                .insert("resourceVersion".to_owned(), version.unwrap_or_default());
        }
        Ok((200, self.replace(place, object)?))
    }

    fn delete(&mut self, place: &Place, options: &Value) -> Result<Value, CallError> {
        let mut held = self.get(place).ok_or_else(|| place.missing())?;
        for key in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][key];
            if !wanted.is_null() && *wanted != held["metadata"][key] {
                let message = format!("Precondition failed: {key} in precondition: {wanted}");
                return Err(refusal(409, "Conflict", &message));
            }
        }
        let finalizers = held["metadata"]["finalizers"].as_array();
        let held_back = finalizers.is_some_and(|them| !them.is_empty());
        let grace = options["gracePeriodSeconds"].as_u64().unwrap_or(30);
        let runs = place.plural() == "pods" && held["spec"]["nodeName"].is_string();
        if held_back || (runs && grace > 0) {
            held["metadata"]["deletionTimestamp"] = json!(TIME);
            if runs {
                held["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            }
            return self.store(place, held);
        }
        self.forget(place, held);
        Ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    fn forget(&mut self, place: &Place, mut held: Value) {
        self.objects.remove(&place.key());
        self.version += 1;
        held["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.note(place, Some(held), None);
    }

    /// Nothing is written when nothing has changed.
    fn store(&mut self, place: &Place, mut object: Value) -> Result<Value, CallError> {
        check::data(place, &object)?;
        let before = self.objects.get(&place.key()).cloned();
        if let Some(before) = &before {
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if object == *before {
                return Ok(object);
            }
            let finalizers = object["metadata"]["finalizers"].as_array();
            let dying = before["metadata"]["deletionTimestamp"].is_string();
            if dying
                && before["metadata"]["finalizers"].is_array()
                && finalizers.is_none_or(Vec::is_empty)
            {
                self.forget(place, object.clone());
                return Ok(object);
            }
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(place.key(), object.clone());
        self.note(place, before, Some(object.clone()));
        Ok(object)
    }

    fn note(&mut self, place: &Place, before: Option<Value>, after: Option<Value>) {
        let past = Past {
            namespace: place.namespace.clone(),
            before,
            after,
        };
        self.history
            .push_back((self.version, place.kind.clone(), past));
    }

    /// What a watch tells first, and the version from which on it waits for changes.
    pub fn watch(
        &self,
        request: &Request,
        from: &str,
    ) -> Result<(VecDeque<Change>, u64), CallError> {
        if let "" | "0" = from {
            let place =
                Place::of(&request.path).ok_or_else(|| refusal(404, "NotFound", "no such path"))?;
            let list = self.list(
                &place,
                &Request::new(Method::Get, "/").with_query_of(request),
            )?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let added = |object| Change {
                kind: EventKind::Added,
                object,
            };
            return Ok((items.into_iter().map(added).collect(), self.version));
        }
        let from = from
            .parse()
            .map_err(|_| refusal(400, "BadRequest", "invalid resourceVersion"))?;
        self.next(request, from).map(|_| (VecDeque::new(), from))
    }

    /// The next change after this version, with its own.
    pub fn next(&self, request: &Request, from: u64) -> Result<Option<(u64, Change)>, CallError> {
        if from < self.compacted {
            let message = format!("too old resource version: {from} ({})", self.version);
            return Err(refusal(410, "Expired", &message));
        }
        let Some(place) = Place::of(&request.path) else {
            return Ok(None);
        };
        let select = Select::of(request);
        let mut news = self.history.iter().filter(|(version, kind, past)| {
            *version > from
                && *kind == place.kind
                && (place.namespace.is_empty() || past.namespace == place.namespace)
        });
        Ok(news.find_map(|(version, _, past)| Some((*version, past.seen(&select)?))))
    }
}

fn metadata(object: &mut Value) -> Result<&mut Map<String, Value>, CallError> {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.ok_or_else(|| check::invalid("metadata: Required value"))
}

fn unescape(word: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const PARTS: [&str; 2] = ["status", "finalize"];
const TIME: &str = "2026-11-22T08:00:00Z";
const MAX_BODY: usize = 3 << 20;
