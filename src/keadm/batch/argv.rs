//! The command lines of OpenSSH's client, and those that it has run by the shell of a device.

use std::ffi::OsString;
use std::path::PathBuf;

use super::plan::Node;
use super::template::quoted;

/// How devices are reached, whichever they are.
pub struct Way {
    /// Instead of the user's own settings.
    pub config: Option<PathBuf>,
    /// Trust a device at first sight.
    pub accept_new: bool,
}

impl Way {
    /// The arguments of ssh that have a device run this.
    pub fn ssh(&self, node: &Node, command: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["-T".into()];
        let host_keys = match self.accept_new {
            true => "StrictHostKeyChecking=accept-new",
            false => "StrictHostKeyChecking=yes",
        };
        // A connection that stays for others would hold what is read from here open.
        for option in OPTIONS.iter().chain([&host_keys]) {
            words.extend(["-o".into(), option.into()]);
        }
        if let Some(file) = &self.config {
            words.extend(["-F".into(), file.into()]);
        }
        if let Some(key) = &node.key {
            words.extend(["-i".into(), key.into()]);
            words.extend(["-o".into(), "IdentitiesOnly=yes".into()]);
        }
        let (port, host) = (node.port.to_string(), node.host.to_string());
        let host = host.trim_matches(['[', ']']).to_owned();
        let rest = ["-p", &port, "-l", &node.user, "--", &host, command];
        words.extend(rest.map(OsString::from));
        words
    }
}

/// A folder that nobody else may write to; it and the machine are printed, and which end of a number comes first.
pub const PREPARE: &str = "umask 077; mktemp -d /tmp/kubeedge.XXXXXX && uname -m && \
                           dd if=/bin/sh bs=1 skip=5 count=1 2>/dev/null";

/// Reads a file from stdin.
pub fn receive(folder: &str, name: &str) -> String {
    let path = quoted(&format!("{folder}/{name}"));
    format!("umask 077; cat > {path} && chmod 700 {path}")
}

/// Runs keadm in the folder, and removes the folder.
pub fn run(folder: &str, node: &Node) -> String {
    let words: Vec<String> = node.words.iter().map(|word| quoted(word)).collect();
    let (folder, words) = (quoted(folder), words.join(" "));
    format!("cd {folder} && ./keadm {words}; code=$?; cd /; rm -rf {folder}; exit $code")
}

/// Removes the folder of a device where something went wrong.
pub fn clear(folder: &str) -> String {
    format!("rm -rf {}", quoted(folder))
}

/// What `PREPARE` has printed: the folder, the machine, and whether its small end comes first.
pub fn prepared(said: &[u8]) -> Option<(String, String, bool)> {
    let mut lines = said.splitn(3, |byte| *byte == b'\n');
    let (folder, machine, order) = (lines.next()?, lines.next()?, lines.next()?);
    let folder = String::from_utf8(folder.to_vec()).ok()?;
    let machine = String::from_utf8(machine.to_vec()).ok()?;
    let random = folder.strip_prefix("/tmp/kubeedge.")?;
    let is_plain = |text: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !text.is_empty() && text.len() < 40 && text.chars().all(is_word)
    };
    // In the head of an executable 1 is the small end, 2 the big one.
    (is_plain(random) && is_plain(&machine)).then_some((folder, machine, order != [2]))
}

const OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ControlMaster=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "LogLevel=ERROR",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            name: "a".to_owned(),
            host: "[2001:db8::1]".parse().unwrap(),
            port: 2222,
            user: "root".to_owned(),
            key: Some("/k".into()),
            files: Vec::new(),
            words: vec!["join".to_owned(), "--set".to_owned(), "a=$(b) c".to_owned()],
            token: None,
        }
    }

    #[test]
    fn command_lines_of_ssh() {
        let way = Way {
            config: Some("/c".into()),
            accept_new: false,
        };
        let words = way.ssh(&node(), "true");
        let line = words.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
        assert!(
            line.contains("-o BatchMode=yes ") && line.contains("-o StrictHostKeyChecking=yes ")
        );
        assert!(
            line.ends_with("-F /c -i /k -o IdentitiesOnly=yes -p 2222 -l root -- 2001:db8::1 true"),
            "{line}"
        );
    }

    #[test]
    fn the_shell_there_sees_one_word_for_each() {
        let line = run("/tmp/kubeedge.ab12", &node());
        assert!(
            line.starts_with("cd /tmp/kubeedge.ab12 && ./keadm join --set 'a=$(b) c'; code="),
            "{line}"
        );
    }

    #[test]
    fn what_a_device_says_of_itself() {
        let prepared = |text: &str| prepared(text.as_bytes());
        let little = ("/tmp/kubeedge.aB3".to_owned(), "armv7l".to_owned(), true);
        assert_eq!(
            prepared("/tmp/kubeedge.aB3\narmv7l\n\u{1}"),
            Some(little.clone())
        );
        assert_eq!(prepared("/tmp/kubeedge.aB3\narmv7l\n"), Some(little));
        assert_eq!(
            prepared("/tmp/kubeedge.aB3\nmips\n\u{2}").map(|it| it.2),
            Some(false)
        );
        for wrong in [
            "",
            "/tmp/kubeedge.a",
            "/etc\nx\n",
            "/tmp/kubeedge.a b\nx\n",
            "/tmp/kubeedge.a\n;\n",
            "motd\n/tmp/kubeedge.a\nx\n",
        ] {
            assert_eq!(prepared(wrong), None, "{wrong:?}");
        }
    }
}
