//! Join tokens in a file, hidden from the YAML reader, which would leave copies of them in memory.

use crate::system::secret::Secret;

/// A text in which other words, of the same length, stand for its join tokens.
pub struct Veil {
    text: Secret<String>,
    hidden: Vec<Secret<String>>,
}

impl Veil {
    /// Hides what looks like a join token. A text that has our words already is left as it is.
    pub fn over(text: &str) -> Veil {
        // Nothing grows: what grows leaves a copy behind.
        let mut veiled = String::with_capacity(text.len());
        let mut hidden = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find(is_part).filter(|_| !text.contains(MARK)) {
            let word = &rest[start..];
            let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            veiled.push_str(&rest[..start]);
            match is_token(word) {
                true => {
                    veiled.push_str(&stand_in(hidden.len(), word.len()));
                    hidden.push(Secret::new(word.to_owned()));
                }
                false => veiled.push_str(word),
            }
            rest = after;
        }
        veiled.push_str(rest);
        Veil {
            text: Secret::new(veiled),
            hidden,
        }
    }

    /// What may be read by anybody.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A part of the text, with the tokens back in their places.
    pub fn lift(&self, part: &str) -> Secret<String> {
        let mut lifted = Secret::new(part.to_owned());
        for (number, token) in self.hidden.iter().enumerate() {
            let word = stand_in(number, token.len());
            let mut pieces = Vec::new();
            for (position, piece) in lifted.split(&word).enumerate() {
                if position > 0 {
                    pieces.push(token.as_str());
                }
                pieces.push(piece);
            }
            lifted = Secret::<String>::concat(&pieces);
        }
        lifted
    }
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

/// A hash in hexadecimal, and three parts behind it.
fn is_token(word: &str) -> bool {
    let mut parts = word.split('.');
    let hash = parts.next().unwrap_or_default();
    hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) && parts.count() == 3
}

fn stand_in(number: usize, length: usize) -> String {
    format!("{:x<length$}", format!("{MARK}{number}-"))
}

const MARK: &str = "veiled-";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> String {
        format!("{}.e30.e30.{}", "0a".repeat(32), "s".repeat(43))
    }

    #[test]
    fn tokens_are_hidden_and_come_back() {
        let (token, text) = (token(), format!("a: \"{0}\"\nb: {0} # é\n", token()));
        let veil = Veil::over(&text);
        assert!(!veil.text().contains(&token));
        assert_eq!(veil.text().len(), text.len());
        assert_eq!(*veil.lift(veil.text()), text);
        let value = &veil.text()[4..4 + token.len()];
        assert_eq!(*veil.lift(value), token);
    }

    #[test]
    fn what_is_no_token_stays() {
        let (token, longer) = (token(), token() + ".x");
        for text in ["", "a: b", &token[1..], &longer, "a.b.c.d"] {
            let veil = Veil::over(text);
            assert_eq!(veil.text(), text);
        }
        // Whoever writes our own word gets it back, and no token in its place.
        let strange = format!("a: veiled-0-xxx\nb: {token}");
        let veil = Veil::over(&strange);
        assert_eq!(veil.text(), strange);
    }

    proptest! {
        #[test]
        fn lifting_undoes_veiling(parts in prop::collection::vec("[a: \\.é\n\"-]{0,6}", 0..5)) {
            let text: String = parts.join(&token());
            let veil = Veil::over(&text);
            let lifted = veil.lift(veil.text());
            prop_assert_eq!(lifted.as_str(), text);
        }
    }
}
