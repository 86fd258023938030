//! The events of the YAML scanner to a tree of values, within bounds.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Value;

use super::scalar::{self, Plain};
use super::{Content, Entry, Node, Style};

/// Reads the one document of a text.
pub fn build(text: &str) -> Result<Node, Fault> {
    Builder::new(text)?.build()
}

pub struct Fault {
    pub line: usize,
    pub message: String,
}

impl Fault {
    fn new(line: usize, message: impl Into<String>) -> Fault {
        Fault {
            line,
            message: message.into(),
        }
    }
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Fault {
        Fault::new(error.marker().line(), error.info())
    }
}

/// A collection whose end has not been seen.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<Key>,
}

struct Key {
    text: String,
    span: Range<usize>,
    column: usize,
    line: usize,
}

struct Builder<'a> {
    text: &'a str,
    offsets: Offsets,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    values: usize,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str) -> Result<Builder<'a>, Fault> {
        if text.len() > MAX_BYTES {
            let message = format!("the file has {} bytes: at most 1 MiB is read", text.len());
            return Err(Fault::new(1, message));
        }
        if let Some(position) = forbidden(text) {
            let line = text[..position].matches('\n').count() + 1;
            let message = "there is a control character: only tabs and line ends may be used";
            return Err(Fault::new(line, message));
        }
        Ok(Builder {
            text,
            offsets: Offsets::new(text),
            open: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            values: 0,
        })
    }

    fn build(mut self) -> Result<Node, Fault> {
        for event in Parser::new_from_str(self.text) {
            let (event, span) = event?;
            self.take(event, span)?;
        }
        Ok(self.root.unwrap_or(Node {
            content: Content::Scalar(Value::Null),
            style: Style::Inline,
            span: self.text.len()..self.text.len(),
            line: 1,
            has_properties: false,
        }))
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), span)
            }
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor) else {
                    return Err(Fault::new(line, "an alias stands inside its own anchor"));
                };
                let node = Node {
                    style: Style::Alias,
                    span: self.bytes(span),
                    line,
                    has_properties: false,
                    ..target.clone()
                };
                self.count(node.size(), line)?;
                self.check_depth(node.depth(), line)?;
                self.place(node, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Content::List(Vec::new()), anchor, tag, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(Content::Map(Vec::new()), anchor, tag, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Fault> {
        let line = span.start.line();
        let bytes = self.bytes(span);
        if self.wants_key() {
            if style == ScalarStyle::Plain && text == "<<" {
                let message = "merge keys (<<) are not read: write the merged keys out";
                return Err(Fault::new(line, message));
            }
            if anchor != 0 || tag.is_some() {
                return Err(Fault::new(line, "a key cannot have an anchor or a tag"));
            }
            return self.key(text, bytes, span);
        }
        let node = Node {
            content: Content::Scalar(typed(text, style, tag, line)?),
            style: match style {
                ScalarStyle::Literal | ScalarStyle::Folded => Style::BlockScalar,
                _ => Style::Inline,
            },
            span: self.trimmed(bytes, style),
            line,
            has_properties: anchor != 0 || tag.is_some(),
        };
        self.count(1, line)?;
        self.place(node, anchor)
    }

    fn key(&mut self, text: &str, bytes: Range<usize>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        if let Content::Map(entries) = &open.node.content
            && let Some(first) = entries.iter().find(|entry| entry.key == text)
        {
            let message = format!(
                "{text} is here twice, first on line {}: keep one",
                first.line
            );
            return Err(Fault::new(line, message));
        }
        open.key = Some(Key {
            text: text.to_owned(),
            span: bytes,
            column: span.start.col(),
            line,
        });
        Ok(())
    }

    fn begin(
        &mut self,
        content: Content,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        span: Span,
    ) -> Result<(), Fault> {
        let line = span.start.line();
        if self.wants_key() {
            return Err(Fault::new(line, "a list or a mapping cannot be a key"));
        }
        self.check_depth(1, line)?;
        if let Some(tag) = tag.as_deref().filter(|tag| !is_core(tag, &["map", "seq"])) {
            return Err(unknown_tag(tag, line));
        }
        self.count(1, line)?;
        self.open.push(Open {
            node: Node {
                content,
                style: Style::Block,
                span: self.bytes(span),
                line,
                has_properties: anchor != 0 || tag.is_some(),
            },
            anchor,
            key: None,
        });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Fault> {
        let Some(Open {
            mut node, anchor, ..
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let end = self.bytes(span);
        let brackets = match node.content {
            Content::List(_) => ('[', ']'),
            _ => ('{', '}'),
        };
        let first = skip_properties(self.text, node.span.start);
        // A list whose dashes stand below its key is said to begin at its first element, which can
        // be a flow list: only the closing bracket is a proof.
        if self.text[first..].starts_with(brackets.0)
            && self.text[end.clone()].starts_with(brackets.1)
        {
            node.style = Style::Flow;
            node.span.end = end.start + 1;
        } else {
            let last = match &node.content {
                Content::List(items) => items.last(),
                Content::Map(entries) => entries.last().map(|entry| &entry.value),
                Content::Scalar(_) => None,
            };
            node.span.end = last.map_or(node.span.start, |last| last.span.end);
        }
        self.place(node, anchor)
    }

    /// Puts a finished value where it belongs: behind its key, into its list, or at the root.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.count(node.size(), node.line)?;
            self.anchors.insert(anchor, node.clone());
        }
        let line = node.line;
        let Some(open) = self.open.last_mut() else {
            return self.place_root(node);
        };
        match (&mut open.node.content, open.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(entries), Some(key)) => entries.push(Entry {
                key: key.text,
                key_span: key.span,
                column: key.column,
                line: key.line,
                value: node,
            }),
            _ => return Err(Fault::new(line, "an alias cannot be a key")),
        }
        Ok(())
    }

    /// Documents that are empty may stand before and behind the one that counts.
    fn place_root(&mut self, node: Node) -> Result<(), Fault> {
        let is_empty = |node: &Node| matches!(node.content, Content::Scalar(Value::Null));
        if self.root.as_ref().is_none_or(is_empty) {
            self.root = Some(node);
        } else if !is_empty(&node) {
            let message = "a second document begins here: keep one document in the file";
            return Err(Fault::new(node.line, message));
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.node.content, Content::Map(_)) && open.key.is_none())
    }

    fn check_depth(&self, more: usize, line: usize) -> Result<(), Fault> {
        if self.open.len() + more > MAX_DEPTH {
            return Err(Fault::new(line, format!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(())
    }

    fn count(&mut self, more: usize, line: usize) -> Result<(), Fault> {
        self.values += more;
        if self.values > MAX_VALUES {
            let message = format!("more than {MAX_VALUES} values, aliases written out");
            return Err(Fault::new(line, message));
        }
        Ok(())
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.offsets.byte(span.start.index());
        start..self.offsets.byte(span.end.index()).max(start)
    }

    /// Without the line ends, blanks and comments that the scanner counts to a scalar.
    fn trimmed(&self, span: Range<usize>, style: ScalarStyle) -> Range<usize> {
        let text = &self.text[span.clone()];
        let length = match style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => closing_quote(text),
            _ => None,
        };
        let length = length.unwrap_or_else(|| text.trim_end().len());
        span.start..span.start + length
    }
}

/// The scanner counts characters, the rest of the house bytes.
enum Offsets {
    Ascii(usize),
    Table(Vec<usize>),
}

impl Offsets {
    fn new(text: &str) -> Offsets {
        if text.is_ascii() {
            return Offsets::Ascii(text.len());
        }
        let starts = text.char_indices().map(|(byte, _)| byte);
        Offsets::Table(starts.chain([text.len()]).collect())
    }

    fn byte(&self, character: usize) -> usize {
        match self {
            Offsets::Ascii(length) => character.min(*length),
            Offsets::Table(table) => {
                let last = table.last().copied().unwrap_or_default();
                table.get(character).copied().unwrap_or(last)
            }
        }
    }
}

/// The length of the quoted scalar at the beginning of a text.
fn closing_quote(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote == '"' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

fn typed(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<Value, Fault> {
    if let Some(tag) = tag
        && !is_core(tag, &["str", "int", "float", "bool", "null"])
    {
        return Err(unknown_tag(tag, line));
    }
    let is_text = tag.is_some_and(|tag| tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Ok(Value::String(text.to_owned()));
    }
    match scalar::resolve(text) {
        Plain::Null => Ok(Value::Null),
        Plain::Bool(flag) => Ok(Value::Bool(flag)),
        Plain::Number(number) => Ok(Value::Number(number)),
        Plain::Text => Ok(Value::String(text.to_owned())),
        Plain::NotFinite => {
            let message = format!("{text} is not a number that a document can hold");
            Err(Fault::new(line, message))
        }
    }
}

fn is_core(tag: &Tag, suffixes: &[&str]) -> bool {
    tag.is_yaml_core_schema() && suffixes.contains(&tag.suffix.as_str())
}

fn unknown_tag(tag: &Tag, line: usize) -> Fault {
    Fault::new(
        line,
        format!("the tag {tag} is not known here: leave it out"),
    )
}

/// The first byte behind anchors and tags.
fn skip_properties(text: &str, start: usize) -> usize {
    let mut position = start;
    while text[position..].starts_with(['&', '!']) {
        let rest = &text[position..];
        let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let blank = rest[word..].len() - rest[word..].trim_start().len();
        position += word + blank;
    }
    position
}

/// Where a control character stands; a carriage return is one unless a line feed follows.
fn forbidden(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().position(|(at, byte)| match byte {
        b'\t' | b'\n' => false,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        byte => byte.is_ascii_control(),
    })
}

pub const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 64;
const MAX_VALUES: usize = 50_000;
