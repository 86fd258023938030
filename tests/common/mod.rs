//! What black-box tests share: a folder of their own, the executable as an edge, a cloud in Python.
// Each test program uses a part of this.
#![allow(dead_code)]

pub mod cloud;
pub mod cluster;
pub mod device;
pub mod figures;
pub mod not_tried;
pub mod rcs;
pub mod script;
pub mod sign;
pub mod site;

pub use not_tried::not_tried;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that should happen soon. Machines that run tests may be very slow.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The executable under test.
pub const KUBEEDGE: &str = env!("CARGO_BIN_EXE_kubeedge");

/// An empty folder, removed at the end of the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        // The path of a socket has at most 107 bytes, and a temporary folder may lie deep.
        let top = Some(std::env::temp_dir()).filter(|top| top.as_os_str().len() < 40);
        Folder::below(&top.unwrap_or_else(|| "/tmp".into()))
    }

    pub fn below(top: &Path) -> Folder {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = top.join(format!("ke-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(&path).expect("the folder is made");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The permission bits of a file or folder.
pub fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    metadata.permissions().mode() & 0o7777
}

/// Writes a file as a careful person does: whole, by renaming, with this mode.
pub fn put(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    let folder = path.parent().expect("a file lies in a folder");
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).expect("the folder is made");
    let name = path.file_name().expect("a file has a name");
    let new = folder.join(format!(".{}.new", name.to_string_lossy()));
    fs::write(&new, content).expect("the file is written");
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("the mode is set");
    fs::rename(&new, path).expect("the file gets its name");
}

/// Every file below a folder, with its content, sorted.
pub fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("the kind of a file");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let content = fs::read(entry.path()).expect("the file can be read");
                found.push((entry.path(), content));
            }
        }
    }
    found.sort();
    found
}

/// For what another process brings about and does not announce.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

static NEXT: AtomicUsize = AtomicUsize::new(0);
