//! The user that a daemon becomes, when the system has one of its name.

use std::io;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::system::files::Files;
use crate::system::root::Root;

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// The user of that name. Read from the file itself: the C library's way would load plug-ins.
    pub fn find(files: &Files, root: &Root, name: &str) -> Option<User> {
        let text = files.read_opt(&root.at(PASSWD), MAX_PASSWD).ok()??;
        let text = String::from_utf8_lossy(&text);
        let user = text.lines().find_map(|line| parse(line, name))?;
        // Somebody's other name for root, or nonsense.
        (user.uid != 0 && user.gid != 0).then_some(user)
    }
}

fn parse(line: &str, wanted: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| *name == wanted)?;
    let mut numbers = fields.skip(1).map(|field| field.parse().ok());
    Some(User {
        name: name.to_owned(),
        uid: numbers.next()??,
        gid: numbers.next()??,
    })
}

/// Becomes this user for good, in no other group than its own.
pub fn become_user(user: &User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setgroups(&[gid])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    Ok(())
}

const PASSWD: &str = "/etc/passwd";
/// Bytes.
const MAX_PASSWD: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn found_by_its_whole_name() {
        let scratch = Scratch::new();
        let root = Root::new(Some(scratch.path().into()));
        let files = Files::real();
        let find = |name| User::find(&files, &root, name);
        assert_eq!(find("edgecore"), None);
        let text = "root:x:0:0:root:/root:/bin/sh\nedgecore2:x:7:7::/:\nbroken:x:a:b\n#edgecore:x:1:1\n\
                    edgecore:x:990:991:KubeEdge:/nonexistent:/sbin/nologin\nalias:x:0:5::/:\n";
        files.make_dir(&root.at("/etc"), 0o755).unwrap();
        files
            .replace(&root.at(PASSWD), text.as_bytes(), 0o644)
            .unwrap();
        let user = find("edgecore").unwrap();
        assert_eq!((user.uid, user.gid), (990, 991));
        for name in ["broken", "alias", "root", "nobody", ""] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
