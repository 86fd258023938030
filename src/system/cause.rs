//! The words for an error of the operating system.

use std::io;

use nix::errno::Errno;

/// In lower case and without the number: `no space left on device`.
pub fn of(error: &io::Error) -> String {
    let text = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::UnknownErrno) | None => error.to_string(),
        Some(errno) => errno.desc().to_owned(),
    };
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words() {
        assert_eq!(of(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(of(&io::Error::other("Odd thing")), "odd thing");
    }
}
