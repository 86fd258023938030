//! From the text of a command to its words: placeholders filled in, quotes taken off, a token set aside.

use crate::config::Secret;
use crate::keadm::leading_flags;

/// Puts values into `{{.name}}`; the error is a sentence.
pub fn filled(text: &str, values: &[(String, String)]) -> Result<String, String> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inner, after) = after
            .split_once("}}")
            .ok_or("a placeholder is not closed by }}")?;
        let name = inner.trim();
        let name = name.strip_prefix('.').filter(|name| is_name(name));
        let name = name.ok_or_else(|| {
            format!("{{{{{inner}}}}} is no placeholder: only {{{{.name}}}} is known")
        })?;
        let value = values.iter().find(|(key, _)| key == name);
        let (_, value) = value.ok_or_else(|| {
            format!("{{{{.{name}}}}} has no value: give it one below keadm.cmdTplArgs")
        })?;
        whole += before;
        whole += value;
        rest = after;
    }
    Ok(whole + rest)
}

fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(is_word)
}

/// Words as a shell would see them; what only a shell could do is refused, since none reads them.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or("a quote is not closed")? {
                        end if end == c => break,
                        '\\' if c == '"' => word.extend(chars.next()),
                        '$' | '`' if c == '"' => return Err(no_shell(c)),
                        other => word.push(other),
                    }
                }
            }
            '\\' => {
                let next = chars.next().ok_or("a backslash stands at the end")?;
                word.get_or_insert_default().push(next);
            }
            '|' | '&' | ';' | '<' | '>' | '$' | '`' => return Err(no_shell(c)),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match words.iter().any(|word| word.contains(char::is_control)) {
        true => Err("a word has a character that is no text".to_owned()),
        false => Ok(words),
    }
}

fn no_shell(c: char) -> String {
    format!("{c} means nothing here, as no shell reads the command: put it in single quotes")
}

/// For a shell that is not avoidable: the one that sshd starts.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The name, or its first word: flags may stand before it.
pub fn command(words: &[String]) -> Option<&String> {
    words.get(leading_flags(words))
}

/// Takes the token out of a join, to be read from stdin instead: arguments are seen by everybody, here and there.
pub fn set_aside(words: &mut Vec<String>) -> Option<Secret> {
    if command(words).is_none_or(|word| word != "join") {
        return None;
    }
    let mut token = None;
    let mut kept: Vec<String> = Vec::new();
    let mut given = words.drain(..);
    while let Some(word) = given.next() {
        if word == "--token" || word == "-t" {
            token = given.next();
            continue;
        }
        let value = word.strip_prefix("--token=");
        let short = || word.strip_prefix("-t").map(|it| it.trim_start_matches('='));
        match value.or_else(short) {
            Some(value) => token = Some(value.to_owned()),
            None => kept.push(word),
        }
    }
    drop(given);
    let token = token.filter(|token| !token.is_empty() && token != "-");
    if token.is_some() {
        kept.extend(["--token-file".to_owned(), "-".to_owned()]);
    }
    *words = kept;
    token.map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        let values = [
            ("a".to_owned(), "1".to_owned()),
            ("b_2".to_owned(), "x y".to_owned()),
        ];
        let filled = |text: &str| filled(text, &values);
        assert_eq!(
            filled("join {{.a}} {{ .b_2 }}{{.a}}"),
            Ok("join 1 x y1".to_owned())
        );
        assert_eq!(filled("none }} here"), Ok("none }} here".to_owned()));
        assert!(
            filled("{{.c}}")
                .unwrap_err()
                .contains("{{.c}} has no value")
        );
        for wrong in [
            "{{.a",
            "{{a}}",
            "{{if .a}}",
            "{{.a | print}}",
            "{{}}",
            "{{.}}",
        ] {
            assert!(filled(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_are_a_shells_and_nothing_else_is() {
        let line = r#"join  --set 'a=b c' --x="d \" e" f\ g '' -- "#;
        let expected = ["join", "--set", "a=b c", "--x=d \" e", "f g", "", "--"];
        assert_eq!(words(line), Ok(expected.map(str::to_owned).to_vec()));
        for wrong in [
            "a | b", "a;b", "a $(b)", "a `b`", "a > b", "a &", "\"$a\"", "'a", "a\\", "'\u{7}'",
        ] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
        assert_eq!(words("'a|b'"), Ok(vec!["a|b".to_owned()]));
    }

    #[test]
    fn what_is_quoted_is_read_again() {
        for word in ["", "a", "a b", "it's", "$(x)", "-x=1", "é", "*"] {
            let quoted = quoted(word);
            // Single quotes are all that is ever used.
            assert_eq!(words(&quoted), Ok(vec![word.to_owned()]), "{quoted}");
        }
        assert_eq!(quoted("--set=a,b"), "--set=a,b");
        assert_eq!(quoted("*"), "'*'");
    }

    #[test]
    fn a_token_is_set_aside() {
        for line in [
            "join --token T -e h:1",
            "join -t T -e h:1",
            "join --token=T -e h:1",
            "join -tT -e h:1",
            "join -t=T -e h:1",
        ] {
            let mut words = words(line).unwrap();
            let token = set_aside(&mut words).unwrap();
            assert_eq!(token.expose(), "T", "{line}");
            assert_eq!(words.join(" "), "join -e h:1 --token-file -");
        }
        for (line, rest) in [
            ("-v 4 join --token T -e h:1", "-v 4 join -e h:1"),
            ("--v=4 -v2 join -tT -e h:1", "--v=4 -v2 join -e h:1"),
            ("--v 4 join -t T", "--v 4 join"),
        ] {
            let mut words = words(line).unwrap();
            let token = set_aside(&mut words).expect(line);
            assert_eq!(token.expose(), "T", "{line}");
            assert_eq!(words.join(" "), format!("{rest} --token-file -"));
        }
        for line in ["join -e h:1", "reset --token T", "join --token-file x", ""] {
            let mut words = words(line).unwrap();
            assert!(set_aside(&mut words).is_none());
            assert_eq!(words.join(" "), line);
        }
        let reset = words("-v 2 reset --force").unwrap();
        assert_eq!(command(&reset).unwrap(), "reset");
        assert_eq!(command(&words("-v").unwrap()), None);
    }
}
