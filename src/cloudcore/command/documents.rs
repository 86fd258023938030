//! Files with objects: YAML documents, or JSON values one after the other.

use serde_json::Value;

use super::OrderError;
use crate::system::yaml::Document;

/// All objects in a text; `name` is for errors. The items of a List count, each for itself.
pub fn read(text: &str, name: &str) -> Result<Vec<Value>, OrderError> {
    let values = match text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .as_bytes()
        .first()
    {
        Some(b'{') => json(text, name)?,
        _ => yaml(text, name)?,
    };
    let mut objects = Vec::new();
    for mut value in values {
        let is_list = value.get("kind").and_then(Value::as_str) == Some("List");
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => objects.extend(items),
            Some(other) => {
                value["items"] = other;
                objects.push(value);
            }
            None => objects.push(value),
        }
    }
    if objects.is_empty() {
        return Err(OrderError::Input(format!("{name} holds no object")));
    }
    Ok(objects)
}

fn json(text: &str, name: &str) -> Result<Vec<Value>, OrderError> {
    let text = text.trim_start_matches('\u{feff}');
    let values = serde_json::Deserializer::from_str(text).into_iter();
    let values: Result<Vec<Value>, _> = values.take(MAX_OBJECTS + 1).collect();
    let values = values.map_err(|error| OrderError::Input(format!("{name}: {error}")))?;
    bounded(values, name)
}

fn yaml(text: &str, name: &str) -> Result<Vec<Value>, OrderError> {
    let mut values = Vec::new();
    let mut first = 0;
    for document in split(text) {
        // Errors name lines of the file.
        let padded = "\n".repeat(first) + &document;
        let parsed = Document::parse(&padded, name);
        let parsed = parsed.map_err(|error| OrderError::Input(error.to_string()))?;
        if !parsed.value.is_null() {
            values.push(parsed.value);
        }
        first += document.lines().count() + 1;
        if values.len() > MAX_OBJECTS {
            break;
        }
    }
    bounded(values, name)
}

/// At lines that begin with `---`, which in YAML stand in no text.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        let marker = line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
        if marker {
            documents.push(String::new());
            let rest = line.trim_start_matches('-').trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                // An object that begins on the line of the marker.
                documents
                    .last_mut()
                    .into_iter()
                    .for_each(|it| it.push_str(rest));
            }
            continue;
        }
        if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    documents
}

fn bounded(values: Vec<Value>, name: &str) -> Result<Vec<Value>, OrderError> {
    match values.len() > MAX_OBJECTS {
        true => Err(OrderError::Input(format!(
            "{name} holds more than {MAX_OBJECTS} objects: give them in parts"
        ))),
        false => Ok(values),
    }
}

/// Of a file.
pub const MAX_INPUT: usize = 16 << 20;
const MAX_OBJECTS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(text: &str) -> Vec<String> {
        let objects = read(text, "f").unwrap();
        objects
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn documents_of_both_kinds_are_found() {
        assert_eq!(
            names("name: a\n---\nname: b\n--- # more\n\n---\nname: c\n"),
            ["a", "b", "c"]
        );
        assert_eq!(names("---\nname: a\ntext: |\n  x\n  ---\n  y\n"), ["a"]);
        assert_eq!(names("{\"name\":\"a\"}\n {\"name\":\"b\"}"), ["a", "b"]);
        assert_eq!(
            names(r#"{"kind":"List","items":[{"name":"a"},{"name":"b"}]}"#),
            ["a", "b"]
        );
        let map = read(r#"{"kind":"ConfigMap","items":1}"#, "f").unwrap();
        assert_eq!(map, [json!({"kind": "ConfigMap", "items": 1})]);
    }

    #[test]
    fn faults_name_the_file_and_the_line() {
        for (text, part) in [
            ("", "no object"),
            ("---\n# nothing\n", "no object"),
            ("{\"a\":", "f: "),
            ("name: a\n---\nname: [\n", "f:"),
        ] {
            let error = read(text, "f").unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        let error = read("a: 1\n---\nb: 1\nb: 2\n", "f")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("f:4: "), "{error}");
    }
}
