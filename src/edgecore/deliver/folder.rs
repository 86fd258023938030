//! Writes a folder: each file whole or not at all, nothing through links, and nothing removed that was not delivered.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::spool;
use crate::system::cause;
use crate::system::files::held::HeldFolder;
use crate::system::files::{FileError, Files};
use crate::system::sorted::{SortedMap, SortedSet};

/// Whether this can be the path of a file in a folder, from there on.
pub fn is_path(path: &str) -> bool {
    let names = || path.split('/');
    path.len() <= MAX_PATH && names().count() <= MAX_DEPTH && names().all(is_name)
}

/// Writes what is different and removes what was delivered and is not wanted any more; true if that was anything.
pub fn write(files: &Files, folder: &Path, wanted: &spool::Files) -> Result<bool, String> {
    if wanted.by_path.is_empty() && fs::symlink_metadata(folder).is_err() {
        return Ok(false);
    }
    let mut place = Place::open(files, folder)?;
    let written = bring(files, &mut place, wanted);
    written.map_err(|why| place.with_real_names(&why))
}

fn bring(files: &Files, place: &mut Place, wanted: &spool::Files) -> Result<bool, String> {
    let before = manifest(files, place)?;
    let keep_others = wanted.keep_others;
    let wanted = wanted.by_path.iter().filter(|(path, _)| is_path(path));
    let wanted: SortedMap<_, _> = wanted.collect();
    let now: SortedSet<String> = wanted.keys().map(|path| (*path).clone()).collect();
    let mut changed = false;
    let mut listed: SortedSet<String> = before.iter().chain(&now).cloned().collect();
    if listed != before {
        // Before the files: what is in it and was not written is harmless.
        list(files, place, &listed)?;
    }
    let mut gone: Vec<&String> = before.difference(&now).collect();
    // A file may become a folder.
    let is_in_the_way = |path: &String| {
        let folder = format!("{path}/");
        now.iter().any(|it| it.starts_with(&folder))
    };
    if keep_others {
        gone.retain(|path| is_in_the_way(path));
    }
    for path in &gone {
        if is_in_the_way(path)
            && let Some(path) = place.find(files, path)?
        {
            changed |= files.remove(&path).map_err(said)?;
        }
    }
    let mut batch = files.batch(place.top(), false);
    for (path, file) in wanted {
        let content = file.content();
        let content = content.ok_or_else(|| format!("{path} has no content that can be read"))?;
        let target = place.make(files, path)?;
        if !is_so(files, &target, &content, file.mode()) {
            batch.write(&target, &content, file.mode()).map_err(said)?;
            changed = true;
        }
    }
    for path in &gone {
        if let Some(target) = place.find(files, path)?
            && fs::symlink_metadata(&target).is_ok_and(|it| !it.is_dir())
        {
            batch.remove(&target);
            changed = true;
        }
    }
    batch
        .commit()
        .map_err(|uncommitted| uncommitted.error.to_string())?;
    if !gone.is_empty() {
        listed.retain(|path| !gone.contains(&path));
        list(files, place, &listed)?;
    }
    Ok(changed)
}

/// The folder and those in it, held open, so that each stays this very folder, whatever is put in its place meanwhile.
struct Place {
    folder: PathBuf,
    /// By path from the folder on; the folder itself is the empty one.
    open: SortedMap<String, HeldFolder>,
}

impl Place {
    fn open(files: &Files, folder: &Path) -> Result<Place, String> {
        files.make_dir(folder, 0o755).map_err(said)?;
        let top = HeldFolder::open(folder).map_err(|error| no_folder(folder, &error))?;
        // What a power cut has left half written.
        files.sweep(top.path()).map_err(said)?;
        Ok(Place {
            folder: folder.to_owned(),
            open: SortedMap::from([(String::new(), top)]),
        })
    }

    /// For a person, who does not know what is held open.
    fn with_real_names(&self, sentence: &str) -> String {
        let mut sentence = sentence.to_owned();
        for (path, open) in &self.open {
            let real = self.folder.join(path);
            let real = real.to_string_lossy();
            let (held, real) = (open.path().display(), real.trim_end_matches('/'));
            sentence = sentence.replace(&format!("{held}/"), &format!("{real}/"));
        }
        sentence
    }

    fn top(&self) -> &Path {
        self.open[""].path()
    }

    /// Where a file is to be written; the folders on the way are made.
    fn make(&mut self, files: &Files, path: &str) -> Result<PathBuf, String> {
        let found = self.walk(files, path, true)?;
        found.ok_or_else(|| format!("{path} has no folder"))
    }

    /// Where a file is, if its folder is there.
    fn find(&mut self, files: &Files, path: &str) -> Result<Option<PathBuf>, String> {
        self.walk(files, path, false)
    }

    fn walk(&mut self, files: &Files, path: &str, make: bool) -> Result<Option<PathBuf>, String> {
        let mut inside = self.top().to_owned();
        let mut so_far = String::new();
        let Some((folders, name)) = path.rsplit_once('/') else {
            return Ok(Some(inside.join(path)));
        };
        for folder in folders.split('/') {
            if !so_far.is_empty() {
                so_far.push('/');
            }
            so_far.push_str(folder);
            if let Some(known) = self.open.get(&so_far) {
                inside = known.path().to_owned();
                continue;
            }
            let next = inside.join(folder);
            if make {
                files.make_dir(&next, 0o755).map_err(said)?;
            } else if !fs::symlink_metadata(&next).is_ok_and(|it| it.is_dir()) {
                return Ok(None);
            }
            if self.open.len() > MAX_FOLDERS {
                return Err(format!("it has more than {MAX_FOLDERS} folders"));
            }
            let real = self.folder.join(&so_far);
            let opened = HeldFolder::open(&next).map_err(|error| no_folder(&real, &error))?;
            files.sweep(opened.path()).map_err(said)?;
            inside = opened.path().to_owned();
            self.open.insert(so_far.clone(), opened);
        }
        Ok(Some(inside.join(name)))
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_whole = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_plain);
    is_whole && !name.starts_with("..") && name != "." && name != MANIFEST
}

/// The files that were delivered.
fn manifest(files: &Files, place: &Place) -> Result<SortedSet<String>, String> {
    let path = place.top().join(MANIFEST);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|it| it.is_file());
    if !is_file {
        return Ok(SortedSet::new());
    }
    let text = files.read_opt(&path, MAX_MANIFEST).map_err(said)?;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let paths = text.lines().filter(|path| is_path(path));
    Ok(paths.map(str::to_owned).collect())
}

fn list(files: &Files, place: &Place, paths: &SortedSet<String>) -> Result<(), String> {
    let lines: String = paths.iter().map(|path| format!("{path}\n")).collect();
    let path = place.top().join(MANIFEST);
    files.replace(&path, lines.as_bytes(), 0o600).map_err(said)
}

fn is_so(files: &Files, path: &Path, content: &[u8], mode: u32) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
    is_file
        && files.mode(path).is_ok_and(|found| found == mode)
        && files
            .read(path, content.len())
            .is_ok_and(|found| found == content)
}

fn no_folder(folder: &Path, error: &io::Error) -> String {
    format!(
        "cannot open {}: {}: see that it is a folder and no link",
        folder.display(),
        cause::of(error)
    )
}

fn said(error: FileError) -> String {
    error.to_string()
}

/// What was delivered, so that no other file is ever removed.
pub const MANIFEST: &str = ".kubeedge-delivered";
/// Bytes.
const MAX_NAME: usize = 200;
const MAX_PATH: usize = 1000;
const MAX_DEPTH: usize = 8;
/// In one folder; each is an open file.
const MAX_FOLDERS: usize = 64;
const MAX_MANIFEST: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::super::spool::File;
    use super::*;
    use crate::system::scratch::Scratch;

    fn wanted(given: &[(&str, &str)]) -> spool::Files {
        let file =
            |(name, text): &(&str, &str)| ((*name).to_owned(), File::new(text.as_bytes(), false));
        spool::Files {
            by_path: given.iter().map(file).collect(),
            ..spool::Files::default()
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name != MANIFEST);
        names.sort();
        names
    }

    #[test]
    fn a_folder_holds_what_is_wanted_and_what_is_not_ours() {
        let (scratch, files) = (Scratch::new(), Files::real());
        let folder = scratch.path().join("app");
        let put = |given: &[(&str, &str)]| write(&files, &folder, &wanted(given)).unwrap();
        assert!(!put(&[]));
        assert!(!folder.exists());
        assert!(put(&[("a", "1"), ("b", "2")]));
        assert!(!put(&[("a", "1"), ("b", "2")]));
        files.replace(&folder.join("own"), b"x", 0o600).unwrap();
        assert!(put(&[("a", "3"), ("../c", "4")]));
        assert_eq!(names(&folder), ["a", "own"]);
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"3");
        assert!(put(&[]));
        assert_eq!(names(&folder), ["own"]);
        assert!(!put(&[]));
    }

    #[test]
    fn files_may_lie_deeper_and_a_file_may_become_a_folder() {
        let (scratch, files) = (Scratch::new(), Files::real());
        let folder = scratch.path().join("app");
        let put = |given: &[(&str, &str)]| write(&files, &folder, &wanted(given)).unwrap();
        assert!(put(&[("a", "1"), ("b/c/d", "2"), ("b/e", "3")]));
        assert_eq!(fs::read(folder.join("b/c/d")).unwrap(), b"2");
        assert!(!put(&[("a", "1"), ("b/c/d", "2"), ("b/e", "3")]));
        assert!(put(&[("a/f", "4"), ("b/e", "3")]));
        assert_eq!(fs::read(folder.join("a/f")).unwrap(), b"4");
        assert_eq!(names(&folder.join("b/c")), [""; 0]);
        assert_eq!(names(&folder.join("b")), ["c", "e"]);
        // Folders are left, and a person is told of one that is in the way.
        let why = write(&files, &folder, &wanted(&[("a", "1")])).unwrap_err();
        assert!(
            why.contains(&folder.join("a").display().to_string()),
            "{why}"
        );
    }

    #[test]
    fn while_not_all_is_known_nothing_is_removed_but_what_is_in_the_way() {
        let (scratch, files) = (Scratch::new(), Files::real());
        let folder = scratch.path().join("app");
        let put = |keep_others, given: &[(&str, &str)]| {
            let wanted = spool::Files {
                keep_others,
                ..wanted(given)
            };
            write(&files, &folder, &wanted).unwrap()
        };
        assert!(put(false, &[("a", "1"), ("b", "2"), ("c", "3")]));
        assert!(!put(true, &[]));
        assert!(put(true, &[("a/d", "4"), ("e", "5")]));
        assert_eq!(names(&folder), ["a", "b", "c", "e"]);
        assert!(put(false, &[("c", "3")]));
        assert_eq!(names(&folder), ["a", "c"]);
        assert_eq!(names(&folder.join("a")), [""; 0]);
    }

    #[test]
    fn links_lead_nowhere() {
        let (scratch, files) = (Scratch::new(), Files::real());
        let folder = scratch.path().join("app");
        let outside = scratch.path().join("outside");
        files.make_dir(&outside, 0o755).unwrap();
        files.replace(&outside.join("file"), b"old", 0o600).unwrap();
        files.make_dir(&folder, 0o755).unwrap();
        files
            .symlink(&outside.join("file"), &folder.join("a"))
            .unwrap();
        assert!(write(&files, &folder, &wanted(&[("a", "new")])).unwrap());
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"old");
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"new");
        let link = scratch.path().join("link");
        files.symlink(&outside, &link).unwrap();
        files.symlink(&outside, &folder.join("sub")).unwrap();
        for (folder, path) in [(&link, "a"), (&folder, "sub/a")] {
            let why = write(&files, folder, &wanted(&[(path, "new")])).unwrap_err();
            assert!(why.contains("no link"), "{why}");
        }
        assert_eq!(names(&outside), ["file"]);
    }

    #[test]
    fn paths_stay_in_the_folder() {
        for path in ["a", "a.b", ".a", "a/b", "a/.b/c-d_e"] {
            assert!(is_path(path), "{path}");
        }
        let deep = ["a"; MAX_DEPTH + 1].join("/");
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            "..a",
            "a b",
            "a\nb",
            MANIFEST,
            &deep,
            &"a".repeat(MAX_NAME + 1),
        ] {
            assert!(!is_path(path), "{path}");
        }
    }
}
