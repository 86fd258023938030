//! The text of kubeconfig files: several seen as one, and each part with its place.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::error::{ConfigError, Place};
use crate::system::secret::Secret;
use crate::system::yaml::{Document, Segment};

/// Files in the order of their weight: what the first one has, the others can't change.
#[derive(Debug, Default)]
pub struct Files(Vec<File>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    document: Document,
}

/// A mapping in a file.
#[derive(Clone)]
pub struct Part<'a> {
    file: &'a File,
    at: Vec<Segment>,
    value: &'a Value,
}

impl Files {
    /// Takes one more, of at most `yaml::MAX_TEXT` bytes. Relative paths in it count from its folder.
    pub fn add(&mut self, path: &Path, text: &[u8]) -> Result<(), ConfigError> {
        let name = path.display().to_string();
        let text =
            std::str::from_utf8(text).map_err(|_| ConfigError::Text { file: name.clone() })?;
        let document = Document::parse(text, &name).map_err(ConfigError::Syntax)?;
        let file = File {
            path: path.to_owned(),
            document,
        };
        let top = file.top();
        if !top.value.is_object() && !top.value.is_null() {
            return Err(top.wrong("", "this is no kubeconfig".to_owned()));
        }
        if top.text("kind")?.is_some_and(|kind| kind != "Config") {
            return Err(top.wrong(
                "kind",
                "this is no kubeconfig, whose kind is Config".to_owned(),
            ));
        }
        self.0.push(file);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths, for people.
    pub fn names(&self) -> String {
        let names = self.0.iter().map(|file| file.path.display().to_string());
        names.collect::<Vec<_>>().join(" and ")
    }

    pub fn current_context(&self) -> Result<Option<String>, ConfigError> {
        for file in &self.0 {
            if let Some(name) = file.top().text("current-context")? {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    /// The first entry of this name in a list of named entries.
    pub fn named(&self, list: &'static str, name: &str) -> Result<Part<'_>, ConfigError> {
        for file in &self.0 {
            let entries = file.document.value.get(list).and_then(Value::as_array);
            for (index, value) in entries.into_iter().flatten().enumerate() {
                if value.get("name").and_then(Value::as_str) == Some(name) {
                    let at = vec![Segment::Key(list.to_owned()), Segment::Index(index)];
                    return Ok(Part { file, at, value });
                }
            }
        }
        Err(ConfigError::Missing {
            what: list,
            name: short(name),
            files: self.names(),
            known: self.known(list),
        })
    }

    /// The names in such a list, as many as a sentence holds.
    pub fn known(&self, list: &str) -> Vec<String> {
        let lists = self
            .0
            .iter()
            .filter_map(|file| file.document.value.get(list));
        let entries = lists.filter_map(Value::as_array).flatten();
        let names = entries.filter_map(|entry| entry.get("name")?.as_str());
        names.take(MAX_SHOWN).map(short).collect()
    }
}

impl File {
    fn top(&self) -> Part<'_> {
        Part {
            file: self,
            at: Vec::new(),
            value: &self.document.value,
        }
    }
}

impl<'a> Part<'a> {
    /// The mapping below a key; one that is empty when there is none.
    pub fn part(&self, key: &str) -> Result<Part<'a>, ConfigError> {
        let value = self.value.get(key).unwrap_or(&Value::Null);
        if !value.is_object() && !value.is_null() {
            return Err(self.shape(key, "a mapping"));
        }
        Ok(Part {
            file: self.file,
            at: self.below(key),
            value,
        })
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// A text; an empty one counts as none.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.shape(key, "a text")),
        }
    }

    pub fn needed(&self, key: &str) -> Result<&'a str, ConfigError> {
        self.text(key)?
            .ok_or_else(|| self.wrong(key, format!("{key} is missing: write it down")))
    }

    pub fn truth(&self, key: &str) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(truth)) => Ok(*truth),
            Some(_) => Err(self.shape(key, "true or false")),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let fault = || self.shape(key, "a list of texts");
        let items = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(items) => items.as_array().ok_or_else(fault)?,
        };
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>().ok_or_else(fault)
    }

    /// The mappings of a list.
    pub fn parts(&self, key: &str) -> Result<Vec<Part<'a>>, ConfigError> {
        let items = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.shape(key, "a list")),
        };
        let part = |(index, value): (usize, &'a Value)| {
            let mut at = self.below(key);
            at.push(Segment::Index(index));
            Part {
                file: self.file,
                at,
                value,
            }
        };
        Ok(items.iter().enumerate().map(part).collect())
    }

    /// What is written in base64.
    pub fn bytes(&self, key: &str) -> Result<Option<Secret<Vec<u8>>>, ConfigError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let text: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let text = Secret::new(text);
        let bytes = STANDARD.decode(&*text).map(Secret::new);
        bytes.map(Some).map_err(|_| self.shape(key, "base64"))
    }

    /// A file's path, from the folder of the kubeconfig.
    pub fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.text(key)?.map(|path| self.beside(path)))
    }

    pub fn beside(&self, path: &str) -> PathBuf {
        let folder = self.file.path.parent().unwrap_or(Path::new("/"));
        folder.join(path)
    }

    /// An error at this key.
    pub fn wrong(&self, key: &str, sentence: String) -> ConfigError {
        ConfigError::Wrong {
            place: self.place(key),
            sentence,
        }
    }

    /// What is understood, and not done.
    pub fn refused(&self, key: &'static str, why: &'static str) -> ConfigError {
        ConfigError::Refused {
            place: self.place(key),
            key,
            why,
        }
    }

    fn shape(&self, key: &str, wanted: &'static str) -> ConfigError {
        ConfigError::Shape {
            place: self.place(key),
            key: key.to_owned(),
            wanted,
        }
    }

    fn place(&self, key: &str) -> Place {
        Place {
            file: self.file.path.display().to_string(),
            line: self.file.document.line(&self.below(key)),
        }
    }

    fn below(&self, key: &str) -> Vec<Segment> {
        let mut at = self.at.clone();
        if !key.is_empty() {
            at.push(Segment::Key(key.to_owned()));
        }
        at
    }
}

/// As much of a name as fits into a sentence.
pub fn short(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// Names of one sentence, and characters of one name.
const MAX_SHOWN: usize = 8;
const MAX_NAME: usize = 48;
