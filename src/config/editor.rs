//! Where in a YAML text an edit goes, and what it looks like there.

use serde_json::Value;

use super::edit::{nested, put};
use super::{Segment, show};
use crate::system::yaml::emit;
use crate::system::yaml::{Content, Entry, Node, Style};

/// Makes edits of one text; they are only as good as the check of the caller.
pub(super) struct Editor<'a> {
    text: &'a str,
    line_end: &'static str,
}

/// A node and what it hangs on.
#[derive(Clone, Copy)]
struct Spot<'n> {
    node: &'n Node,
    slot: Slot<'n>,
    in_flow: bool,
}

#[derive(Clone, Copy)]
enum Slot<'n> {
    Item,
    Root,
    Value(&'n Entry),
}

impl<'n> Spot<'n> {
    fn root(node: &'n Node) -> Spot<'n> {
        Spot {
            node,
            slot: Slot::Root,
            in_flow: false,
        }
    }

    fn item(node: &'n Node) -> Spot<'n> {
        Spot {
            node,
            slot: Slot::Item,
            in_flow: false,
        }
    }

    fn child(self, segment: &Segment) -> Option<Spot<'n>> {
        let (node, slot) = match (&self.node.content, segment) {
            (Content::Map(entries), Segment::Key(key)) => {
                let entry = entries.iter().find(|entry| entry.key == *key)?;
                (&entry.value, Slot::Value(entry))
            }
            (Content::List(items), Segment::Index(index)) => (items.get(*index)?, Slot::Item),
            _ => return None,
        };
        let in_flow = self.in_flow || self.node.style == Style::Flow;
        Some(Spot {
            node,
            slot,
            in_flow,
        })
    }

    fn is_alias(self) -> bool {
        self.node.style == Style::Alias
    }
}

impl<'a> Editor<'a> {
    pub fn new(text: &'a str) -> Editor<'a> {
        let first = text.find('\n').unwrap_or(0);
        let line_end = if text[..first].ends_with('\r') {
            "\r\n"
        } else {
            "\n"
        };
        Editor { text, line_end }
    }

    pub fn set(&self, root: &Node, path: &[Segment], value: &Value) -> Result<String, String> {
        let mut spot = Spot::root(root);
        for (depth, segment) in path.iter().enumerate() {
            if spot.is_alias() {
                return Err(format!(
                    "{} is an alias: write it out",
                    show(&path[..depth])
                ));
            }
            match spot.child(segment) {
                Some(child) => spot = child,
                None => {
                    let added = nested(&path[depth + 1..], value);
                    return self.add(spot, segment, &added);
                }
            }
        }
        self.replace(spot, value)
    }

    /// Adds what is missing to the collection (or the nothing) at this spot.
    fn add(&self, spot: Spot<'_>, segment: &Segment, added: &Value) -> Result<String, String> {
        let node = spot.node;
        let last = match &node.content {
            Content::List(items) => items.last(),
            Content::Map(entries) => entries.last().map(|entry| &entry.value),
            Content::Scalar(_) => None,
        };
        if node.style == Style::Block
            && let Some(last) = last
        {
            let column = self.column(node)?;
            let lines = match segment {
                Segment::Key(key) => emit::entry(key, added, column),
                Segment::Index(_) => emit::item(added, column),
            };
            let end = self.line_end_at(last.span.end);
            return Ok(self.insert_lines(end, &lines, column));
        }
        let mut whole = node.to_value();
        put(&mut whole, std::slice::from_ref(segment), added)?;
        if matches!(spot.slot, Slot::Root) && node.span.is_empty() {
            return Ok(self.insert_lines(self.text.len(), &emit::block(&whole, 0), 0));
        }
        self.replace(spot, &whole)
    }

    fn replace(&self, spot: Spot<'_>, value: &Value) -> Result<String, String> {
        let is_filled_flow = spot.node.style == Style::Flow && !spot.node.is_empty_flow();
        if spot.in_flow || is_filled_flow || emit::is_inline(value) {
            let line = match value {
                Value::String(text) if !spot.in_flow => emit::text(text),
                value => emit::flow(value),
            };
            return self.replace_by_line(spot, &line);
        }
        self.replace_by_lines(spot, value)
    }

    /// Puts a value of one line where something else was.
    fn replace_by_line(&self, spot: Spot<'_>, line: &str) -> Result<String, String> {
        let node = spot.node;
        if let (Slot::Value(entry), Style::Block) = (spot.slot, node.style) {
            // The comment behind the key stays; the lines of the old value go.
            let colon = self.colon(entry)?;
            let head = self.block_head(colon, node)?;
            let end = self.line_end_at(node.span.end);
            let (before, after) = (&self.text[..colon], &self.text[end..]);
            return Ok(format!("{before} {line}{head}{after}"));
        }
        let start = self.start(spot)?;
        // Nothing at all is said to stand right behind its key, before the colon.
        let end = node.span.end.max(start);
        let (before, after) = (&self.text[..start], &self.text[end..]);
        let is_glued = node.span.is_empty() && before.ends_with([':', '-']);
        let blank = if is_glued { " " } else { "" };
        Ok(format!("{before}{blank}{line}{after}"))
    }

    /// Puts a mapping or a list in block style where something else was.
    fn replace_by_lines(&self, spot: Spot<'_>, value: &Value) -> Result<String, String> {
        let node = spot.node;
        let Slot::Value(entry) = spot.slot else {
            let start = self.start(spot)?;
            let column = self.column_at(start);
            let lines = self.with_line_ends(emit::block(value, column).trim_start());
            let (before, after) = (&self.text[..start], &self.text[node.span.end..]);
            let blank = if before.ends_with('-') { " " } else { "" };
            return Ok(format!("{before}{blank}{lines}{after}"));
        };
        let colon = self.colon(entry)?;
        let (head, column) = if node.style == Style::Block {
            let same_kind = matches!(node.content, Content::List(_)) == value.is_array();
            let column = same_kind.then(|| self.column(node)).transpose()?;
            (self.block_head(colon, node)?, column)
        } else {
            let end = self.line_end_at(node.span.end);
            (&self.text[node.span.end.max(colon)..end], None)
        };
        let step = if value.is_array() { 0 } else { 2 };
        let column = column.unwrap_or(entry.column + step);
        let end = self.line_end_at(node.span.end);
        let lines = self.with_line_ends(&emit::block(value, column));
        let (before, after) = (&self.text[..colon], &self.text[end..]);
        Ok(format!("{before}{head}{}{lines}{after}", self.line_end))
    }

    pub fn remove(&self, root: &Node, path: &[Segment], rest: &Value) -> Result<String, String> {
        let mut parent = Spot::root(root);
        let mut spot = parent;
        for segment in path {
            if spot.is_alias() {
                return Err(format!("a parent of {} is an alias", show(path)));
            }
            parent = spot;
            spot = parent.child(segment).ok_or(BY_HAND)?;
        }
        let (position, count) = match (&parent.node.content, path.last()) {
            (Content::Map(entries), Some(Segment::Key(key))) => (
                entries.iter().position(|entry| entry.key == *key),
                entries.len(),
            ),
            (Content::List(items), Some(Segment::Index(index))) => (Some(*index), items.len()),
            _ => (None, 0),
        };
        let position = position.ok_or(BY_HAND)?;
        if parent.in_flow || parent.node.style == Style::Flow || count == 1 {
            return self.replace(parent, rest);
        }
        let start = self.child_start(parent.node, position)?;
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        if self.text[line_start..start].trim().is_empty() {
            let end = self.line_end_at(spot.node.span.end);
            let next = self.text[end..].find('\n').map_or(end, |at| end + at + 1);
            return Ok(format!(
                "{}{}",
                &self.text[..line_start],
                &self.text[next..]
            ));
        }
        // The first of a mapping or list that begins behind a `- `: the second one moves up.
        let next = self.child_start(parent.node, position + 1)?;
        Ok(format!("{}{}", &self.text[..start], &self.text[next..]))
    }

    /// Where the key, or the dash, of a child begins.
    fn child_start(&self, parent: &Node, position: usize) -> Result<usize, String> {
        match &parent.content {
            Content::Map(entries) => entries.get(position).map(|entry| entry.key_span.start),
            Content::List(items) => items.get(position).and_then(|item| self.dash(item)),
            Content::Scalar(_) => None,
        }
        .ok_or_else(|| BY_HAND.into())
    }

    /// Where the text of a value begins, its anchor, tag or `|` included.
    fn start(&self, spot: Spot<'_>) -> Result<usize, String> {
        let node = spot.node;
        if node.style != Style::BlockScalar {
            let is_null = node.span.is_empty() && !node.has_properties;
            return match spot.slot {
                Slot::Value(entry) if is_null => self.colon(entry),
                _ => Ok(node.span.start),
            };
        }
        if let Slot::Value(entry) = spot.slot {
            let colon = self.colon(entry)?;
            let rest = &self.text[colon..];
            return Ok(colon + rest.len() - rest.trim_start().len());
        }
        let before = &self.text[..node.span.start];
        before.rfind(['|', '>']).ok_or_else(|| BY_HAND.into())
    }

    /// The byte behind the colon of a key.
    fn colon(&self, entry: &Entry) -> Result<usize, String> {
        let rest = &self.text[entry.key_span.end..];
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if rest[blanks..].starts_with(':') {
            Ok(entry.key_span.end + blanks + 1)
        } else {
            Err(BY_HAND.into())
        }
    }

    /// What stands between the colon of a key and the lines of its block: blanks and a comment.
    fn block_head(&self, colon: usize, node: &Node) -> Result<&'a str, String> {
        let head = &self.text[colon..self.line_end_at(colon)];
        let is_comment = head.trim().is_empty() || head.trim_start().starts_with('#');
        if node.has_properties || !is_comment {
            return Err(BY_HAND.into());
        }
        Ok(head)
    }

    /// The column, in characters, of the keys or dashes of a block.
    fn column(&self, node: &Node) -> Result<usize, String> {
        self.child_start(node, 0).map(|start| self.column_at(start))
    }

    fn column_at(&self, position: usize) -> usize {
        let before = &self.text[..position];
        let line = before.rsplit('\n').next().unwrap_or(before);
        line.trim_start_matches('\u{feff}').chars().count()
    }

    fn dash(&self, item: &Node) -> Option<usize> {
        let before = self.text[..self.start(Spot::item(item)).ok()?].trim_end();
        before.ends_with('-').then(|| before.len() - 1)
    }

    /// The end of the line on which this position is, before its line end.
    fn line_end_at(&self, position: usize) -> usize {
        let rest = &self.text[position..];
        let line = rest.split('\n').next().unwrap_or(rest);
        position + line.trim_end_matches('\r').len()
    }

    /// Lines (the first not indented) behind the end of a line.
    fn insert_lines(&self, end: usize, lines: &str, column: usize) -> String {
        let (before, after) = self.text.split_at(end);
        let starts_line =
            before.trim_start_matches('\u{feff}').is_empty() || before.ends_with('\n');
        let mut out = before.to_owned();
        if !starts_line {
            out.push_str(self.line_end);
        }
        out.extend(std::iter::repeat_n(' ', column));
        out.push_str(&self.with_line_ends(lines));
        if starts_line {
            out.push_str(self.line_end);
        }
        out + after
    }

    fn with_line_ends(&self, lines: &str) -> String {
        lines.replace('\n', self.line_end)
    }
}

/// The text is legal but not of a form that is edited here.
pub(super) const BY_HAND: &str =
    "the way it is written does not allow it: change it with an editor";
