//! What a registry asks for with 401: `WWW-Authenticate`, of the kinds Basic and Bearer.

/// What to come back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer {
        /// The URL that gives tokens.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The challenge in some header values that is preferred: a token, which is good for one repository,
/// before user and password. None when there is none that can be met.
pub fn read<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Challenge> {
    let mut basic = None;
    for value in values.filter(|value| value.len() <= MAX_VALUE) {
        let Ok(text) = std::str::from_utf8(value) else {
            continue;
        };
        for (scheme, parameters) in challenges(text) {
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
            if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = find(&parameters, "realm")
            {
                return Some(Challenge::Bearer {
                    realm,
                    service: find(&parameters, "service"),
                    scope: find(&parameters, "scope"),
                });
            }
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

fn find(parameters: &Parameters, wanted: &str) -> Option<String> {
    let named = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(wanted);
    let value = &parameters.iter().find(named)?.1;
    let printable = !value.is_empty() && !value.chars().any(char::is_control);
    printable.then(|| value.clone())
}

/// `scheme name="value", name=value, scheme …`: as much of it as can be understood.
fn challenges(text: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (word, behind) = word(rest);
        if word.is_empty() {
            break;
        }
        let behind = behind.trim_start();
        rest = match behind.strip_prefix('=') {
            Some(behind) => {
                let Some((value, behind)) = value(behind.trim_start()) else {
                    break;
                };
                let Some((_, parameters)) = found.last_mut() else {
                    break;
                };
                parameters.push((word.to_owned(), value));
                behind
            }
            None => {
                found.push((word.to_owned(), Vec::new()));
                behind
            }
        };
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.~+/!#$%&'*^`|:".contains(c)));
    text.split_at(end.unwrap_or(text.len()))
}

/// A word, or a text in quotes.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, behind) = word(text);
        return Some((word.to_owned(), behind));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Bytes of a header that are looked at.
const MAX_VALUE: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        read(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#;
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        let from_hub = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/alpine:pull"),
        );
        assert_eq!(of(&[hub]), from_hub);
        assert_eq!(of(&["Basic realm=\"x, y\"", hub]), from_hub);
        assert_eq!(of(&[&format!("Basic realm=\"a\", {hub}")]), from_hub);
        assert_eq!(of(&["basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(
            of(&["bearer Realm = \"a\\\"b\""]),
            bearer("a\"b", None, None)
        );
        assert_eq!(
            of(&["Bearer realm=https://a/t,error=x"]),
            bearer("https://a/t", None, None)
        );
    }

    #[test]
    fn nonsense_is_none() {
        for text in [
            "",
            "Bearer",
            "Bearer realm=\"",
            "Bearer realm=\"\"",
            "Digest a=b",
            "realm=\"x\"",
            "=,=",
            "Bearer realm=\"a\nb\"",
            "é",
        ] {
            assert_eq!(of(&[text]), None, "{text}");
        }
        assert_eq!(read([&b"\xff"[..]].into_iter()), None);
    }
}
