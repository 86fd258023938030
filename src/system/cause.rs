//! The words for an error of the operating system, and for one of a text that somebody else wrote.

use std::io;

use nix::errno::Errno;

/// In lower case and without the number: `no space left on device`.
pub fn of(error: &io::Error) -> String {
    // Libraries put an essay there.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the other side ended the connection".to_owned();
    }
    let text = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::UnknownErrno) | None => error.to_string(),
        Some(errno) => errno.desc().to_owned(),
    };
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // Not `i/O error`.
        (Some(first), Some(second)) if second.is_alphabetic() && !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text,
    }
}

/// Why a text is not the JSON that it should be, in a bounded sentence: what stands where something else should is
/// named, however long it is.
pub fn of_json(error: &serde_json::Error) -> String {
    format!("{:.300}", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_at_the_wrong_place_is_not_told_whole() {
        let text = format!("[\"{}\"]", "x".repeat(10_000));
        let error = serde_json::from_str::<Vec<u8>>(&text).unwrap_err();
        let said = of_json(&error);
        assert!(
            said.starts_with("invalid type: string") && said.len() == 300,
            "{said}"
        );
    }

    #[test]
    fn plain_words() {
        assert_eq!(of(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(of(&io::Error::from_raw_os_error(5)), "I/O error");
        assert_eq!(of(&io::Error::other("Odd thing")), "odd thing");
        let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "see https://example.org");
        assert_eq!(of(&ended), "the other side ended the connection");
    }
}
