//! Files of an init system that we write: marked as ours, and only those are ever removed.

use std::path::Path;

use super::error::ServiceError;
use super::report::Touch;
use crate::system::files::FileError;
use crate::system::host::Host;

/// A text with our mark behind its first line, which may say who runs it.
pub(super) fn marked(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => format!("{first}\n{MARK}\n{rest}"),
        _ => format!("{MARK}\n{text}"),
    }
}

/// Whether a file is there that somebody else brought, such as a package.
pub(super) fn is_foreign(host: &Host, path: &Path) -> Result<bool, ServiceError> {
    Ok(path.symlink_metadata().is_ok() && !has_mark(host, path)?)
}

/// For those who change nothing: what can't be read is none of ours.
pub(super) fn is_ours(host: &Host, path: &Path) -> bool {
    has_mark(host, path).unwrap_or(false)
}

/// A disk that fails is no reason to take a file for somebody else's, and leave it.
pub(super) fn has_mark(host: &Host, path: &Path) -> Result<bool, ServiceError> {
    let content = match host.files.read_opt(path, MAX) {
        Ok(content) => content.unwrap_or_default(),
        Err(FileError::TooLarge { .. }) => return Ok(false),
        Err(_) if path.is_dir() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut lines = content.split(|byte| *byte == b'\n').take(2);
    Ok(lines.any(|line| line == MARK.as_bytes()))
}

/// Writes a marked text, unless it is there or something foreign is.
pub(super) fn put(
    host: &Host,
    path: &Path,
    text: &str,
    mode: u32,
) -> Result<Option<Touch>, ServiceError> {
    put_plain(host, path, &marked(text), mode)
}

/// Writes a text, unless it is there or something foreign is.
pub(super) fn put_plain(
    host: &Host,
    path: &Path,
    text: &str,
    mode: u32,
) -> Result<Option<Touch>, ServiceError> {
    sweep(host, path)?;
    if is_foreign(host, path)?
        || host
            .files
            .read(path, MAX)
            .is_ok_and(|it| it == text.as_bytes())
    {
        return Ok(None);
    }
    if let Some(folder) = path.parent() {
        host.files.make_dir(folder, 0o755)?;
    }
    host.files.replace(path, text.as_bytes(), mode)?;
    Ok(Some(Touch::Wrote(path.to_owned())))
}

/// Removes what a power cut has left half written where `path` is.
pub(super) fn sweep(host: &Host, path: &Path) -> Result<(), ServiceError> {
    if let Some(folder) = path.parent() {
        host.files.sweep(folder)?;
    }
    Ok(())
}

/// Removes what is ours.
pub(super) fn remove(host: &Host, path: &Path) -> Result<Option<Touch>, ServiceError> {
    sweep(host, path)?;
    match has_mark(host, path)? {
        true => delete(host, path),
        false => Ok(None),
    }
}

pub(super) fn delete(host: &Host, path: &Path) -> Result<Option<Touch>, ServiceError> {
    let removed = host.files.remove(path)?;
    Ok(removed.then(|| Touch::Removed(path.to_owned())))
}

/// A link, unless it is there and leads there.
pub(super) fn link(host: &Host, target: &Path, path: &Path) -> Result<Option<Touch>, ServiceError> {
    sweep(host, path)?;
    if path.read_link().is_ok_and(|found| found == target) {
        return Ok(None);
    }
    if let Some(folder) = path.parent() {
        host.files.make_dir(folder, 0o755)?;
    }
    host.files.symlink(target, path)?;
    Ok(Some(Touch::Linked(path.to_owned())))
}

const MARK: &str = "# Written by keadm; `keadm reset` or `kubeedge service remove` takes it away.";
/// Bytes.
pub(super) const MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    #[test]
    fn the_mark_stands_behind_the_first_line() {
        assert_eq!(marked("#!/bin/sh\nx\n"), format!("#!/bin/sh\n{MARK}\nx\n"));
        assert_eq!(marked("x\n"), format!("{MARK}\nx\n"));
    }

    #[test]
    fn what_is_foreign_stays() {
        let dir = Scratch::new();
        let host = Host::real(Root::default());
        let path = dir.path().join("a/b");
        assert!(!is_foreign(&host, &path).unwrap() && !is_ours(&host, &path));
        let wrote = Some(Touch::Wrote(path.clone()));
        assert_eq!(put(&host, &path, "one\n", 0o755).unwrap(), wrote);
        assert!(is_ours(&host, &path) && !is_foreign(&host, &path).unwrap());
        assert_eq!(put(&host, &path, "one\n", 0o755).unwrap(), None);
        assert_eq!(put(&host, &path, "two\n", 0o755).unwrap(), wrote);
        let removed = Some(Touch::Removed(path.clone()));
        assert_eq!(remove(&host, &path).unwrap(), removed);
        assert_eq!(remove(&host, &path).unwrap(), None);

        host.files
            .replace(&path, b"#!/bin/sh\nx\ny\n", 0o755)
            .unwrap();
        assert!(is_foreign(&host, &path).unwrap());
        assert_eq!(put(&host, &path, "one\n", 0o755).unwrap(), None);
        assert_eq!(remove(&host, &path).unwrap(), None);
        assert!(path.exists());
    }
}
