//! Files that change their owner, because the process that uses them has become another user.
//!
//! Done anew at every start, so it need not be durable; and only where the owner is not the right
//! one already, so that flash memory is not written for nothing.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use super::User;

/// Gives a folder of ours and the files in it to the user, or to root when there is none. Only to
/// be called while no process of that user runs: nobody else can change what lies in there then.
pub fn give_folder(folder: &Path, user: Option<&User>) -> io::Result<()> {
    let (uid, gid) = user.map_or((0, 0), |user| (user.uid, user.gid));
    give(folder, uid, gid)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            give_folder(&path, user)?;
        } else if metadata.is_file() && metadata.nlink() == 1 {
            give(&path, uid, gid)?;
        }
    }
    Ok(())
}

/// Lets the user work in a folder that others have files in too: it may make files, and change those that are its
/// own, which are the ones that `is_own` says; not read or remove any other, nor one that it was given by mistake.
/// The same holds for when to call it.
#[allow(clippy::disallowed_methods)] // The mode is only ever opened, to one group.
pub fn share_folder(
    folder: &Path,
    user: Option<&User>,
    is_own: impl Fn(&str) -> bool,
) -> io::Result<()> {
    let (uid, gid) = user.map_or((0, 0), |user| (user.uid, user.gid));
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        let is_plain = metadata.is_file() && metadata.nlink() == 1;
        let name = path.file_name().and_then(|name| name.to_str());
        let was_given = user.is_some() && metadata.uid() == uid;
        if is_plain && name.is_some_and(&is_own) {
            give(&path, uid, gid)?;
        } else if is_plain && was_given {
            give(&path, 0, 0)?;
        } else if metadata.is_dir() && was_given {
            give_folder(&path, None)?;
        }
    }
    let metadata = fs::symlink_metadata(folder)?;
    let owner = match (user, metadata.uid() == uid) {
        (Some(_), false) => metadata.uid(),
        (Some(_), true) | (None, _) => 0,
    };
    give(folder, owner, gid)?;
    // The sticky bit keeps everybody's files from everybody else.
    if user.is_some() && metadata.mode() & 0o7777 != SHARED {
        fs::set_permissions(folder, fs::Permissions::from_mode(SHARED))?;
    }
    Ok(())
}

/// Lets the user read a file that belongs to root, through its group; and reach it, as far as the
/// folders from `top` on down are concerned. Nothing is done for a file that is not there.
pub fn let_read(top: &Path, file: &Path, user: &User) -> io::Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let folders = file
        .ancestors()
        .skip(1)
        .take_while(|it| it.starts_with(top));
    for folder in folders {
        share(folder, user, 0o001, 0o010)?;
    }
    share(file, user, 0o004, 0o040)
}

/// Unless everybody has the right already, the user's group gets it.
#[allow(clippy::disallowed_methods)] // The mode is only ever opened, to one group.
fn share(path: &Path, user: &User, everybody: u32, group: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let is_fit = metadata.is_dir() || (metadata.is_file() && metadata.nlink() == 1);
    if metadata.mode() & everybody != 0 || metadata.uid() == user.uid || !is_fit {
        return Ok(());
    }
    if metadata.gid() != user.gid {
        lchown(path, None, Some(user.gid))?;
    }
    if metadata.mode() & group == 0 {
        // What the former group could do must not be what the new one can.
        let mode = (metadata.mode() & 0o7707) | group;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if (metadata.uid(), metadata.gid()) == (uid, gid) {
        return Ok(());
    }
    lchown(path, Some(uid), Some(gid))
}

/// Of a folder that two users have files in.
pub const SHARED: u32 = 0o1770;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::Files;
    use crate::system::not_tried::not_tried;
    use crate::system::processes;
    use crate::system::scratch::Scratch;

    fn user() -> User {
        User {
            name: "edgecore".to_owned(),
            uid: 61_234,
            gid: 61_235,
        }
    }

    fn facts(path: &Path) -> (u32, u32, u32) {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    }

    #[test]
    fn there_and_back() {
        if !processes::is_root() {
            not_tried("files of another user: only root can make them");
            return;
        }
        let scratch = Scratch::new();
        let (files, folder) = (Files::real(), scratch.path().join("certs"));
        files.make_dir(&folder, 0o700).unwrap();
        let [key, linked] = ["server.key", "other"].map(|name| folder.join(name));
        let outside = scratch.path().join("outside");
        files.replace(&key, b"x", 0o600).unwrap();
        files.replace(&outside, b"x", 0o600).unwrap();
        fs::hard_link(&outside, &linked).unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
        give_folder(&folder, Some(&user())).unwrap();
        assert_eq!(facts(&folder), (61_234, 61_235, 0o700));
        assert_eq!(facts(&key), (61_234, 61_235, 0o600));
        // Neither a link nor a second name lets a file out of another folder be taken.
        assert_eq!(facts(&outside), (0, 0, 0o600));
        give_folder(&folder, None).unwrap();
        assert_eq!((facts(&folder).0, facts(&key).0), (0, 0));
    }

    #[test]
    fn reading_is_shared_with_one_group_and_no_more() {
        if !processes::is_root() {
            not_tried("files of another user: only root can make them");
            return;
        }
        let scratch = Scratch::new();
        let (files, top) = (Files::real(), scratch.path().join("top"));
        let token = top.join("deep/token");
        files.make_dir(&top.join("deep"), 0o700).unwrap();
        files.replace(&token, b"x", 0o600).unwrap();
        let_read(&top, &top.join("absent"), &user()).unwrap();
        for _ in 0..2 {
            let_read(&top, &token, &user()).unwrap();
            assert_eq!(facts(&token), (0, 61_235, 0o640));
            assert_eq!(facts(&top.join("deep")), (0, 61_235, 0o710));
            assert_eq!(facts(&top), (0, 0, 0o755));
        }
        // What everybody may read stays as it is.
        files.replace(&token, b"x", 0o644).unwrap();
        let_read(&top, &token, &user()).unwrap();
        assert_eq!(facts(&token), (0, 0, 0o644));
    }
}
