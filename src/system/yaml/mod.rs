//! YAML text to a JSON value that still knows on which line each key stands.

mod builder;
pub mod emit;
pub mod scalar;

use std::fmt;
use std::ops::Range;

use serde_json::{Map, Value};

/// No text that is read is longer, in bytes.
pub const MAX_TEXT: usize = builder::MAX_BYTES;

/// One YAML document: its value, and where each part of it was written.
///
/// Refused: files over 1 MiB, more than one document, duplicate keys, merge keys, nesting over 64,
/// more than 50,000 values (aliases count with all that they stand for).
#[derive(Debug)]
pub struct Document {
    pub value: Value,
    pub root: Node,
}

impl Document {
    /// Reads a document; `file` is only for the error. An empty text is a null.
    pub fn parse(text: &str, file: &str) -> Result<Document, SyntaxError> {
        let root = builder::build(text).map_err(|fault| SyntaxError {
            file: file.to_owned(),
            line: fault.line,
            message: fault.message,
        })?;
        Ok(Document {
            value: root.to_value(),
            root,
        })
    }

    /// The line (from 1) of this key, or of the nearest parent that is there.
    pub fn line(&self, path: &[Segment]) -> usize {
        let mut node = &self.root;
        let mut line = node.line;
        for segment in path {
            match (&node.content, segment) {
                (Content::Map(entries), Segment::Key(key)) => {
                    let Some(entry) = entries.iter().find(|entry| entry.key == *key) else {
                        break;
                    };
                    line = entry.line;
                    node = &entry.value;
                }
                (Content::List(items), Segment::Index(index)) => {
                    let Some(item) = items.get(*index) else { break };
                    line = item.line;
                    node = item;
                }
                _ => break,
            }
        }
        line
    }
}

/// The text is not YAML, or YAML beyond what is read here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Its name, for people; may be empty.
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, self.line)?;
        f.write_str(&self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// Where something is wrong, before the words that say what.
pub fn place(f: &mut fmt::Formatter<'_>, file: &str, line: usize) -> fmt::Result {
    match file {
        "" => write!(f, "line {line}: "),
        _ => write!(f, "{file}:{line}: "),
    }
}

/// One step of a path into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Key(String),
    Index(usize),
}

/// The path written `modules.edgeHub.token`; keys that hold dots need the segments themselves.
pub fn path(dotted: &str) -> Vec<Segment> {
    dotted
        .split('.')
        .map(|key| Segment::Key(key.to_owned()))
        .collect()
}

/// A path as a person writes it: `modules.edged.taints[2].key`.
pub fn show(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) if text.is_empty() => text.push_str(key),
            Segment::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// A value with its place in the text.
#[derive(Clone, Debug)]
pub struct Node {
    pub content: Content,
    pub style: Style,
    /// Bytes of the text. A block collection ends where its last scalar ends; a block scalar
    /// starts at its content, behind the `|`.
    pub span: Range<usize>,
    pub line: usize,
    /// Whether an anchor or a tag stands before it.
    pub has_properties: bool,
}

#[derive(Clone, Debug)]
pub enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    /// In characters, from 0.
    pub column: usize,
    pub line: usize,
    pub value: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Alias,
    Block,
    BlockScalar,
    Flow,
    Inline,
}

impl Node {
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Node::to_value).collect(),
            Content::Map(entries) => {
                let pairs = entries.iter().map(|e| (e.key.clone(), e.value.to_value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// Whether it is written `[]` or `{}`.
    pub fn is_empty_flow(&self) -> bool {
        match &self.content {
            Content::List(items) => items.is_empty(),
            Content::Map(entries) => entries.is_empty(),
            Content::Scalar(_) => false,
        }
    }

    pub fn size(&self) -> usize {
        match &self.content {
            Content::Scalar(_) => 1,
            Content::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Content::Map(entries) => 1 + entries.iter().map(|e| e.value.size()).sum::<usize>(),
        }
    }

    pub fn depth(&self) -> usize {
        match &self.content {
            Content::Scalar(_) => 0,
            Content::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Content::Map(entries) => 1 + entries.iter().map(|e| e.value.depth()).max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Value {
        Document::parse(text, "f").expect(text).value
    }

    fn refusal(text: &str) -> String {
        let error = Document::parse(text, "f").expect_err(text);
        error.to_string()
    }

    #[test]
    fn paths_are_shown_as_written() {
        let mut long = path("a.b");
        long.push(Segment::Index(2));
        long.push(Segment::Key("c".into()));
        assert_eq!(show(&long), "a.b[2].c");
    }

    #[test]
    fn values_are_typed_as_go_types_them() {
        let text = "\u{feff}# head\n---\na: 1\nb: yes\nc: \"0\"\nd: [x, {e: ~}]\nf: |\n  two\n  lines\n\
                    g:\n- é: 0644\n- !!str 5\n1: k\nh: &x {i: 1.5}\nj: *x\n...\n";
        let expected = json!({
            "a": 1, "b": "yes", "c": "0", "d": ["x", {"e": null}], "f": "two\nlines\n",
            "g": [{"é": 420}, "5"], "1": "k", "h": {"i": 1.5}, "j": {"i": 1.5},
        });
        assert_eq!(read(text), expected);
        assert_eq!(read(&text.replace('\n', "\r\n")), expected);
    }

    #[test]
    fn nothing_is_null_and_empty_documents_may_stand_around() {
        for text in ["", "# only\n", "---\n", "---\n---\n...\n"] {
            assert_eq!(read(text), Value::Null, "{text:?}");
        }
        assert_eq!(read("---\n---\na: 1\n---\n"), json!({"a": 1}));
    }

    #[test]
    fn order_is_kept() {
        let value = read("z: 1\na: 2\nm: 3\n");
        let keys: Vec<_> = value.as_object().expect("a mapping").keys().collect();
        assert_eq!(keys, ["z", "a", "m"]);
    }

    #[test]
    fn refusals_name_the_line() {
        let half = "[".repeat(40);
        let close = "]".repeat(40);
        let chain = format!("a: &a {half}1{close}\nb: {half}*a{close}\n");
        let deep = "[".repeat(70);
        let laughs = (1..20).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            let p = n - 1;
            text + &format!("a{n}: &a{n} [*a{p}, *a{p}, *a{p}, *a{p}]\n")
        });
        for (text, line, part) in [
            ("x: 1\ny: 2\nx: 3\n", 3, "x is here twice, first on line 1"),
            ("x: 1\n---\ny: 1\n", 3, "second document"),
            ("a: b: c\n", 1, "mapping values are not allowed"),
            ("a:\n\t- b\n", 2, "tab"),
            ("a: [1\n", 2, "expected ',' or ']'"),
            ("? [a]\n: b\n", 1, "cannot be a key"),
            ("a: &x [*x]\n", 1, "inside its own anchor"),
            ("a: *x\n", 1, "anchor"),
            ("a: 1\nb: .nan\n", 2, "not a number"),
            ("a: !thing 1\n", 1, "tag !thing"),
            ("a: 1\nb: \"x\0\"\n", 2, "control character"),
            ("a: 1\rb: 2\n", 1, "control character"),
            ("a: &a {b: 1}\nc:\n  <<: *a\n", 3, "merge keys"),
            (&chain, 2, "nested deeper than 64"),
            (&deep, 1, "nested deeper than 64"),
            (&laughs, 8, "more than 50000 values"),
            (&"#".repeat(MAX_TEXT + 1), 1, "at most 1 MiB"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.starts_with(&format!("f:{line}: ")), "{refusal}");
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn lines_are_known() {
        let document =
            Document::parse("# c\na:\n  b: 1\n\n  c:\n  - x\n  - y\n", "f").expect("good");
        for (key, line) in [
            ("a", 2),
            ("a.b", 3),
            ("a.c", 5),
            ("a.c.d", 5),
            ("a.z", 2),
            ("q", 2),
        ] {
            assert_eq!(document.line(&path(key)), line, "{key}");
        }
        let mut item = path("a.c");
        item.push(Segment::Index(1));
        assert_eq!(document.line(&item), 7);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_text_makes_it_panic(text in "([-a-c0-2:,#&*!|>'\"%@`?~<{}\\[\\]\\\\\té]|  |\r?\n ?|- |: |---\n|\\.\\.\\.\n){0,30}") {
            if let Ok(document) = Document::parse(&text, "f") {
                prop_assert_eq!(document.root.to_value(), document.value);
            }
        }
    }
}
