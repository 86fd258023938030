//! Helm's grammar of `--set`: `a.b=1,c[0]={x,y},d=null`.

use serde_json::{Map, Value};

use super::ChartError;

/// Applies one item, which may hold several assignments, to the values so far.
///
/// As Helm does it: `\` takes the next character as it is, `true`, `false`, `null` and whole numbers are what they
/// seem, a null takes the default away, and what goes before a fault has been done.
pub fn apply(values: &mut Value, item: &str) -> Result<(), ChartError> {
    if !values.is_object() {
        *values = Value::Object(Map::new());
    }
    let mut reader = Reader {
        chars: item.chars().collect(),
        at: 0,
    };
    while !reader.is_over() {
        reader.assignment(values).map_err(|why| ChartError::Set {
            item: item.chars().take(MAX_SHOWN).collect(),
            why,
        })?;
    }
    Ok(())
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

/// One step of the way to a value.
enum Step {
    Key(String),
    Index(usize),
}

impl Reader {
    fn is_over(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.get(self.at).copied();
        self.at += usize::from(next.is_some());
        next
    }

    fn assignment(&mut self, values: &mut Value) -> Result<(), String> {
        let path = self.path()?;
        let value = self.value()?;
        put(values, &path, value)
    }

    /// Up to the equals sign.
    fn path(&mut self) -> Result<Vec<Step>, String> {
        let mut path = Vec::new();
        // Behind an index no other key may stand without a dot.
        let mut after_index = false;
        loop {
            if path.len() > MAX_DEPTH {
                return Err(format!("keys are nested deeper than {MAX_DEPTH}"));
            }
            let (word, end) = self.until(&['=', '[', '.', ',']);
            match (word.is_empty(), after_index) {
                (false, true) => {
                    return Err(format!(
                        "\"{word}\" stands behind an index: write a dot before it"
                    ));
                }
                (false, false) => path.push(Step::Key(word)),
                (true, true) => {}
                (true, false) => return Err("a key is empty".to_owned()),
            }
            match end {
                Some('=') => return Ok(path),
                Some('.') => after_index = false,
                Some('[') => {
                    path.push(Step::Index(self.index()?));
                    after_index = true;
                }
                _ => return Err("a value is missing: write KEY=VALUE".to_owned()),
            }
        }
    }

    fn index(&mut self) -> Result<usize, String> {
        let (digits, end) = self.until(&[']']);
        if end.is_none() {
            return Err("the index has no end: write ] behind it".to_owned());
        }
        let index = digits.parse::<usize>().ok();
        let index = index.filter(|index| *index <= MAX_INDEX);
        index.ok_or_else(|| format!("the index \"{digits}\" is no number from 0 to {MAX_INDEX}"))
    }

    /// A value or a list, with the comma behind it.
    fn value(&mut self) -> Result<Value, String> {
        if self.chars.get(self.at) != Some(&'{') {
            return Ok(typed(self.until(&[',']).0));
        }
        self.at += 1;
        let mut list = Vec::new();
        loop {
            let (word, end) = self.until(&[',', '}']);
            match end {
                None => return Err("the list has no end: write } behind it".to_owned()),
                Some('}') if word.is_empty() && list.is_empty() => break,
                Some('}') => {
                    list.push(typed(word));
                    break;
                }
                Some(_) => list.push(typed(word)),
            }
        }
        match self.next() {
            None | Some(',') => Ok(Value::Array(list)),
            Some(other) => Err(format!(
                "\"{other}\" follows the list: write a comma behind it"
            )),
        }
    }

    /// What stands before the first of the stops, which is taken too; without the escapes.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut word = String::new();
        while let Some(c) = self.next() {
            if stops.contains(&c) {
                return (word, Some(c));
            }
            match c {
                '\\' => word.extend(self.next()),
                c => word.push(c),
            }
        }
        (word, None)
    }
}

fn typed(word: String) -> Value {
    for (name, value) in [
        ("true", Value::Bool(true)),
        ("false", Value::Bool(false)),
        ("null", Value::Null),
    ] {
        if word.eq_ignore_ascii_case(name) {
            return value;
        }
    }
    // 0644 and such are texts.
    match word.parse::<i64>() {
        Ok(number) if word == "0" || !word.starts_with('0') => number.into(),
        _ => word.into(),
    }
}

fn put(values: &mut Value, path: &[Step], value: Value) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        *values = value;
        return Ok(());
    };
    let inner = match step {
        Step::Key(key) => {
            if values.is_null() {
                *values = Value::Object(Map::new());
            }
            let Value::Object(map) = values else {
                return Err(format!("\"{key}\" can't be set in what is no mapping"));
            };
            map.entry(key.as_str()).or_insert(Value::Null)
        }
        Step::Index(index) => {
            if values.is_null() {
                *values = Value::Array(Vec::new());
            }
            let Value::Array(list) = values else {
                return Err(format!("[{index}] can't be set in what is no list"));
            };
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            &mut list[*index]
        }
    };
    put(inner, rest, value)
}

/// Both are Helm's.
const MAX_INDEX: usize = 65_536;
const MAX_DEPTH: usize = 30;
/// Characters of an item in an error.
const MAX_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(item: &str) -> Value {
        let mut values = json!({});
        apply(&mut values, item).expect(item);
        values
    }

    fn refusal(item: &str) -> String {
        let mut values = json!({"text": "x", "list": [1]});
        apply(&mut values, item).expect_err(item).to_string()
    }

    #[test]
    fn values_have_types() {
        for (item, expected) in [
            ("a=1", json!({"a": 1})),
            ("a=-1", json!({"a": -1})),
            ("a=0", json!({"a": 0})),
            ("a=007", json!({"a": "007"})),
            ("a=1.5", json!({"a": "1.5"})),
            ("a=9223372036854775808", json!({"a": "9223372036854775808"})),
            ("a=true,b=False", json!({"a": true, "b": false})),
            ("a=null", json!({"a": null})),
            ("a=", json!({"a": ""})),
            ("a=,b=x y", json!({"a": "", "b": "x y"})),
            ("a=b=c", json!({"a": "b=c"})),
        ] {
            assert_eq!(read(item), expected, "{item}");
        }
    }

    #[test]
    fn keys_lead_into_mappings_and_lists() {
        for (item, expected) in [
            ("a.b.c=1,a.b.d=2", json!({"a": {"b": {"c": 1, "d": 2}}})),
            ("a={x,1,true}", json!({"a": ["x", 1, true]})),
            ("a={},b=1", json!({"a": [], "b": 1})),
            ("a[2]=x", json!({"a": [null, null, "x"]})),
            ("a[0].b=1,a[0].c=2", json!({"a": [{"b": 1, "c": 2}]})),
            ("a[0][1]=x", json!({"a": [[null, "x"]]})),
            ("a\\.b/c=1\\,2", json!({"a.b/c": "1,2"})),
            ("a={x\\,y,z}", json!({"a": ["x,y", "z"]})),
            ("a=\\{x", json!({"a": "{x"})),
        ] {
            assert_eq!(read(item), expected, "{item}");
        }
    }

    #[test]
    fn later_items_add_to_earlier_ones() {
        let mut values = json!({"a": {"b": 1}, "l": ["x", "y"], "n": null});
        apply(&mut values, "a.c=2,l[1]=z,n.m=3").unwrap();
        assert_eq!(
            values,
            json!({"a": {"b": 1, "c": 2}, "l": ["x", "z"], "n": {"m": 3}})
        );
    }

    #[test]
    fn faults_name_the_item() {
        for (item, part) in [
            ("a", "a value is missing"),
            ("a,b=1", "a value is missing"),
            ("=1", "a key is empty"),
            ("a..b=1", "a key is empty"),
            (".a=1", "a key is empty"),
            ("a.=1", "a key is empty"),
            ("[0]=1", "a key is empty"),
            ("a={x", "the list has no end"),
            ("a={x}y", "\"y\" follows the list"),
            ("a[=1", "the index has no end"),
            ("a[-1]=1", "no number from 0 to 65536"),
            ("a[65537]=1", "no number from 0 to 65536"),
            ("a[0]b=1", "stands behind an index"),
            ("text.a=1", "in what is no mapping"),
            ("list.a=1", "in what is no mapping"),
            ("text[0]=1", "in what is no list"),
        ] {
            let refusal = refusal(item);
            assert!(refusal.starts_with(&format!("--set {item}: ")), "{refusal}");
            assert!(refusal.contains(part), "{item}: {refusal}");
        }
        let deep = "a.".repeat(40) + "a=1";
        assert!(refusal(&deep).contains("nested deeper than 30"));
    }

    proptest! {
        #[test]
        fn no_item_makes_it_panic(item in "[ab.,=\\[\\]{}\\\\0-9é]{0,40}") {
            let _ = apply(&mut json!({}), &item);
        }
    }
}
