//! This very file as `/usr/local/bin/kubeedge`, unless it is a package's, with the names it answers to.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::JoinError;
use crate::keadm::links::{self, Link};
use crate::system::host::Host;
use crate::system::service::folder_of;

/// What is to be copied where.
pub struct Installation {
    source: PathBuf,
    folder: PathBuf,
    target: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Whether the file is there already, byte by byte.
    is_there: bool,
    links_are_there: bool,
}

impl Installation {
    /// Compares; changes nothing.
    pub fn plan(host: &Host, program: &Path) -> Result<Installation, JoinError> {
        let source = program.to_owned();
        let folder = host.root.at(folder_of(&host.root, &source));
        let target = folder.join(NAME);
        let size = fs::metadata(&source).map_err(JoinError::Executable)?.len();
        // Whatever can't be read there has to be replaced.
        let is_there = same(&source, &target).unwrap_or(false);
        let leads_there = |(name, _): &(&str, &str)| {
            let link = fs::canonicalize(folder.join(name));
            matches!((link, fs::canonicalize(&target)), (Ok(link), Ok(file)) if link == file)
        };
        Ok(Installation {
            links_are_there: crate::keadm::ROLES.iter().all(leads_there),
            source,
            folder,
            target,
            size,
            is_there,
        })
    }

    /// Where something has to be written, if anywhere.
    pub fn folder_to_write(&self) -> Option<&Path> {
        match self.is_there && self.links_are_there {
            true => None,
            false => self.target.parent(),
        }
    }

    /// Whether a running edgecore is of another file than this.
    pub fn replaces(&self) -> bool {
        !self.is_there
    }

    /// Copies and links; a sentence for each change.
    pub fn carry_out(&self, host: &Host, force: bool) -> Result<Vec<String>, JoinError> {
        let folder = &self.folder;
        let mut done = Vec::new();
        // Before the copy: it must not end with half a pair of programs.
        let edgecore = folder.join("edgecore");
        if !force && fs::symlink_metadata(&edgecore).is_ok_and(|found| !found.is_symlink()) {
            return Err(JoinError::Foreign { path: edgecore });
        }
        // A copy that a power cut broke off takes as much room as a whole one.
        host.files.sweep(folder)?;
        if !self.is_there {
            host.files.make_dir(folder, 0o755)?;
            host.files.copy(&self.source, &self.target, 0o755)?;
            done.push(format!("wrote {}", self.target.display()));
        }
        for (name, link) in links::make(&host.files, folder, &self.target, force)? {
            let path = folder.join(name);
            match link {
                Link::Made | Link::Replaced => done.push(format!("linked {}", path.display())),
                Link::Redirected(from) => done.push(format!(
                    "linked {}, which led to {}",
                    path.display(),
                    from.display()
                )),
                Link::Kept => done.push(format!("kept {}, another program", path.display())),
                Link::AlreadyThere => {}
            }
        }
        Ok(done)
    }
}

/// How a person calls what is installed: by its name, or by its path where the shell does not look into its folder, as
/// on OpenWrt.
pub fn called(host: &Host, program: &Path) -> String {
    let folder = host.root.at(folder_of(&host.root, program));
    let path = env::var_os("PATH").unwrap_or_default();
    match env::split_paths(&path).any(|looked_into| looked_into == folder) {
        true => NAME.to_owned(),
        false => folder.join(NAME).display().to_string(),
    }
}

fn same(one: &Path, other: &Path) -> io::Result<bool> {
    if fs::canonicalize(one)? == fs::canonicalize(other)? {
        return Ok(true);
    }
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut right[..length]) {
            Ok(()) if left[..length] == right[..length] => {}
            _ => return Ok(false),
        }
    }
}

const NAME: &str = "kubeedge";
/// Bytes.
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::Files;
    use crate::system::scratch::Scratch;

    #[test]
    fn files_are_compared_to_the_last_byte() {
        let dir = Scratch::new();
        let write = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            Files::real().replace(&path, content, 0o755).unwrap();
            path
        };
        let long = vec![7; CHUNK * 2 + 5];
        let mut other = long.clone();
        *other.last_mut().unwrap() = 8;
        let (a, b, c) = (write("a", &long), write("b", &long), write("c", &other));
        assert!(same(&a, &b).unwrap() && same(&a, &a).unwrap());
        assert!(!same(&a, &c).unwrap());
        assert!(!same(&a, &write("d", &long[1..])).unwrap());
        assert!(same(&a, &dir.path().join("nothing")).is_err());
    }
}
