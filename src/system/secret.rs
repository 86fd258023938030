//! What must not stay in memory: wiped when it is dropped, and shown by nothing.

use std::fmt;
use std::ops::Deref;

use zeroize::{Zeroize, Zeroizing};

/// A text or bytes that somebody could use who reads them. Moved, it leaves no copy behind; made to
/// grow it would, so it is made whole (`concat` asks for its whole room at once).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Secret<T> {
        Secret(Zeroizing::new(value))
    }
}

impl Secret<String> {
    pub fn concat(parts: &[&str]) -> Secret<String> {
        Secret::new(parts.concat())
    }
}

impl Secret<Vec<u8>> {
    pub fn concat(parts: &[&[u8]]) -> Secret<Vec<u8>> {
        Secret::new(parts.concat())
    }

    /// What is no text shows so: no secret that is kept in a file is anything else.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self).ok()
    }
}

impl<T: Zeroize> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + AsRef<[u8]>> AsRef<[u8]> for Secret<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_it() {
        let secret = Secret::<String>::concat(&["pass", "word"]);
        assert_eq!(*secret, "password");
        assert_eq!(
            format!("{secret:?} {:?}", Some(&secret)),
            "Secret(…) Some(Secret(…))"
        );
        assert_eq!(Secret::<Vec<u8>>::concat(&[b"a", b"\xff"]).text(), None);
    }
}
