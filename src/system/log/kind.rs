//! Of which kind a line is: the line without its numbers, times and ports, which change from one to the next.

use std::net::IpAddr;

/// Lines of one kind say the same of the same things. Addresses and names stay, digits in them and all.
pub fn of(text: &str) -> String {
    let mut kind = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars() {
        if c.is_whitespace() || "=(),;\"'<>{}".contains(c) {
            kind += &blank(&word);
            word.clear();
            kind.push(c);
        } else {
            word.push(c);
        }
    }
    kind + &blank(&word)
}

/// A word with what is a number in it replaced by `#`.
fn blank(word: &str) -> String {
    if !word.contains(|c: char| c.is_ascii_digit()) {
        return word.to_owned();
    }
    let core = word.trim_end_matches([':', '.', '!', '?', '…']);
    let end = &word[core.len()..];
    let is_address = |text: &str| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok()
    };
    let port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let blank = match core.rsplit_once(':') {
        _ if is_address(core) => core.to_owned(),
        Some((host, number)) if port(number) && is_address(host) => format!("{host}:#"),
        _ if is_number(core) => "#".to_owned(),
        Some((host, number)) if port(number) => format!("{host}:#"),
        _ => core.to_owned(),
    };
    blank + end
}

/// `17`, `1.5s`, `250ms`, `1h2m`, `64KiB`, `12:30:05`, `90%`, `2026-01-02T03:04:05Z`.
fn is_number(word: &str) -> bool {
    let is_time = word.len() >= "2026-01-02T03:04:05Z".len()
        && word.ends_with('Z')
        && word
            .chars()
            .all(|c| c.is_ascii_digit() || "-:.TZ".contains(c));
    let begins = word
        .trim_start_matches(['-', '+', '~'])
        .starts_with(|c: char| c.is_ascii_digit());
    // What is left without digits must be nothing but units.
    let rest = word.trim_start_matches(['-', '+', '~']);
    let mut units = rest.split(|c: char| c.is_ascii_digit() || ".:".contains(c));
    is_time || (begins && units.all(|unit| UNITS.contains(&unit)))
}

const UNITS: &[&str] = &[
    "", "ns", "µs", "us", "ms", "s", "m", "h", "d", "%", "B", "kB", "KiB", "MB", "MiB", "GB", "GiB",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_blank_and_names_are_not() {
        for (line, kind) in [
            ("hub: 17 lines in 1.5s", "hub: # lines in #"),
            (
                "no answer within 10 s (503: later)",
                "no answer within # s (#: later)",
            ),
            ("to 192.0.2.1:10000: refused", "to 192.0.2.1:#: refused"),
            ("to [fd00::1]:10000", "to [fd00::1]:#"),
            (
                "to cloud7.example:10000 as edge-17",
                "to cloud7.example:# as edge-17",
            ),
            (
                "from 192.0.2.17 and fd00::17",
                "from 192.0.2.17 and fd00::17",
            ),
            ("until 2026-01-02T03:04:05Z.", "until #."),
            (
                "after 1h2m3s, 90% of 64KiB, count=3",
                "after #, # of #, count=#",
            ),
            (
                "serial 3f00a1, db-7, v1.23.1-kubeedge",
                "serial 3f00a1, db-7, v1.23.1-kubeedge",
            ),
            ("12:30:05 -3 +4", "# # #"),
            ("", ""),
        ] {
            assert_eq!(of(line), kind, "{line}");
        }
    }
}
