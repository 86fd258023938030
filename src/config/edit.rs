//! Changes of single keys in YAML text that leave every other byte as it is.

use serde_json::Value;

use super::editor::{BY_HAND, Editor};
use super::{ConfigError, Segment, show};
use crate::system::yaml::Document;

/// The value at this path, if there is one.
pub fn get(text: &str, path: &[Segment]) -> Result<Option<Value>, ConfigError> {
    let document = Document::parse(text, "")?;
    Ok(lookup(&document.value, path).cloned())
}

/// Sets one key, with its missing parents, and returns the new text.
///
/// What stands in the text is replaced in place; what is missing is added at the end of its parent
/// mapping or list. Comments, order and blank lines stay, but for those inside a replaced mapping
/// or list. The result is read again: should anything else have changed, it is an error.
pub fn set(text: &str, path: &[Segment], value: &Value) -> Result<String, ConfigError> {
    let document = Document::parse(text, "")?;
    let mut expected = document.value.clone();
    put(&mut expected, path, value).map_err(|message| refuse(path, message))?;
    if lookup(&document.value, path) == Some(value) {
        return Ok(text.to_owned());
    }
    let edited = Editor::new(text).set(&document.root, path, value);
    verified(edited, path, &expected)
}

/// Removes one key or list element and returns the new text. What is not there is no error.
pub fn remove(text: &str, path: &[Segment]) -> Result<String, ConfigError> {
    let document = Document::parse(text, "")?;
    let Some((last, parent)) = path.split_last() else {
        return Err(refuse(path, NO_PATH));
    };
    if lookup(&document.value, path).is_none() {
        return Ok(text.to_owned());
    }
    let mut expected = document.value.clone();
    match (lookup_mut(&mut expected, parent), last) {
        (Some(Value::Object(map)), Segment::Key(key)) => drop(map.shift_remove(key)),
        (Some(Value::Array(items)), Segment::Index(index)) => drop(items.remove(*index)),
        _ => return Ok(text.to_owned()),
    }
    let parent_value = lookup(&expected, parent).unwrap_or(&Value::Null);
    let edited = Editor::new(text).remove(&document.root, path, parent_value);
    verified(edited, path, &expected)
}

fn verified(
    edited: Result<String, String>,
    path: &[Segment],
    expected: &Value,
) -> Result<String, ConfigError> {
    let edited = edited.map_err(|message| refuse(path, message))?;
    match Document::parse(&edited, "") {
        Ok(document) if document.value == *expected => Ok(edited),
        _ => Err(refuse(path, BY_HAND)),
    }
}

fn refuse(path: &[Segment], message: impl Into<String>) -> ConfigError {
    ConfigError::Edit {
        key: show(path),
        message: message.into(),
    }
}

fn lookup<'a>(value: &'a Value, path: &[Segment]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.as_object()?.get(key),
        Segment::Index(index) => value.as_array()?.get(*index),
    })
}

fn lookup_mut<'a>(value: &'a mut Value, path: &[Segment]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.as_object_mut()?.get_mut(key),
        Segment::Index(index) => value.as_array_mut()?.get_mut(*index),
    })
}

/// What the edit of the text must come to.
pub(super) fn put(mut target: &mut Value, path: &[Segment], value: &Value) -> Result<(), String> {
    if path.is_empty() {
        return Err(NO_PATH.into());
    }
    for (depth, segment) in path.iter().enumerate() {
        let here = || match depth {
            0 => "the file".to_owned(),
            _ => show(&path[..depth]),
        };
        target = match segment {
            Segment::Key(key) => {
                if target.is_null() {
                    *target = Value::Object(Default::default());
                }
                let map = target.as_object_mut();
                let map = map.ok_or_else(|| format!("{} is not a mapping", here()))?;
                map.entry(key.as_str()).or_insert(Value::Null)
            }
            Segment::Index(index) => {
                if target.is_null() {
                    *target = Value::Array(Vec::new());
                }
                let items = target.as_array_mut();
                let items = items.ok_or_else(|| format!("{} is not a list", here()))?;
                if *index == items.len() {
                    items.push(Value::Null);
                }
                let length = items.len();
                items
                    .get_mut(*index)
                    .ok_or_else(|| format!("{} has only {length} elements", here()))?
            }
        };
    }
    target.clone_from(value);
    Ok(())
}

/// The value that must be written where `path` begins, so that `value` stands at its end.
pub(super) fn nested(path: &[Segment], value: &Value) -> Value {
    path.iter()
        .rev()
        .fold(value.clone(), |value, segment| match segment {
            Segment::Key(key) => Value::Object([(key.clone(), value)].into_iter().collect()),
            Segment::Index(_) => Value::Array(vec![value]),
        })
}

const NO_PATH: &str = "a key must be named";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::path;
    use crate::system::yaml::emit;
    use crate::system::yaml::emit::tests::any_value;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::json;

    const SAMPLE: &str = "\
# The edge of the shop
modules:
  edgeHub:  # the tunnel
    token: eyJ.abc  # erased after use
    heartbeat: 15

    websocket: {enable: true, server: \"192.0.2.1:10000\"} # one line
    note: |
      two
      lines
    # last words
  edged:
    taints:
    - key: a   # first
      effect: NoExecute
    - key: b
    labels:
    empty: []
    gone: null

# end
";

    fn at(text: &str) -> Vec<Segment> {
        text.split('.')
            .map(|part| match part.parse() {
                Ok(index) => Segment::Index(index),
                Err(_) => Segment::Key(part.to_owned()),
            })
            .collect()
    }

    /// Sets, and shows the result as the lines that went (`-`) and came (`+`).
    fn changes(text: &str, path: &str, value: Value) -> String {
        difference(text, &set(text, &at(path), &value).expect(path))
    }

    fn difference(before: &str, after: &str) -> String {
        let (a, b): (Vec<_>, Vec<_>) = (before.split('\n').collect(), after.split('\n').collect());
        let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        let tail = a[head..].iter().rev().zip(b[head..].iter().rev());
        let tail = tail.take_while(|(a, b)| a == b).count();
        let went = a[head..a.len() - tail]
            .iter()
            .map(|line| format!("-{line}\n"));
        let came = b[head..b.len() - tail]
            .iter()
            .map(|line| format!("+{line}\n"));
        went.chain(came).collect()
    }

    #[test]
    fn only_the_value_changes() {
        for (path, value, expected) in [
            (
                "modules.edgeHub.token",
                json!(""),
                "-    token: eyJ.abc  # erased after use\n+    token: \"\"  # erased after use\n",
            ),
            (
                "modules.edgeHub.heartbeat",
                json!(20),
                "-    heartbeat: 15\n+    heartbeat: 20\n",
            ),
            (
                "modules.edgeHub.websocket.server",
                json!("[2001:db8::1]:10000"),
                "-    websocket: {enable: true, server: \"192.0.2.1:10000\"} # one line\n\
                 +    websocket: {enable: true, server: \"[2001:db8::1]:10000\"} # one line\n",
            ),
            (
                "modules.edgeHub.websocket.readDeadline",
                json!(15),
                "-    websocket: {enable: true, server: \"192.0.2.1:10000\"} # one line\n\
                 +    websocket: {enable: true, server: \"192.0.2.1:10000\", readDeadline: 15} \
                 # one line\n",
            ),
            (
                "modules.edgeHub.note",
                json!("one"),
                "-    note: |\n-      two\n-      lines\n+    note: one\n",
            ),
            (
                "modules.edgeHub.quic.enable",
                json!(false),
                "+    quic:\n+      enable: false\n",
            ),
            (
                "modules.edged.taints.0.key",
                json!("yes"),
                "-    - key: a   # first\n+    - key: \"yes\"   # first\n",
            ),
            (
                "modules.edged.taints.1.effect",
                json!("x"),
                "+      effect: x\n",
            ),
            ("modules.edged.taints.2.key", json!("c"), "+    - key: c\n"),
            (
                "modules.edged.taints.1",
                json!({"key": "d", "value": 1}),
                "-    - key: b\n+    - key: d\n+      value: 1\n",
            ),
            (
                "modules.edged.taints",
                json!([]),
                "-    taints:\n-    - key: a   # first\n-      effect: NoExecute\n-    - key: b\n\
                 +    taints: []\n",
            ),
            (
                "modules.edged.labels",
                json!({"a": "1"}),
                "+      a: \"1\"\n",
            ),
            (
                "modules.edged.labels",
                json!("x"),
                "-    labels:\n+    labels: x\n",
            ),
            (
                "modules.edged.empty.0",
                json!("x"),
                "-    empty: []\n+    empty:\n+    - x\n",
            ),
            (
                "modules.edged.gone.here",
                json!(1),
                "-    gone: null\n+    gone:\n+      here: 1\n",
            ),
            (
                "database.dataSource",
                json!("/x"),
                "+database:\n+  dataSource: /x\n",
            ),
        ] {
            let changes = changes(SAMPLE, path, value);
            assert_eq!(changes, expected, "{path}");
        }
    }

    #[test]
    fn carriage_returns_stay() {
        let text = SAMPLE.replace('\n', "\r\n");
        for (path, value) in [
            ("modules.edgeHub.token", json!("")),
            ("modules.edgeHub.quic.enable", json!(false)),
            ("modules.edged.labels", json!({"a": "1", "b": ["c"]})),
            ("modules.edged.taints.2.key", json!("c")),
            ("database.dataSource", json!("/x")),
        ] {
            let unix = set(SAMPLE, &at(path), &value).expect(path);
            let dos = set(&text, &at(path), &value).expect(path);
            assert_eq!(dos, unix.replace('\n', "\r\n"));
        }
    }

    #[test]
    fn little_texts_grow() {
        for (text, path, expected) in [
            ("", "a.b", "a:\n  b: 1\n"),
            ("# c\n", "a", "# c\na: 1\n"),
            ("# c", "a", "# c\na: 1"),
            ("---\n", "a", "---\na: 1\n"),
            ("{}\n", "a", "a: 1\n"),
            ("\u{feff}z: é", "a", "\u{feff}z: é\na: 1"),
            ("\u{feff}", "a", "\u{feff}a: 1\n"),
            ("a:\n- [1]\n- 2\n", "a.0", "a:\n- 1\n- 2\n"),
            ("a:\n  - x", "a.1", "a:\n  - x\n  - 1"),
            ("- - x\n  -\n", "0.1", "- - x\n  - 1\n"),
            ("a: &k b\nc: *k\n", "c", "a: &k b\nc: 1\n"),
            ("a:\n  b\n", "a", "a:\n  1\n"),
            ("{\"a\":2}", "a", "{\"a\":1}"),
            ("? a\n: b\n", "a", "? a\n: 1\n"),
            ("- |\n  x\n- 3\n", "0", "- 1\n- 3\n"),
        ] {
            let edited = set(text, &at(path), &json!(1)).expect(text);
            assert_eq!(edited, expected, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_safely_is_refused() {
        for (text, path, part) in [
            ("a: 1\n", "a.b", "a is not a mapping"),
            ("a: {}\n", "a.0", "a is not a list"),
            ("a: [1]\n", "a.2", "a has only 1 elements"),
            ("a: &k 2\nc: *k\n", "a", "with an editor"),
            ("a: &k {b: 2}\nc: *k\n", "c.b", "c is an alias"),
        ] {
            let error = set(text, &at(path), &json!(1)).expect_err(text);
            assert!(error.to_string().contains(part), "{error}");
        }
        let error = set("a: [", &at("a"), &json!(1)).expect_err("not YAML");
        assert!(error.to_string().starts_with("line "), "{error}");
    }

    #[test]
    fn the_comment_behind_a_quoted_value_stays() {
        for old in ["\"x\"", "'it''s'", "\"\\\" # no\"", "{k: 'x'}"] {
            let edited = set(&format!("a: {old}  # 'c\"\n"), &path("a"), &json!("new"));
            assert_eq!(edited.as_deref(), Ok("a: new  # 'c\"\n"), "{old}");
        }
    }

    #[test]
    fn the_same_value_changes_nothing() {
        let text = "a:   'x'   # c\n";
        assert_eq!(set(text, &path("a"), &json!("x")).as_deref(), Ok(text));
    }

    #[test]
    fn removal_takes_only_the_lines_of_the_key() {
        for (path, expected) in [
            ("modules.edgeHub.heartbeat", "-    heartbeat: 15\n"),
            (
                "modules.edgeHub.note",
                "-    note: |\n-      two\n-      lines\n",
            ),
            (
                "modules.edged.taints.0.key",
                "-    - key: a   # first\n-      effect: NoExecute\n+    - effect: NoExecute\n",
            ),
            ("modules.edged.taints.1.key", "-    - key: b\n+    - {}\n"),
            ("modules.edged.taints.1", "-    - key: b\n"),
            ("modules.edged.labels", "-    labels:\n"),
            ("modules.edged.absent", ""),
        ] {
            let edited = remove(SAMPLE, &at(path)).expect(path);
            assert_eq!(difference(SAMPLE, &edited), expected, "{path}");
        }
        assert_eq!(
            remove("a: {b: 1, c: 2}", &at("a.b")).as_deref(),
            Ok("a: {c: 2}")
        );
        assert_eq!(remove("a: 1", &at("a")).as_deref(), Ok("{}"));
    }

    #[test]
    fn get_finds_values() {
        let found = get(SAMPLE, &at("modules.edged.taints.0.effect"));
        assert_eq!(found, Ok(Some(json!("NoExecute"))));
        assert_eq!(get(SAMPLE, &at("modules.edged.taints.7")), Ok(None));
    }

    /// All paths to values that are neither a mapping nor a list.
    fn leaves(value: &Value, here: &mut Vec<Segment>, found: &mut Vec<Vec<Segment>>) {
        let children: Vec<(Segment, &Value)> = match value {
            Value::Object(map) => map
                .iter()
                .map(|(k, v)| (Segment::Key(k.clone()), v))
                .collect(),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items.map(|(i, v)| (Segment::Index(i), v)).collect()
            }
            _ => return found.push(here.clone()),
        };
        for (segment, child) in children {
            here.push(segment);
            leaves(child, here, found);
            here.pop();
        }
    }

    fn leaves_of(value: &Value) -> Vec<Vec<Segment>> {
        let mut found = Vec::new();
        leaves(value, &mut Vec::new(), &mut found);
        found.retain(|path| !path.is_empty());
        found
    }

    /// The text with comments behind and blank lines and comments between its lines.
    fn commented(text: &str, marks: &[u8]) -> String {
        let lines = text.lines().zip(marks.iter().cycle());
        lines.fold(String::new(), |text, (line, mark)| {
            let ends_a_line = !line.ends_with(['|', '>']);
            text + line
                + match mark % 5 {
                    1 if ends_a_line => "  # tail\n",
                    2 => "\n\n",
                    3 => "\n    # between\n",
                    _ => "\n",
                }
        })
    }

    proptest! {
        #[test]
        fn one_scalar_costs_one_line(
            value in any_value(), marks in any::<[u8; 7]>(), which in any::<Index>(), new in -9..9i64,
        ) {
            let value = json!({"first": value, "last": 1});
            let paths = leaves_of(&value);
            let path = &paths[which.index(paths.len())];
            let text = commented(&emit::document(&value), &marks);
            let edited = set(&text, path, &json!(new));
            let edited = edited.map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
            prop_assert_eq!(text.lines().count(), edited.lines().count());
            let differing = text.lines().zip(edited.lines()).filter(|(a, b)| a != b).count();
            prop_assert!(differing <= 1, "{}\n{}", text, edited);
        }

        #[test]
        fn any_value_goes_anywhere_and_comes_back(
            value in any_value(), marks in any::<[u8; 7]>(), which in any::<Index>(), new in any_value(),
        ) {
            let value = json!({"first": value, "last": 1});
            let paths = leaves_of(&value);
            let mut path = paths[which.index(paths.len())].clone();
            let text = commented(&emit::document(&value), &marks);
            for _ in 0..2 {
                let edited = set(&text, &path, &new);
                prop_assert!(edited.is_ok(), "{:?}\n{}", edited, text);
                let removed = remove(&text, &path);
                prop_assert!(removed.is_ok(), "{:?}\n{}", removed, text);
                path.pop();
                if path.is_empty() {
                    break;
                }
            }
        }

        #[test]
        fn a_new_key_only_adds_lines(marks in any::<[u8; 7]>(), new in any_value()) {
            let text = SAMPLE.replace("|\n      two\n      lines", "x");
            let text = commented(&text, &marks);
            let edited = set(&text, &path("modules.edged.fresh.key"), &new);
            let edited = edited.map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
            let difference = difference(&text, &edited);
            prop_assert!(difference.lines().all(|line| line.starts_with('+')), "{}", difference);
        }

        #[test]
        fn whatever_the_text_an_edit_is_right_or_refused(
            text in "([-a-c0-2:,#&*!|>'\"?~{}\\[\\]é]|  |\r?\n ?|- |: |a: |b:\n ){0,20}",
            which in any::<Index>(),
            new in any_value(),
        ) {
            let Ok(document) = Document::parse(&text, "") else {
                return Ok(());
            };
            let mut paths = leaves_of(&document.value);
            paths.push(path("a.b"));
            let path = &paths[which.index(paths.len())];
            if let Ok(edited) = set(&text, path, &new) {
                prop_assert_eq!(get(&edited, path), Ok(Some(new)));
            }
            if let Ok(removed) = remove(&text, path) {
                prop_assert!(Document::parse(&removed, "").is_ok());
            }
        }
    }
}
