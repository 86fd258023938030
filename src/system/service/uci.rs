//! `/etc/config/kubeedge` of OpenWrt: the one option that we set, all else as it was.

/// Whether the section says `option enabled '1'`.
pub(super) fn is_enabled(text: &str, section: &str) -> bool {
    let lines = text.lines();
    let mut current = "";
    for line in lines {
        match words(line) {
            ["config", _, name] => current = name,
            ["option", "enabled", value] if current == section => {
                return ["1", "on", "true", "yes", "enabled"].contains(&value);
            }
            _ => {}
        }
    }
    false
}

/// The text with that option set; a section that is missing is added.
pub(super) fn with_enabled(text: &str, section: &str, enabled: bool) -> String {
    let option = format!("\toption enabled '{}'\n", u8::from(enabled));
    let (mut changed, mut current, mut done) = (String::new(), "", false);
    for line in text.split_inclusive('\n') {
        match words(line) {
            ["config", _, name] => current = name,
            ["option", "enabled", _] if current == section => {
                if !done {
                    changed.push_str(&option);
                }
                done = true;
                continue;
            }
            _ => {}
        }
        changed.push_str(line);
    }
    if done {
        return changed;
    }
    let header = |line: &str| matches!(words(line), ["config", _, name] if name == section);
    let mut lines = text.split_inclusive('\n');
    let before: String = lines.by_ref().take_while(|line| !header(line)).collect();
    let rest = &text[before.len()..];
    let (head, rest) = match rest.split_once('\n') {
        Some((head, rest)) => (head.to_owned(), rest),
        None if rest.is_empty() => (format!("\nconfig {section} '{section}'"), ""),
        None => (rest.to_owned(), ""),
    };
    let gap = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{before}{gap}{head}\n{option}{rest}")
}

/// Up to three words of a line, without quotes.
fn words(line: &str) -> [&str; 3] {
    let mut words = line.split_ascii_whitespace();
    [(); 3].map(|()| words.next().unwrap_or_default().trim_matches(['\'', '"']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../init-scripts/procd/kubeedge.config");

    #[test]
    fn the_shipped_file_starts_nothing() {
        for section in ["edgecore", "cloudcore"] {
            assert!(!is_enabled(SHIPPED, section));
            assert!(SHIPPED.contains(&format!("config {section} '{section}'\n")));
        }
    }

    #[test]
    fn one_option_changes() {
        let on = with_enabled(SHIPPED, "edgecore", true);
        assert!(is_enabled(&on, "edgecore") && !is_enabled(&on, "cloudcore"));
        assert_eq!(on, SHIPPED.replacen("enabled '0'", "enabled '1'", 1));
        assert_eq!(with_enabled(&on, "edgecore", true), on);
        assert_eq!(with_enabled(&on, "edgecore", false), SHIPPED);
    }

    #[test]
    fn what_is_missing_is_added() {
        let bare =
            "config edgecore 'edgecore'\n\toption server 'a'\n\nconfig x\n\toption enabled '1'\n";
        let on = with_enabled(bare, "edgecore", true);
        let expected = bare.replacen("'edgecore'\n", "'edgecore'\n\toption enabled '1'\n", 1);
        assert_eq!(on, expected);
        for text in [
            "",
            "config other 'other'\n",
            "config other 'other'",
            "config edgecore edgecore",
        ] {
            assert!(!is_enabled(text, "edgecore"));
            let on = with_enabled(text, "edgecore", true);
            assert!(on.starts_with(text) && is_enabled(&on, "edgecore"), "{on}");
            assert!(
                !is_enabled(&with_enabled(&on, "edgecore", false), "edgecore"),
                "{on}"
            );
        }
    }

    #[test]
    fn sections_without_a_name_are_others() {
        let text = "config edgecore\n\toption enabled 1\nconfig edgecore \"edgecore\"\n option enabled on\n";
        assert!(is_enabled(text, "edgecore"));
        let off = with_enabled(text, "edgecore", false);
        assert!(off.contains("enabled 1") && !is_enabled(&off, "edgecore"));
    }
}
