//! What can go wrong with a file, said so that the reader knows what to do.

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::system::cause;

/// A failed operation on a file.
#[derive(Debug)]
pub enum FileError {
    Io {
        /// What was tried, as in "cannot ACTION PATH".
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Another process holds the lock.
    Locked { path: PathBuf, holder: Option<u32> },
    /// All files of a folder have as many bytes as they may have.
    Full { path: PathBuf, limit: usize },
    /// A file of more bytes, or a folder of more names, than anyone needs.
    TooLarge {
        path: PathBuf,
        limit: usize,
        unit: &'static str,
    },
}

impl FileError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the same call may succeed later without anybody changing modes or paths: space can
    /// become free, descriptors and locks too.
    pub fn is_retryable(&self) -> bool {
        match self {
            FileError::Io { source, .. } => matches!(
                errno(source),
                Some(
                    Errno::EAGAIN
                        | Errno::EDQUOT
                        | Errno::EINTR
                        | Errno::EIO
                        | Errno::EMFILE
                        | Errno::ENFILE
                        | Errno::ENOMEM
                        | Errno::ENOSPC
                )
            ),
            FileError::Locked { .. } => true,
            FileError::Full { .. } | FileError::TooLarge { .. } => false,
        }
    }

    /// Whether it is not about this file: the process or the system has no more of something.
    pub fn is_shortage(&self) -> bool {
        matches!(self, FileError::Io { source, .. }
            if matches!(errno(source), Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)))
    }

    /// Whether the user or a read-only file system is not allowed to do it.
    pub fn is_denied(&self) -> bool {
        matches!(self, FileError::Io { source, .. }
            if matches!(errno(source), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)))
    }

    /// For `map_err`.
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        move |source| FileError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io {
                action,
                path,
                source,
            } => {
                write!(
                    f,
                    "cannot {action} {}: {}",
                    path.display(),
                    cause::of(source)
                )?;
                match remedy(action, source, is_in_unit()) {
                    Some(remedy) => write!(f, ": {remedy}"),
                    None => Ok(()),
                }
            }
            FileError::Locked {
                path,
                holder: Some(pid),
            } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is in use by process {pid}: stop that process first"
                )
            }
            FileError::Locked { path, holder: None } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is in use by another process: stop that process first"
                )
            }
            FileError::Full { path, limit } => write!(
                f,
                "there is no more room for it in {}, which may hold {} KiB: remove objects from this \
                 node, or give them another folder with modules.metaManager.stateDir",
                path.display(),
                limit / 1024
            ),
            FileError::TooLarge { path, limit, unit } => {
                let path = path.display();
                write!(
                    f,
                    "{path} holds more than the allowed {limit} {unit}: check what it is"
                )
            }
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FileError::Io { source, .. } => Some(source),
            FileError::Full { .. } | FileError::Locked { .. } | FileError::TooLarge { .. } => None,
        }
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// Whether systemd has started this, or who did; then it may see read-only what others can write.
fn is_in_unit() -> bool {
    env::var_os("INVOCATION_ID").is_some()
}

fn remedy(action: &str, error: &io::Error, is_in_unit: bool) -> Option<&'static str> {
    let reading = matches!(
        action,
        "read" | "list" | "read the mode of" | "set the mode of"
    );
    Some(match errno(error)? {
        Errno::EACCES | Errno::EPERM => "run it as root, or check owner and mode",
        Errno::EDQUOT | Errno::ENOSPC => "free some space and run it again",
        Errno::EIO => "the storage may be failing, look at dmesg",
        Errno::EMFILE | Errno::ENFILE => "raise the limit of open files (ulimit -n)",
        Errno::ENOENT if reading => "check the path",
        Errno::ENOENT => "create the folder first",
        Errno::ENOTDIR => "a part of the path is a file, move it away",
        Errno::EROFS if is_in_unit => {
            "the unit may not allow it: make the folder, name it in ReadWritePaths= by `systemctl edit`, and \
             restart the service; else remount it for writing, or choose another folder"
        }
        Errno::EROFS => "remount it for writing, or choose another folder",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(action: &'static str, errno: Errno) -> String {
        let error = io::Error::from_raw_os_error(errno as i32);
        FileError::at(action, Path::new("/x"))(error).to_string()
    }

    #[test]
    fn messages_name_path_cause_and_remedy() {
        assert_eq!(
            message("write", Errno::ENOSPC),
            "cannot write /x: no space left on device: free some space and run it again"
        );
        let read_only = message("write", Errno::EROFS);
        assert!(read_only.starts_with("cannot write /x: read-only file system: "));
        let remedy = |is_in_unit| remedy("write", &Errno::EROFS.into(), is_in_unit).unwrap();
        assert_eq!(
            remedy(false),
            "remount it for writing, or choose another folder"
        );
        assert!(remedy(true).contains("ReadWritePaths=") && remedy(true).ends_with(remedy(false)));
        assert_eq!(
            message("read", Errno::EACCES),
            "cannot read /x: permission denied: run it as root, or check owner and mode"
        );
        assert!(message("write", Errno::EMFILE).contains("ulimit -n"));
        assert!(message("write", Errno::ENOENT).ends_with("create the folder first"));
        assert!(message("read", Errno::ENOENT).ends_with("check the path"));
    }

    #[test]
    fn retryable_is_in_the_type() {
        let error = |errno: Errno| {
            FileError::at("write", Path::new("/x"))(io::Error::from_raw_os_error(errno as i32))
        };
        assert!(error(Errno::ENOSPC).is_retryable());
        assert!(!error(Errno::EROFS).is_retryable());
        assert!(error(Errno::EROFS).is_denied());
        assert!(error(Errno::ENOENT).is_not_found());
    }
}
