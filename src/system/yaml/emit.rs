//! A JSON value to YAML text that Go's YAML 1.1 reader and ours understand alike.

use serde_json::Value;

use super::scalar;

/// A whole file: block style, keys in the order given, lists not indented, a line end at the end.
pub fn document(value: &Value) -> String {
    block(value, 0) + "\n"
}

/// A whole file for people to read: as `document`, with texts of several lines as they are, behind a `|`.
pub fn readable(value: &Value) -> String {
    let mut out = String::new();
    write_block(&mut out, value, 0, Lines::Literal);
    out + "\n"
}

/// The lines of a value, each indented by so many blanks, without the last line end.
pub fn block(value: &Value, indent: usize) -> String {
    let mut out = " ".repeat(indent);
    write_block(&mut out, value, indent, Lines::Escaped);
    out
}

/// The line or lines of one `key: value`, the first one not indented.
pub fn entry(key: &str, value: &Value, indent: usize) -> String {
    let mut out = String::new();
    write_entry(&mut out, key, value, indent, Lines::Escaped);
    out
}

/// The line or lines of one `- value`, the first one not indented.
pub fn item(value: &Value, indent: usize) -> String {
    let mut out = String::new();
    write_item(&mut out, value, indent, Lines::Escaped);
    out
}

/// The value on one line: `{a: 1, b: [x, y]}`.
pub fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", flow_text(key), flow(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::String(text) => flow_text(text),
        other => other.to_string(),
    }
}

/// A text, quoted when it must be.
pub fn text(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Whether the value stands behind its key on the same line.
pub fn is_inline(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    }
}

/// How a text of several lines is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Escaped,
    Literal,
}

/// Expects the indentation of the first line to be written already.
fn write_block(out: &mut String, value: &Value, indent: usize, lines: Lines) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (position, (key, value)) in map.iter().enumerate() {
                if position > 0 {
                    new_line(out, indent);
                }
                write_entry(out, key, value, indent, lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (position, value) in items.iter().enumerate() {
                if position > 0 {
                    new_line(out, indent);
                }
                write_item(out, value, indent, lines);
            }
        }
        Value::String(plain) if lines == Lines::Literal && fits_literal(plain) => {
            write_literal(out, plain, indent);
        }
        Value::String(plain) => out.push_str(&text(plain)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => out.push_str(&other.to_string()),
    }
}

fn write_entry(out: &mut String, key: &str, value: &Value, indent: usize, lines: Lines) {
    out.push_str(&text(key));
    out.push(':');
    if is_inline(value) {
        out.push(' ');
        write_block(out, value, indent, lines);
    } else {
        let indent = indent + if value.is_object() { STEP } else { 0 };
        new_line(out, indent);
        write_block(out, value, indent, lines);
    }
}

fn write_item(out: &mut String, value: &Value, indent: usize, lines: Lines) {
    out.push_str("- ");
    write_block(out, value, indent + STEP, lines);
}

/// Two lines or more, the last one ended, which need no escapes and can't be taken for anything else.
fn fits_literal(text: &str) -> bool {
    let lines = text.strip_suffix('\n').unwrap_or_default();
    let starts_well = lines.starts_with(|c: char| !c.is_whitespace());
    let plain = |line: &str| line.chars().all(is_printable) && !line.ends_with(' ');
    starts_well && !lines.ends_with('\n') && lines.contains('\n') && lines.split('\n').all(plain)
}

fn write_literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    for line in text.lines() {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent + STEP));
            out.push_str(line);
        }
    }
}

fn new_line(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

fn is_plain(text: &str) -> bool {
    let starts_well = |c: char| c.is_ascii_alphanumeric() || "/._$(".contains(c);
    text.starts_with(starts_well)
        && !text.starts_with("...")
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        && !scalar::is_ambiguous(text)
}

fn flow_text(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(harmless) && is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
        }
    }
    out.push('"');
    out
}

/// What may stand in YAML unescaped, without the blanks and marks that nobody can see.
fn is_printable(c: char) -> bool {
    let invisible = matches!(c, '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    matches!(c, ' '..='~' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..='\u{1fffd}') && !invisible
}

const STEP: usize = 2;

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::system::yaml::Document;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    /// Any value that a document can hold.
    pub fn any_value() -> impl Strategy<Value = Value> {
        let word = prop_oneof![
            any::<String>(),
            "[-a-z0-9.:#_ ?!&*{}\\[\\],'\"|>%@`~+=<\t\n]{0,12}",
            prop::sample::select(vec![
                "yes", "on", "0644", "null", "~", "1e3", "1:20", "", "-", "<<"
            ])
            .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::from),
                vec((word.clone(), inner), 0..5)
                    .prop_map(|pairs| pairs.into_iter().collect::<Value>()),
            ]
        })
    }

    #[test]
    fn it_looks_as_go_writes_it() {
        let value = json!({
            "address": "127.0.0.1", "empty": {}, "none": [], "zero": "0", "word": "on",
            "list": ["pods", {"node": {"enable": true}, "b": 1}, ["x", "z"]],
            "hard": {"imagefs.available": "15%", "time": "5m0s", "url": "tcp://127.0.0.1:1883"},
            "null": null, "lines": "a\nb", "hash": "a #b", "colon": "a: b", "star": "*x",
        });
        let expected = "\
address: 127.0.0.1
empty: {}
none: []
zero: \"0\"
word: \"on\"
list:
- pods
- node:
    enable: true
  b: 1
- - x
  - z
hard:
  imagefs.available: 15%
  time: 5m0s
  url: tcp://127.0.0.1:1883
\"null\": null
lines: \"a\\nb\"
hash: \"a #b\"
colon: \"a: b\"
star: \"*x\"
";
        assert_eq!(document(&value), expected);
    }

    #[test]
    fn flow_fits_on_a_line() {
        let value = json!({"a": [1, "x", "b,c", "n"], "{": {"k": null}, "e": {}});
        assert_eq!(
            flow(&value),
            "{a: [1, x, \"b,c\", \"n\"], \"{\": {k: null}, e: {}}"
        );
    }

    #[test]
    fn lines_stay_lines() {
        let value = json!({"a": {"b": "x: 1\n\n  y # z\n", "c": "one\n", "d": ["x\ny\n"]}});
        let expected = "\
a:
  b: |
    x: 1

      y # z
  c: \"one\\n\"
  d:
  - |
      x
      y
";
        assert_eq!(readable(&value), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in any_value()) {
            let text = document(&value);
            let read = Document::parse(&text, "f").map(|document| document.value);
            prop_assert_eq!(read, Ok(value), "{}", text);
        }

        #[test]
        fn what_people_read_is_the_same(value in any_value(), lines in "[a-z# :é\"|-]{0,5}(\n[a-z# :-]{0,5}){0,4}\n?") {
            let value = json!({"a": [lines.clone(), value], "b": {"c": lines}});
            let text = readable(&value);
            let read = Document::parse(&text, "f").map(|document| document.value);
            prop_assert_eq!(read, Ok(value), "{}", text);
        }

        #[test]
        fn one_line_is_read_again(value in any_value()) {
            let text = flow(&value);
            prop_assert_eq!(text.lines().count(), 1);
            let read = Document::parse(&text, "f").map(|document| document.value);
            prop_assert_eq!(read, Ok(value), "{}", text);
        }
    }
}
