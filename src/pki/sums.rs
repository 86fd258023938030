//! Lists of digests as `sha256sum` writes them.

use super::hash::Sha256Hash;

/// The digest that the list has for a file; none when it does not name it, or not with a digest. A path before
/// the name is none of the file's, but for `./`.
pub fn find(list: &[u8], name: &str) -> Option<Sha256Hash> {
    let list = String::from_utf8_lossy(list);
    let mut lines = list.lines().filter_map(|line| line.split_once(' '));
    let (digest, _) = lines.find(|(_, rest)| {
        let listed = rest.trim_start_matches([' ', '*']);
        listed.trim_start_matches("./") == name
    })?;
    digest.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_digests() {
        let digest = Sha256Hash::of(b"x");
        for line in [
            format!("{digest}  kubeedge"),
            format!("{digest} *kubeedge"),
            format!("{digest}  ./kubeedge\r"),
        ] {
            let list = format!("{}  other\n{line}\n", Sha256Hash::of(b"y"));
            assert_eq!(find(list.as_bytes(), "kubeedge"), Some(digest), "{line}");
        }
        for list in ["", "x  kubeedge", &format!("{digest}  kubeedge2")] {
            assert_eq!(find(list.as_bytes(), "kubeedge"), None, "{list}");
        }
    }
}
