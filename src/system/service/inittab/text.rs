//! The lines of /etc/inittab that are a daemon's; all others stay byte for byte.

/// Whether no entry names run levels, as SysV's do.
pub fn is_busybox(text: &str) -> bool {
    let mut entries = text.lines().filter_map(entry);
    entries.all(|(levels, ..)| levels.is_empty())
}

/// Whether the daemon's line counts, if there is one.
pub fn state(text: &str, name: &str) -> Option<bool> {
    let states: Vec<bool> = text.lines().filter_map(|line| of(line, name)).collect();
    (!states.is_empty()).then(|| states.contains(&true))
}

/// Whether there is a line that `installed` has added.
pub fn is_ours(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.trim_end() == mark(name))
}

/// With `line`, and a comment that marks it as ours; or with the line that is there, which counts
/// now. Ours is made anew.
pub fn installed(text: &str, name: &str, line: &str) -> String {
    if state(text, name).is_none() {
        let mark = mark(name);
        // Without a last newline before there is none after, so that `removed` can undo it all.
        return match text.is_empty() || text.ends_with('\n') {
            true => format!("{text}{mark}\n{line}\n"),
            false => format!("{text}\n{mark}\n{line}"),
        };
    }
    let mut is_marked = false;
    let lines = text.split_inclusive('\n').map(|found| {
        let end = if found.ends_with('\n') { "\n" } else { "" };
        let is_ours = is_marked && of(found, name).is_some();
        is_marked = found.trim_end() == mark(name);
        match is_ours {
            true => format!("{line}{end}"),
            false => found.to_owned(),
        }
    });
    let text: String = lines.collect();
    match state(&text, name) {
        Some(true) => text,
        _ => switched(&text, name, true),
    }
}

/// With every line of the daemon in force, or commented out.
pub fn switched(text: &str, name: &str, on: bool) -> String {
    let lines = text.split_inclusive('\n').map(|line| match of(line, name) {
        Some(true) if !on => format!("#{line}"),
        Some(false) if on => line.trim_start_matches(['#', ' ']).to_owned(),
        _ => line.to_owned(),
    });
    lines.collect()
}

/// Without what `installed` has added; what somebody else wrote is commented out.
pub fn removed(text: &str, name: &str) -> String {
    let mark = mark(name);
    let (mut kept, mut is_marked) = (String::new(), false);
    for line in text.split_inclusive('\n') {
        let is_ours = is_marked && of(line, name).is_some();
        is_marked = line.trim_end() == mark;
        if is_ours && !line.ends_with('\n') {
            kept.truncate(kept.trim_end_matches('\n').len());
        } else if !is_ours && !is_marked {
            kept.push_str(line);
        }
    }
    switched(&kept, name, false)
}

/// Run levels, action and process of a line that is an entry.
fn entry(line: &str) -> Option<(&str, &str, &str)> {
    let line = line.trim_start();
    let mut parts = line.splitn(4, ':').skip(1);
    let entry = (parts.next()?, parts.next()?, parts.next()?);
    (!line.starts_with('#')).then_some(entry)
}

/// Whether a line starts the daemon: `None` if it has nothing to do with it, `Some(false)` if it
/// would without its `#`.
fn of(line: &str, name: &str) -> Option<bool> {
    let bare = line.trim_start_matches(['#', ' ']);
    let (_, action, process) = entry(bare)?;
    let mut words = process.split_ascii_whitespace();
    let program = words.next()?.rsplit('/').next()?;
    let is_it = program == name || (program == "kubeedge" && words.next() == Some(name));
    (action == "respawn" && is_it).then_some(bare.len() == line.len())
}

fn mark(name: &str) -> String {
    format!("# {name}, by keadm: `keadm reset` or `kubeedge service remove` takes it away.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "::respawn:/usr/local/bin/edgecore";
    const BEFORE: &str = "# Boot.\n::sysinit:/etc/init.d/rcS\n\ntty1::askfirst:-/bin/sh \n::shutdown:/bin/umount -a -r\n";

    #[test]
    fn all_else_stays_byte_for_byte() {
        for before in [
            BEFORE,
            BEFORE.trim_end(),
            "",
            "x",
            "\n\n",
            "::sysinit:/a\r\n",
        ] {
            let with = installed(before, "edgecore", LINE);
            assert!(with.starts_with(before));
            assert_eq!(with.lines().last(), Some(LINE));
            assert_eq!(state(&with, "edgecore"), Some(true));
            assert_eq!(installed(&with, "edgecore", LINE), with);
            let off = switched(&with, "edgecore", false);
            assert_eq!(off, with.replace(LINE, &format!("#{LINE}")));
            assert_eq!(state(&off, "edgecore"), Some(false));
            assert_eq!(switched(&off, "edgecore", true), with);
            assert_eq!(installed(&off, "edgecore", LINE), with);
            for with in [&with, &off] {
                assert_eq!(removed(with, "edgecore"), before);
            }
        }
        assert_eq!(removed(BEFORE, "edgecore"), BEFORE);
    }

    #[test]
    fn both_daemons_have_their_lines() {
        let one = installed(BEFORE, "edgecore", LINE);
        let both = installed(&one, "cloudcore", "::respawn:/usr/bin/cloudcore");
        let off = switched(&both, "edgecore", false);
        assert_eq!(state(&off, "cloudcore"), Some(true));
        let left = removed(&both, "edgecore");
        assert_eq!(removed(&left, "cloudcore"), BEFORE);
    }

    #[test]
    fn a_line_of_ours_follows_its_program() {
        let old = installed(BEFORE, "edgecore", LINE);
        let new = installed(&old, "edgecore", "::respawn:/usr/bin/edgecore");
        assert_eq!(new, old.replace("/usr/local/bin", "/usr/bin"));
    }

    #[test]
    fn what_somebody_else_wrote_is_used_and_stays() {
        for line in [
            "::respawn:/usr/bin/edgecore --log-level debug",
            "tty2::respawn:/usr/bin/kubeedge edgecore",
        ] {
            let text = format!("{BEFORE}{line}\n");
            assert_eq!(state(&text, "edgecore"), Some(true), "{line}");
            assert_eq!(installed(&text, "edgecore", LINE), text);
            let off = removed(&text, "edgecore");
            assert_eq!(off, format!("{BEFORE}#{line}\n"));
            assert_eq!(installed(&off, "edgecore", LINE), text);
        }
        for line in [
            "::once:/usr/bin/edgecore",
            "::respawn:/bin/sh edgecore",
            "edgecore",
        ] {
            assert_eq!(
                state(&format!("{BEFORE}{line}\n"), "edgecore"),
                None,
                "{line}"
            );
        }
    }

    #[test]
    fn sysv_is_told_from_busybox() {
        assert!(is_busybox(BEFORE));
        assert!(!is_busybox("id:2:initdefault:\n# ::respawn:x\n"));
        // Where our line is the only one, and is commented out.
        assert!(is_busybox("#::respawn:/usr/local/bin/edgecore\n") && is_busybox(""));
    }
}
