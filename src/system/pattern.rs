//! Patterns for the names of nodes: an exact name, or one with `*` and `?` in it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::{NameError, NodeName};

/// `rack1-*`: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodePattern(String);

impl NodePattern {
    pub fn matches(&self, name: &NodeName) -> bool {
        fits(self.0.as_bytes(), name.as_str().as_bytes())
    }

    /// The one name that it stands for, if it has neither `*` nor `?`.
    pub fn exact(&self) -> Option<NodeName> {
        self.0.parse().ok()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Walks the name once for each `*` at most, since only the last one is ever gone back to.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

impl FromStr for NodePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<NodePattern, PatternError> {
        if !text.contains(['*', '?']) {
            text.parse::<NodeName>().map_err(PatternError::Name)?;
            return Ok(NodePattern(text.to_owned()));
        }
        if text.len() > MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.*?".contains(c);
        match text.chars().find(|c| !allowed(*c)) {
            Some(bad) => Err(PatternError::Character(bad)),
            None => Ok(NodePattern(text.to_owned())),
        }
    }
}

impl TryFrom<String> for NodePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<NodePattern, PatternError> {
        text.parse()
    }
}

impl From<NodePattern> for String {
    fn from(pattern: NodePattern) -> String {
        pattern.0
    }
}

impl fmt::Display for NodePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    Character(char),
    /// It has no `*` and no `?`, and is no name.
    Name(NameError),
    TooLong,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Character(bad) => write!(
                f,
                "no name of a node has {bad:?} in it: use a to z, 0 to 9, - and ., with * and ?"
            ),
            PatternError::Name(error) => error.fmt(f),
            PatternError::TooLong => write!(f, "a pattern has at most {MAX_LENGTH} characters"),
        }
    }
}

impl std::error::Error for PatternError {}

/// As long as a name can be.
const MAX_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let pattern: NodePattern = pattern.parse().unwrap();
        pattern.matches(&name.parse().unwrap())
    }

    #[test]
    fn names_and_wildcards() {
        for (pattern, name, expected) in [
            ("db-7", "db-7", true),
            ("db-7", "db-71", false),
            ("rack1-*", "rack1-a", true),
            ("rack1-*", "rack1-a.b", true),
            ("rack1-*", "rack1", false),
            ("rack1-*", "rack10-a", false),
            ("*-gw", "berlin-gw", true),
            ("*-gw", "berlin-gw2", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "abbc", false),
            ("*", "anything", true),
            ("**", "x", true),
            ("*?", "x", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c2b", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = format!("{}b", "a*".repeat(120));
        let started = std::time::Instant::now();
        for _ in 0..1000 {
            assert!(!matches(&pattern, &vec!["a".repeat(60); 4].join(".")));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn what_no_name_can_match_is_no_pattern() {
        use PatternError::*;
        for (text, fault) in [
            ("Rack-*", Character('R')),
            ("a b*", Character(' ')),
            ("a_?", Character('_')),
        ] {
            assert_eq!(text.parse::<NodePattern>(), Err(fault), "{text}");
        }
        assert_eq!(
            format!("{}*", "a".repeat(253)).parse::<NodePattern>(),
            Err(TooLong)
        );
        for text in ["", "-a", "A", "a b"] {
            assert!(
                matches!(text.parse::<NodePattern>(), Err(Name(_))),
                "{text}"
            );
        }
        let exact: NodePattern = "db-7".parse().unwrap();
        assert_eq!(exact.exact(), "db-7".parse().ok());
        assert_eq!("db-*".parse::<NodePattern>().unwrap().exact(), None);
    }

    /// The same by the book: every way to spread the name over the pattern is tried.
    fn by_the_book(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                (0..=name.len()).any(|taken| by_the_book(rest, &name[taken..]))
            }
            (Some((p, pattern)), Some((n, name))) => {
                (*p == b'?' || p == n) && by_the_book(pattern, name)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_fast_way_agrees_with_the_slow_one(pattern in "[ab*?]{0,8}", name in "[ab]{1,10}") {
            let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(fits(pattern, name), by_the_book(pattern, name));
        }
    }
}
