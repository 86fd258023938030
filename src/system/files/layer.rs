//! The primitive operations on the disk, one by one, and the place where tests get between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::permissions;

/// Sees every operation just before it is done.
///
/// A recorder keeps what it sees and returns `Ok`; an injector returns an error at the operation
/// of its choice, and the operation is then not done.
pub trait Layer: Send + Sync {
    fn before(&self, operation: Operation) -> io::Result<()>;
}

/// One primitive operation. Writes always go to the end of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new, empty file of mode 0600 that no other process had made.
    CreateNew {
        path: PathBuf,
    },
    /// Hard link.
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    List {
        path: PathBuf,
    },
    /// One folder, of this mode as far as the umask allows.
    MakeDir {
        path: PathBuf,
        mode: u32,
    },
    /// For reading.
    Open {
        path: PathBuf,
    },
    /// For appending; a new file is empty and of mode 0600 at first.
    OpenOrCreate {
        path: PathBuf,
    },
    RemoveDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    SetMode {
        path: PathBuf,
        mode: u32,
    },
    Symlink {
        target: PathBuf,
        link: PathBuf,
    },
    /// fsync of a file.
    Sync {
        path: PathBuf,
    },
    /// Of all that the file system of this folder has in its cache.
    SyncAll {
        path: PathBuf,
    },
    /// fsync of a folder, which makes its entries durable.
    SyncDir {
        path: PathBuf,
    },
    Truncate {
        path: PathBuf,
        length: u64,
    },
    Unlink {
        path: PathBuf,
    },
    Write {
        path: PathBuf,
        bytes: Vec<u8>,
    },
}

impl Operation {
    /// Whether it changes anything that a power cut could lose, or makes such a change durable.
    pub fn is_change(&self) -> bool {
        !matches!(self, Operation::List { .. } | Operation::Open { .. })
    }
}

/// The real disk, behind the layer if there is one.
#[derive(Clone, Default)]
pub(super) struct Disk {
    layer: Option<Arc<dyn Layer>>,
}

impl Disk {
    pub fn with(layer: Arc<dyn Layer>) -> Disk {
        Disk { layer: Some(layer) }
    }

    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.before(|| Operation::Open { path: path.into() })?;
        File::open(path)
    }

    pub fn create_new(&self, path: &Path) -> io::Result<File> {
        self.before(|| Operation::CreateNew { path: path.into() })?;
        // O_EXCL does not follow a link that someone has put there.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    }

    pub fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.before(|| Operation::OpenOrCreate { path: path.into() })?;
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
    }

    pub fn set_mode(&self, file: &File, path: &Path, mode: u32) -> io::Result<()> {
        self.before(|| Operation::SetMode {
            path: path.into(),
            mode,
        })?;
        file.set_permissions(permissions(mode))
    }

    pub fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.before(|| Operation::Write {
            path: path.into(),
            bytes: bytes.into(),
        })?;
        file.write_all(bytes)
    }

    pub fn truncate(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.before(|| Operation::Truncate {
            path: path.into(),
            length,
        })?;
        file.set_len(length)
    }

    pub fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.before(|| Operation::Sync { path: path.into() })?;
        file.sync_all()
    }

    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.before(|| Operation::SyncDir { path: path.into() })?;
        match File::open(path)?.sync_all() {
            // Some file systems can't sync a folder, and have no need to.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }

    pub fn sync_all(&self, path: &Path) -> io::Result<()> {
        self.before(|| Operation::SyncAll { path: path.into() })?;
        Ok(nix::unistd::syncfs(File::open(path)?)?)
    }

    #[allow(clippy::disallowed_methods)] // The one place where it is allowed.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(|| Operation::Rename {
            from: from.into(),
            to: to.into(),
        })?;
        fs::rename(from, to)
    }

    pub fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(|| Operation::Link {
            from: from.into(),
            to: to.into(),
        })?;
        fs::hard_link(from, to)
    }

    pub fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        self.before(|| Operation::Symlink {
            target: target.into(),
            link: link.into(),
        })?;
        std::os::unix::fs::symlink(target, link)
    }

    pub fn unlink(&self, path: &Path) -> io::Result<()> {
        self.before(|| Operation::Unlink { path: path.into() })?;
        fs::remove_file(path)
    }

    pub fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.before(|| Operation::MakeDir {
            path: path.into(),
            mode,
        })?;
        fs::DirBuilder::new().mode(mode).create(path)
    }

    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.before(|| Operation::RemoveDir { path: path.into() })?;
        fs::remove_dir(path)
    }

    /// Names that are not UTF-8 are not ours, and are left out.
    pub fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.before(|| Operation::List { path: path.into() })?;
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn before(&self, operation: impl FnOnce() -> Operation) -> io::Result<()> {
        match &self.layer {
            Some(layer) => layer.before(operation()),
            None => Ok(()),
        }
    }
}
