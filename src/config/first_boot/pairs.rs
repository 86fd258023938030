//! Keys and values: lines of the join file, and the parameter on the kernel's command line.

use super::{FirstBootError, Source};
use crate::system::secret::Secret;

/// In their order; keys as join spells its flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, Secret<String>)>);

impl Pairs {
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// What has no value is not there: images have lines that somebody fills in, or not.
    pub(super) fn add(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.0
                .push((key.replace('_', "-"), Secret::new(value.to_owned())));
        }
    }
}

/// Lines `key: value` or `key=value`; empty ones and those with `#` first count for nothing.
pub fn of_file(text: &str) -> Result<Pairs, FirstBootError> {
    let mut pairs = Pairs::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = pair(line, &[':', '=']).ok_or(FirstBootError::Line {
            source: Source::JoinFile,
            line: number + 1,
            fault: "this is no `key: value`: see `keadm join --help` for the keys",
        })?;
        if pairs.0.len() >= MAX_PAIRS {
            return Err(too_many(Source::JoinFile, number + 1));
        }
        pairs.add(key, value);
    }
    Ok(pairs)
}

/// `kubeedge.join=key=value,key=value`, or with semicolons where a value has commas in it; none when the
/// line has no such word.
pub fn of_command_line(line: &str) -> Result<Option<Pairs>, FirstBootError> {
    let Some(asked) = words(line).find_map(parameter) else {
        return Ok(None);
    };
    let separator = match asked.contains(';') {
        true => ';',
        false => ',',
    };
    let mut pairs = Pairs::default();
    for item in asked.split(separator).map(str::trim) {
        if item.is_empty() {
            continue;
        }
        let (key, value) = pair(item, &['=']).ok_or(FirstBootError::Line {
            source: Source::KernelCommandLine,
            line: 1,
            fault: "an item is no key=value: separate them by `;` where values have commas",
        })?;
        if pairs.0.len() >= MAX_PAIRS {
            return Err(too_many(Source::KernelCommandLine, 1));
        }
        pairs.add(key, value);
    }
    Ok((!pairs.0.is_empty()).then_some(pairs))
}

/// As the kernel separates them: at spaces, but not between quotes.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    })
}

/// The kernel takes quotes around the value, and around the whole.
fn parameter(word: &str) -> Option<&str> {
    let whole = unquoted(word);
    let value = whole.strip_prefix("kubeedge.join=")?;
    Some(unquoted(value))
}

/// Only what looks like a key is one: a sentence may show it, and it must not be a token.
fn pair<'a>(text: &'a str, separators: &[char]) -> Option<(&'a str, &'a str)> {
    let (key, value) = text.split_once(separators)?;
    let key = key.trim();
    let is_key = |c: char| c.is_ascii_lowercase() || c == '-' || c == '_';
    let fits = !key.is_empty() && key.len() <= MAX_KEY && key.chars().all(is_key);
    fits.then(|| (key, unquoted(value.trim())))
}

fn unquoted(text: &str) -> &str {
    let without = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    without('"').or_else(|| without('\'')).unwrap_or(text)
}

pub(super) fn too_many(source: Source, line: usize) -> FirstBootError {
    FirstBootError::Line {
        source,
        line,
        fault: "there are more keys than join has",
    }
}

/// Of one source.
pub(super) const MAX_PAIRS: usize = 64;
/// Bytes.
const MAX_KEY: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pairs: Pairs) -> Vec<String> {
        let pairs = pairs.0.iter();
        pairs
            .map(|(key, value)| format!("{key} {}", **value))
            .collect()
    }

    #[test]
    fn files() {
        let text = "# of the office\n\ncloudcore-ipport: cloud.example:10000\r\n\
                    token=abc.d=\n node_name : 'barn-{mac}'\nproxy:\nlabels: a=b,c=d\n";
        assert_eq!(
            shown(of_file(text).unwrap()),
            [
                "cloudcore-ipport cloud.example:10000",
                "token abc.d=",
                "node-name barn-{mac}",
                "labels a=b,c=d"
            ]
        );
        // A token without its key is not shown.
        for wrong in [
            "cloudcore-ipport",
            "ABC.e30.e30.secret: x",
            "a b: c",
            ": c",
            "=",
        ] {
            let error = of_file(&format!("\n{wrong}\n")).unwrap_err().to_string();
            assert!(error.contains("line 2: this is no"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(of_file(&"set: a=b\n".repeat(65)).is_err());
    }

    #[test]
    fn command_lines() {
        for line in [
            "root=/dev/sda2 kubeedge.join=token=x,cloudcore-ipport=a:1 quiet\n",
            "kubeedge.join=\"token=x;cloudcore-ipport=a:1\"",
            "a=\"b c\" \"kubeedge.join=token=x; cloudcore-ipport=a:1;\" z",
        ] {
            let pairs = of_command_line(line).unwrap().unwrap();
            assert_eq!(shown(pairs), ["token x", "cloudcore-ipport a:1"], "{line}");
        }
        let two = "kubeedge.join=cloudcore-ipport=a:1,b:2;token=x";
        let pairs = of_command_line(two).unwrap().unwrap();
        assert_eq!(shown(pairs), ["cloudcore-ipport a:1,b:2", "token x"]);
        for none in [
            "",
            "quiet",
            "xkubeedge.join=token=x",
            "kubeedge.join=",
            "kubeedge.join",
        ] {
            assert_eq!(of_command_line(none).unwrap(), None, "{none}");
        }
        let commas = "kubeedge.join=cloudcore-ipport=a:1,b:2,token=x";
        let error = of_command_line(commas).unwrap_err().to_string();
        assert!(error.contains("separate them by `;`"), "{error}");
    }
}
