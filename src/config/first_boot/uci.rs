//! OpenWrt's UCI as far as it is used here: sections, options and lists; and an option taken out.

use std::ops::Range;

use super::pairs::{MAX_KEY, MAX_PAIRS, Pairs, too_many};
use super::{FirstBootError, Source};
use crate::system::secret::Secret;

/// An `option` or an item of a `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Type and name of its section; the name may be empty.
    pub section: (String, String),
    pub key: String,
    pub value: Secret<String>,
    /// Its line in the text, in bytes.
    pub line: Range<usize>,
}

/// All entries of a file.
pub fn entries(text: &str) -> Result<Vec<Entry>, FirstBootError> {
    let (mut section, mut found, mut start) = (None, Vec::new(), 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let range = start..start + line.len();
        start = range.end;
        let fault = |fault| FirstBootError::Line {
            source: Source::Uci,
            line: number + 1,
            fault,
        };
        let words = words(line).map_err(fault)?;
        let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
        match words[..] {
            [] | ["package", _] => {}
            ["config", kind] if is_name(kind) => {
                section = Some((kind.to_owned(), String::new()));
            }
            ["config", kind, name] if is_name(kind) && (name.is_empty() || is_name(name)) => {
                section = Some((kind.to_owned(), name.to_owned()));
            }
            ["option" | "list", key, value] if is_name(key) => {
                let section = section
                    .clone()
                    .ok_or(fault("there is no section before it"))?;
                if found.len() >= MAX_ENTRIES {
                    return Err(too_many(Source::Uci, number + 1));
                }
                found.push(Entry {
                    section,
                    key: key.to_owned(),
                    value: Secret::new(value.to_owned()),
                    line: range,
                });
            }
            _ => return Err(fault("this is no config, option or list of UCI")),
        }
    }
    Ok(found)
}

/// What edgecore's sections ask for; none when they ask for nothing, or are switched off.
pub fn pairs(text: &str) -> Result<Option<Pairs>, FirstBootError> {
    let mut pairs = Pairs::default();
    for entry in entries(text)?.iter().filter(|entry| entry.is_edgecores()) {
        if entry.key == "enabled" && OFF.contains(&entry.value.as_str()) {
            return Ok(None);
        }
        if pairs.0.len() >= MAX_PAIRS {
            return Err(too_many(Source::Uci, 1));
        }
        let key = match entry.key.as_str() {
            "server" => super::ADDRESS,
            key => key,
        };
        pairs.add(key, &entry.value);
    }
    let asks = pairs.has(super::ADDRESS)
        && [super::TOKEN, super::TOKEN_FILE]
            .iter()
            .any(|key| pairs.has(key));
    Ok(asks.then_some(pairs))
}

/// The value of one of edgecore's options.
pub fn option(text: &str, key: &str) -> Option<String> {
    let entries = entries(text).ok()?;
    let found = entries
        .iter()
        .find(|entry| entry.is_edgecores() && entry.key == key)?;
    Some(found.value.to_string()).filter(|value| !value.is_empty())
}

/// The text without edgecore's token; none when there is none in it.
pub fn without_token(text: &str) -> Result<Option<Secret<String>>, FirstBootError> {
    let entries = entries(text)?;
    let tokens = entries.iter();
    let tokens =
        tokens.filter(|it| it.is_edgecores() && it.key == super::TOKEN && !it.value.is_empty());
    let (mut kept, mut end) = (Vec::new(), 0);
    for entry in tokens {
        kept.push(&text[end..entry.line.start]);
        end = entry.line.end;
    }
    kept.push(&text[end..]);
    Ok((end > 0).then(|| Secret::<String>::concat(&kept)))
}

impl Entry {
    /// Both daemons may be configured in one file.
    fn is_edgecores(&self) -> bool {
        let (kind, name) = &self.section;
        [kind, name].iter().all(|it| *it != "cloudcore")
    }
}

/// The words of a line, with quotes and escapes taken off.
fn words(line: &str) -> Result<Vec<Secret<String>>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches(BLANKS);
    while !rest.is_empty() && !rest.starts_with('#') {
        // It never grows, and so leaves no copy.
        let mut word = String::with_capacity(rest.len());
        let mut quote = None;
        let mut end = rest.len();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match (c, quote) {
                ('\n' | '\r', Some(_)) => return Err("a quote has no end"),
                ('\\', None | Some('"')) => match chars.next() {
                    Some((_, '\n' | '\r')) | None => return Err("a line ends with a backslash"),
                    Some((_, c)) => word.push(c),
                },
                (c, Some(open)) if c == open => quote = None,
                ('\'' | '"', None) => quote = Some(c),
                (';', None) => return Err("one line holds one statement"),
                (c, None) if BLANKS.contains(&c) => {
                    end = at;
                    break;
                }
                (c, _) => word.push(c),
            }
        }
        words.push(Secret::new(word));
        if quote.is_some() {
            return Err("a quote has no end");
        }
        if words.len() > MAX_WORDS {
            return Err("this is no config, option or list of UCI");
        }
        rest = rest[end..].trim_start_matches(BLANKS);
    }
    Ok(words)
}

/// As UCI has them; short enough to be no secret.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= MAX_KEY && text.chars().all(fits)
}

const BLANKS: &[char] = &[' ', '\t', '\n', '\r', '\u{c}'];
const OFF: &[&str] = &["0", "no", "off", "false", "disabled"];
/// Of a file.
const MAX_ENTRIES: usize = 256;
/// Of a line.
const MAX_WORDS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let pairs = pairs(text).unwrap().unwrap_or_default();
        let pairs = pairs.0.iter();
        pairs
            .map(|(key, value)| format!("{key} {}", **value))
            .collect()
    }

    const FILE: &str = "package kubeedge\n\n\
        config edgecore 'edgecore'\n\
        \toption enabled '1'\n\
        \toption server 'cloud.example:10000' # of the office\n\
        \toption node_name \"barn-{mac}\"\n\
        \toption token 'A.e30.e30.x'\n\
        \tlist labels 'a=b'\n\
        \tlist labels c=\\d\n\
        config cloudcore\n\
        \toption enabled 0\n\
        \toption token 'other'\n";

    #[test]
    fn what_a_file_asks_for() {
        assert_eq!(
            shown(FILE),
            [
                "enabled 1",
                "cloudcore-ipport cloud.example:10000",
                "node-name barn-{mac}",
                "token A.e30.e30.x",
                "labels a=b",
                "labels c=d"
            ]
        );
        for nothing in [
            "",
            "config edgecore\n",
            "config edgecore\n option server a\n option token ''\n",
            "config edgecore\n option token a\n",
            &FILE.replacen("'1'", "off", 1),
        ] {
            assert_eq!(pairs(nothing).unwrap(), None, "{nothing}");
        }
        assert_eq!(option(FILE, "node_name").as_deref(), Some("barn-{mac}"));
        assert_eq!(option(FILE, "log_level"), None);
    }

    #[test]
    fn quotes() {
        for (word, value) in [
            ("'it'\\''s'", "it's"),
            ("\"a \\\"b\\\" #\"", "a \"b\" #"),
            ("a#b", "a#b"),
            ("''", ""),
        ] {
            let text = format!("config edgecore\noption x {word}\n");
            assert_eq!(*entries(&text).unwrap()[0].value, value, "{word}");
        }
        for (line, fault) in [
            ("option x 'secret", "quote has no end"),
            ("option x secret\\", "backslash"),
            ("option x secret; option y z", "one statement"),
            ("option x secret y", "no config"),
            ("secret x y", "no config"),
            ("option secret.x y", "no config"),
            ("config a 'secret.x'", "no config"),
        ] {
            let error = entries(&format!("config a\n{line}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.contains("line 2") && error.contains(fault), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(entries("option x y").is_err());
    }

    #[test]
    fn only_the_token_is_taken_out() {
        let left = without_token(FILE).unwrap().unwrap();
        let lines = FILE.lines().filter(|line| !line.contains("A.e30"));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(*left, lines.join("\n") + "\n");
        assert_eq!(without_token(&left).unwrap(), None);
    }
}
