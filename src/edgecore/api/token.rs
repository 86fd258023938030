//! The token that opens the way to Secrets, and the file by which root's programs get it.

use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use crate::protocol::local::file::{self, Access, TOKEN_DIGITS};
use crate::system::files::{FileError, Files};

/// The token of this boot: an earlier one if there is, so that programs that have read the file can go on. None
/// where a new one is needed and can't be drawn without waiting: then nobody has it.
pub fn prepare(
    files: &Files,
    path: &Path,
    address: &str,
    has_randomness: bool,
) -> Result<Option<String>, FileError> {
    let known = files.read_opt(path, MAX_FILE)?;
    let known = known.and_then(|text| file::read(&String::from_utf8_lossy(&text)));
    let token = match known {
        Some(known) => known.token,
        None if has_randomness => new(),
        None => return Ok(None),
    };
    let access = Access {
        address: address.to_owned(),
        token,
    };
    files.replace(path, file::write(&access).as_bytes(), 0o600)?;
    Ok(Some(access.token))
}

fn new() -> String {
    let mut bytes = [0; TOKEN_DIGITS / 2];
    // A system without randomness opens the way to nobody: a token that nobody knows is never right.
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(_) => String::new(),
    }
}

/// Takes the same time for every wrong one.
pub fn is_right(given: &str, token: &str) -> bool {
    let differences = given.bytes().zip(token.bytes()).map(|(a, b)| a ^ b);
    let different = differences.fold(0, |all, one| all | one);
    !token.is_empty() && given.len() == token.len() && different == 0
}

const MAX_FILE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn a_token_lasts_as_long_as_its_file() {
        let (scratch, files) = (Scratch::new(), Files::real());
        let path = scratch.path().join("local.kubeconfig");
        assert_eq!(prepare(&files, &path, "127.0.0.1:1", false).unwrap(), None);
        assert!(!path.exists());
        let first = prepare(&files, &path, "127.0.0.1:1", true).unwrap();
        let again = prepare(&files, &path, "127.0.0.1:2", false).unwrap();
        assert!(again == first && first.is_some());
        assert_eq!(files.mode(&path).unwrap(), 0o600);
        let text = String::from_utf8(files.read(&path, MAX_FILE).unwrap()).unwrap();
        assert!(text.contains(&format!(
            "http://127.0.0.1:2/token/{}\n",
            first.clone().unwrap()
        )));
        files.remove(&path).unwrap();
        let other = prepare(&files, &path, "127.0.0.1:1", true).unwrap();
        assert_ne!(other, first);
    }

    #[test]
    fn only_the_token_is_right() {
        assert!(is_right("abc", "abc"));
        for (given, token) in [
            ("abd", "abc"),
            ("ab", "abc"),
            ("abcd", "abc"),
            ("", "abc"),
            ("", ""),
        ] {
            assert!(!is_right(given, token), "{given} {token}");
        }
    }
}
