//! Takes secrets out of text: those that are known, and what looks like one.

use crate::config::veil::Veil;
use crate::system::secret::Secret;

/// What is known to be secret on this device.
#[derive(Default)]
pub struct Redactor {
    known: Vec<Secret<String>>,
}

/// How a text says what is secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `key: value`, with lists and blocks below a key.
    Settings,
    /// Sentences.
    Log,
}

impl Redactor {
    /// Remembers a secret, line by line: each may stand alone.
    pub fn learn(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            // The frame of a key is none, and needed to find others.
            if line.len() >= SHORTEST && !line.starts_with("-----") {
                self.known.push(Secret::new(line.to_owned()));
            }
        }
    }

    /// The same of what stands behind the first of these: a token begins with what is public.
    pub fn learn_parts(&mut self, text: &str, between: char) {
        text.trim()
            .split(between)
            .skip(1)
            .for_each(|part| self.learn(part));
    }

    /// To be done before the first text: what holds another secret goes first.
    pub fn settle(&mut self) {
        self.known.sort_by_key(|it| std::cmp::Reverse(it.len()));
        self.known.dedup_by(|a, b| **a == **b);
    }

    pub fn clean(&self, text: &str, kind: Kind) -> String {
        let mut veiled = text.to_owned();
        for secret in &self.known {
            if veiled.contains(secret.as_str()) {
                veiled = veiled.replace(secret.as_str(), GONE);
            }
        }
        let mut clean = String::with_capacity(veiled.len());
        let (mut in_key, mut below) = (false, None::<usize>);
        for line in veiled.lines() {
            // To look for secrets takes time that grows with the square of this, and lines are short.
            if line.len() > LONGEST {
                clean.push_str(GONE_LONG);
                continue;
            }
            let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
            let ends = line.contains("-----END ");
            if begins || in_key {
                in_key = !ends;
                clean.push_str(if begins { GONE_LINE } else { "" });
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            match below {
                Some(outer) if indent > outer || line.trim().is_empty() => continue,
                Some(outer) if indent == outer && line.trim_start().starts_with("- ") => continue,
                _ => below = None,
            }
            let line = userinfo(Veil::over(line).text());
            let (shown, has_secret) = after_keys(&line, kind);
            if has_secret && kind == Kind::Settings {
                below = Some(indent);
            }
            clean.push_str(&shown);
            clean.push('\n');
        }
        clean
    }
}

/// `://user:password@host`
fn userinfo(line: &str) -> String {
    let (mut clean, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || "/\"'".contains(c));
        let authority = &after[..end.unwrap_or(after.len())];
        rest = after;
        if let Some(at) = authority.rfind('@') {
            clean.push_str(GONE);
            rest = &after[at..];
        }
    }
    clean + rest
}

/// What follows a word for secrets, and `:` or `=` or a blank behind `Bearer`, goes.
fn after_keys(line: &str, kind: Kind) -> (String, bool) {
    let (mut clean, mut rest, mut found) = (String::new(), line, false);
    while let Some(at) = rest.find([':', '=', ' ']) {
        let (key, value) = (&rest[..at], &rest[at + 1..]);
        let word = key
            .rsplit([' ', ',', '{', '?', '&', ';'])
            .next()
            .unwrap_or_default();
        let is_space = rest[at..].starts_with(' ');
        clean.push_str(&rest[..=at]);
        rest = value;
        let is_key = match is_space {
            true => SCHEMES
                .iter()
                .any(|scheme| word.eq_ignore_ascii_case(scheme)),
            false => is_secret(word),
        };
        let is_url = rest.starts_with("//");
        if !is_key || rest.trim().is_empty() && kind == Kind::Log || is_url {
            continue;
        }
        found = true;
        if kind == Kind::Settings {
            clean.push(' ');
            clean.push_str(GONE);
            return (clean, true);
        }
        rest = skip_value(rest);
        clean.push_str(GONE);
    }
    (clean + rest, found)
}

/// What follows a value: a text in quotes, or a word, or two if it is a scheme and its secret.
fn skip_value(text: &str) -> &str {
    let text = text.trim_start();
    for quote in ["\\\"", "\"", "'"] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner
                .find(quote)
                .map_or("", |end| &inner[end + quote.len()..]);
        }
    }
    let end = text.find(|c: char| c.is_whitespace() || ",;&}\"".contains(c));
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    match SCHEMES
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
    {
        true => skip_value(rest),
        false => rest,
    }
}

fn is_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    !plain.ends_with("file") && SECRET.iter().any(|word| plain.contains(word))
}

const GONE: &str = "<removed>";
const GONE_LINE: &str = "<removed: a private key>\n";
const GONE_LONG: &str = "<removed: a line of more than 16 KiB>\n";
/// Bytes of a line.
const LONGEST: usize = 16 << 10;
/// Bytes: shorter words stand in too much that is none.
const SHORTEST: usize = 6;
const SCHEMES: &[&str] = &["bearer", "basic"];
const SECRET: &[&str] = &[
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "psk",
    "pwd",
    "secret",
    "token",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_goes_as_a_whole() {
        let text = format!("a\n{}\nb\n", "x ".repeat(LONGEST));
        let clean = Redactor::default().clean(&text, Kind::Log);
        assert_eq!(clean, format!("a\n{GONE_LONG}b\n"));
    }

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let mut redactor = Redactor::default();
        redactor.learn("user:pass-word\npass-word-2\n-----BEGIN X-----\n");
        redactor.learn_parts("user:pass-word", ':');
        redactor.settle();
        let cases = [
            (
                Kind::Log,
                "it is pass-word-2, not pass-word",
                "it is <removed>, not <removed>",
            ),
            (
                Kind::Log,
                "GET http://u:x@h/ and http://h/a@b",
                "GET http://<removed>@h/ and http://h/a@b",
            ),
            (
                Kind::Log,
                "Authorization: Bearer abc, and more",
                "Authorization:<removed>, and more",
            ),
            (
                Kind::Log,
                "with bearer abc now",
                "with bearer <removed> now",
            ),
            (Kind::Log, "a=1&token=abc&b=2", "a=1&token=<removed>&b=2"),
            (
                Kind::Log,
                "{\"password\": \"a b\", \"x\": 1}",
                "{\"password\":<removed>, \"x\": 1}",
            ),
            (Kind::Log, "needs a token", "needs a token"),
            (Kind::Log, "at 12:30:05 x=y", "at 12:30:05 x=y"),
            (
                Kind::Settings,
                "  wifiPassword: my own words # so",
                "  wifiPassword: <removed>",
            ),
            (
                Kind::Settings,
                "tokenFile: /etc/token",
                "tokenFile: /etc/token",
            ),
            (Kind::Settings, "a: b", "a: b"),
            (
                Kind::Settings,
                "token: |\n  abc\n\n  def\nb: c",
                "token: <removed>\nb: c",
            ),
            (
                Kind::Settings,
                "x:\n  secrets:\n  - abc\n  - def\n  y: 1",
                "x:\n  secrets: <removed>\n  y: 1",
            ),
            (
                Kind::Log,
                "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\nb",
                "<removed: a private key>\nb",
            ),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(
                redactor.clean(text, kind),
                format!("{expected}\n"),
                "{text}"
            );
        }
        let token = format!("{}.e30.e30.{}", "0a".repeat(32), "s".repeat(43));
        let clean = redactor.clean(&format!("got {token} here"), Kind::Log);
        assert!(
            clean.ends_with(" here\n") && !clean.contains(&token[70..]),
            "{clean}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-a:/@ =\"'|é{\n]{0,40}(token: |Bearer |://)?[-a:/@ =\"'é\n]{0,20}") {
            let redactor = Redactor::default();
            redactor.clean(&text, Kind::Log);
            redactor.clean(&text, Kind::Settings);
        }
    }
}
