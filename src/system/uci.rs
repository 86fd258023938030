//! OpenWrt's UCI as far as it is used here: sections, options and lists; and edits that leave all else as it was.

use std::fmt;
use std::ops::Range;

use super::secret::Secret;

/// An `option` or an item of a `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub section: Section,
    pub key: String,
    pub value: Secret<String>,
    /// Its line in the text, in bytes.
    pub line: Range<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    pub kind: String,
    /// Empty when it has none.
    pub name: String,
}

/// Why a text is no UCI; no value is shown, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from one.
    pub line: usize,
    pub what: &'static str,
}

/// What one line says.
enum Statement {
    Nothing,
    Config(Section),
    Entry(String, Secret<String>),
}

/// All entries of a file.
pub fn entries(text: &str) -> Result<Vec<Entry>, Fault> {
    let (mut section, mut found, mut start) = (None, Vec::new(), 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let range = start..start + line.len();
        start = range.end;
        let fault = |what| Fault {
            line: number + 1,
            what,
        };
        match statement(line).map_err(fault)? {
            Statement::Nothing => {}
            Statement::Config(begun) => section = Some(begun),
            Statement::Entry(key, value) => {
                let section = section
                    .clone()
                    .ok_or(fault("there is no section before it"))?;
                if found.len() >= MAX_ENTRIES {
                    return Err(fault("there are more options than anybody needs"));
                }
                found.push(Entry {
                    section,
                    key,
                    value,
                    line: range,
                });
            }
        }
    }
    Ok(found)
}

/// Any of the words that UCI's users write for a switch.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "on" | "true" | "yes" | "enabled" => Some(true),
        "0" | "off" | "false" | "no" | "disabled" => Some(false),
        _ => None,
    }
}

/// Whether the section of this name has the switch on; of several the last one counts. Lines that are no UCI are
/// passed over.
pub fn is_on(text: &str, section: &str, key: &str) -> bool {
    let switches = switches(text, section, key);
    let last = switches.last();
    last.is_some_and(|(_, value)| boolean(value) == Some(true))
}

/// The text with that switch set; a section that is missing is added. All else stays, whatever it is.
pub fn with_switch(text: &str, section: &str, key: &str, on: bool) -> String {
    let option = format!("\toption {key} '{}'\n", u8::from(on));
    let (mut changed, mut end) = (String::new(), 0);
    for (line, _) in switches(text, section, key) {
        changed.push_str(&text[end..line.start]);
        if end == 0 {
            changed.push_str(&option);
        }
        end = line.end;
    }
    if end > 0 {
        return changed + &text[end..];
    }
    let (before, head, rest) = match headed(text, section) {
        Some(line) => (
            &text[..line.start],
            text[line.clone()].to_owned(),
            &text[line.end..],
        ),
        None => (text, format!("\nconfig {section} '{section}'\n"), ""),
    };
    let line_end = |text: &str| match text.is_empty() || text.ends_with('\n') {
        true => "",
        false => "\n",
    };
    let (gap, end) = (line_end(before), line_end(&head));
    format!("{before}{gap}{head}{end}{option}{rest}")
}

/// The text without these entries of it.
pub fn without(text: &str, entries: &[&Entry]) -> Secret<String> {
    let (mut kept, mut end) = (Vec::new(), 0);
    for entry in entries {
        kept.push(&text[end..entry.line.start]);
        end = entry.line.end;
    }
    kept.push(&text[end..]);
    Secret::<String>::concat(&kept)
}

/// Where a switch of the section stands, and what it says.
fn switches(text: &str, section: &str, wanted: &str) -> Vec<(Range<usize>, Secret<String>)> {
    let (mut is_inside, mut found, mut start) = (false, Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        match statement(line) {
            Ok(Statement::Config(begun)) => is_inside = begun.name == section,
            Ok(Statement::Entry(key, value)) if is_inside && key == wanted => {
                found.push((range, value));
            }
            _ => {}
        }
    }
    found
}

/// The line with which the section of this name begins.
fn headed(text: &str, section: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        if matches!(statement(line), Ok(Statement::Config(begun)) if begun.name == section) {
            return Some(range);
        }
    }
    None
}

fn statement(line: &str) -> Result<Statement, &'static str> {
    let words = words(line)?;
    let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
    match words[..] {
        [] | ["package", _] => Ok(Statement::Nothing),
        ["config", kind] if is_name(kind) => Ok(Statement::Config(Section {
            kind: kind.to_owned(),
            name: String::new(),
        })),
        ["config", kind, name] if is_name(kind) && (name.is_empty() || is_name(name)) => {
            Ok(Statement::Config(Section {
                kind: kind.to_owned(),
                name: name.to_owned(),
            }))
        }
        ["option" | "list", key, value] if is_name(key) => Ok(Statement::Entry(
            key.to_owned(),
            Secret::new(value.to_owned()),
        )),
        _ => Err("this is no config, option or list of UCI"),
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
    !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(fits)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Fault {}

const BLANKS: &[char] = &[' ', '\t', '\n', '\r', '\u{c}'];
/// Of a file.
const MAX_ENTRIES: usize = 256;
/// Of a line.
const MAX_WORDS: usize = 3;
/// Bytes of a name.
const MAX_NAME: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_enabled(text: &str, section: &str) -> bool {
        is_on(text, section, "enabled")
    }

    fn with_enabled(text: &str, section: &str, enabled: bool) -> String {
        with_switch(text, section, "enabled", enabled)
    }

    const SHIPPED: &str = include_str!("../../init-scripts/procd/kubeedge.config");

    #[test]
    fn the_shipped_file_starts_nothing() {
        for section in ["edgecore", "cloudcore"] {
            assert!(!is_enabled(SHIPPED, section));
            assert!(SHIPPED.contains(&format!("config {section} '{section}'\n")));
        }
    }

    #[test]
    fn one_option_changes() {
        let on = with_enabled(SHIPPED, "edgecore", true);
        assert!(is_enabled(&on, "edgecore") && !is_enabled(&on, "cloudcore"));
        assert_eq!(on, SHIPPED.replacen("enabled '0'", "enabled '1'", 1));
        assert_eq!(with_enabled(&on, "edgecore", true), on);
        assert_eq!(with_enabled(&on, "edgecore", false), SHIPPED);
    }

    #[test]
    fn what_is_missing_is_added() {
        let bare =
            "config edgecore 'edgecore'\n\toption server 'a'\n\nconfig x\n\toption enabled '1'\n";
        let on = with_enabled(bare, "edgecore", true);
        let expected = bare.replacen("'edgecore'\n", "'edgecore'\n\toption enabled '1'\n", 1);
        assert_eq!(on, expected);
        for text in [
            "",
            "config other 'other'\n",
            "config other 'other'",
            "config edgecore edgecore",
        ] {
            assert!(!is_enabled(text, "edgecore"));
            let on = with_enabled(text, "edgecore", true);
            assert!(on.starts_with(text) && is_enabled(&on, "edgecore"), "{on}");
            assert!(
                !is_enabled(&with_enabled(&on, "edgecore", false), "edgecore"),
                "{on}"
            );
        }
    }

    #[test]
    fn sections_without_a_name_are_others() {
        let text = "config edgecore\n\toption enabled 1\nconfig edgecore \"edgecore\"\n option enabled on\n";
        assert!(is_enabled(text, "edgecore"));
        let off = with_enabled(text, "edgecore", false);
        assert!(off.contains("enabled 1") && !is_enabled(&off, "edgecore"));
    }

    #[test]
    fn the_last_one_counts_and_strange_lines_stay() {
        let text = "what is this\nconfig a 'a'\n\toption enabled 1\n\tnothing at all ;\n\toption enabled '0'\n";
        assert!(!is_enabled(text, "a"));
        let on = with_enabled(text, "a", true);
        assert_eq!(
            on,
            "what is this\nconfig a 'a'\n\toption enabled '1'\n\tnothing at all ;\n"
        );
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
}
