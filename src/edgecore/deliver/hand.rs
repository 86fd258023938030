//! Writes a folder and runs its hook: done by the supervisor, which may, and which believes edgecore.yaml alone.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

use super::spool::{self, Files};
use crate::config::MAX_FILE;
use crate::config::edge::EdgeConfig;
use crate::config::edge::meta::Delivery;
use crate::edgecore::parent::DONE;
use crate::system::cause;
use crate::system::files::FileError;
use crate::system::host::Host;

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It may go better another time.
    Failed(String),
    /// All is written, but the hook did not do its work.
    Hook(String),
}

impl Outcome {
    /// As a line to the hub.
    pub fn line(&self) -> String {
        let line = match self {
            Outcome::Done => DONE.to_owned(),
            Outcome::Failed(why) => why.clone(),
            Outcome::Hook(why) => format!("{HOOK}{why}"),
        };
        line.replace('\n', " ")
    }

    pub fn of_answer(answer: Result<(), String>) -> Outcome {
        match answer {
            Ok(()) => Outcome::Done,
            Err(why) => match why.strip_prefix(HOOK) {
                Some(why) => Outcome::Hook(why.to_owned()),
                None => Outcome::Failed(why),
            },
        }
    }
}

/// The line by which the hub asks; `anew` when nothing was delivered since the last boot.
pub fn order(folder: &Path, anew: bool) -> String {
    let word = if anew { ANEW } else { CHANGED };
    format!("{word}{}", folder.display())
}

/// The folder of such a line, and whether its hook runs in any case.
pub fn ordered(line: &str) -> Option<(PathBuf, bool)> {
    let anew = line.strip_prefix(ANEW).map(|folder| (folder, true));
    let changed = line.strip_prefix(CHANGED).map(|folder| (folder, false));
    anew.or(changed)
        .map(|(folder, anew)| (PathBuf::from(folder), anew))
}

/// Makes a folder hold what the hub has laid down for it, if it is one of those that may be written.
pub fn deliver(host: &Host, config: &Path, folder: &Path, anew: bool) -> Outcome {
    let prepared = allowed(host, config, folder).and_then(|delivery| {
        let files = spool::read(host, folder)?;
        Ok((delivery, files.ok_or("nothing was laid down for it")?))
    });
    let written = prepared.and_then(|(delivery, files)| {
        let changed = write(host, &host.root.at(folder), &files)?;
        Ok((delivery, changed))
    });
    match written {
        Ok((delivery, changed)) if (changed || anew) && !delivery.hook.is_empty() => {
            match hook(&delivery) {
                Ok(()) => Outcome::Done,
                Err(why) => Outcome::Hook(format!("the hook {} {why}", delivery.hook.join(" "))),
            }
        }
        Ok(_) => Outcome::Done,
        Err(why) => Outcome::Failed(why),
    }
}

/// Whether an item of this name can be a file in the folder.
pub fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_whole = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_plain);
    is_whole && !name.starts_with("..") && name != "." && name != MANIFEST
}

fn allowed(host: &Host, config: &Path, folder: &Path) -> Result<Delivery, String> {
    let text = host.files.read(config, MAX_FILE);
    let text = text.map_err(|error| error.to_string())?;
    let name = config.display().to_string();
    let loaded = EdgeConfig::load(&String::from_utf8_lossy(&text), &name);
    let (config, _) = loaded.map_err(|error| error.to_string())?;
    let mut known = config.meta.deliver.into_iter();
    known
        .find(|delivery| delivery.folder == folder)
        .ok_or_else(|| format!("modules.metaManager.deliver in {name} does not allow it"))
}

/// Writes what is different and removes what was delivered and is not wanted any more; true if that was anything.
fn write(host: &Host, folder: &Path, wanted: &Files) -> Result<bool, String> {
    let said = |error: FileError| error.to_string();
    let failed = |error: io::Error| {
        format!(
            "cannot open {}: {}: see that it is a folder and no link",
            folder.display(),
            cause::of(&error)
        )
    };
    if wanted.0.is_empty() && fs::symlink_metadata(folder).is_err() {
        return Ok(false);
    }
    host.files.make_dir(folder, 0o755).map_err(said)?;
    // Held open, so that it stays this very folder, whatever is put in its place meanwhile.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(folder)
        .map_err(failed)?;
    let inside = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    let before = manifest(host, &inside)?;
    let mut batch = host.files.batch(&inside, false);
    let mut changed = false;
    for (name, file) in wanted.0.iter().filter(|(name, _)| is_name(name)) {
        let (path, content) = (inside.join(name), file.content());
        let content = content.ok_or_else(|| format!("{name} has no content that can be read"))?;
        if !is_so(host, &path, &content, file.mode()) {
            batch.write(&path, &content, file.mode()).map_err(said)?;
            changed = true;
        }
    }
    let now: BTreeSet<String> = wanted.0.keys().cloned().collect();
    for name in before.difference(&now) {
        batch.remove(&inside.join(name));
        changed = true;
    }
    if before != now {
        let lines: String = now.iter().map(|name| format!("{name}\n")).collect();
        let path = inside.join(MANIFEST);
        // Before the files: what is in it and was not written is harmless.
        let both: BTreeSet<&String> = before.union(&now).collect();
        let all: String = both.iter().map(|name| format!("{name}\n")).collect();
        host.files
            .replace(&path, all.as_bytes(), 0o600)
            .map_err(said)?;
        batch.write(&path, lines.as_bytes(), 0o600).map_err(said)?;
    }
    batch
        .commit()
        .map_err(|uncommitted| uncommitted.error.to_string())?;
    Ok(changed)
}

/// The names that were delivered.
fn manifest(host: &Host, inside: &Path) -> Result<BTreeSet<String>, String> {
    let path = inside.join(MANIFEST);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|it| it.is_file());
    if !is_file {
        return Ok(BTreeSet::new());
    }
    let text = host.files.read_opt(&path, MAX_MANIFEST);
    let text = text.map_err(|error| error.to_string())?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text
        .lines()
        .filter(|name| is_name(name))
        .map(str::to_owned)
        .collect())
}

fn is_so(host: &Host, path: &Path, content: &[u8], mode: u32) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
    is_file
        && host.files.mode(path).is_ok_and(|found| found == mode)
        && host
            .files
            .read(path, content.len())
            .is_ok_and(|found| found == content)
}

/// Runs it to its end, which must come soon: nothing else is done meanwhile.
fn hook(delivery: &Delivery) -> Result<(), String> {
    let Some((program, arguments)) = delivery.hook.split_first() else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("KUBEEDGE_FOLDER", &delivery.folder);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.spawn();
    let mut child = child.map_err(|error| {
        format!(
            "can't be run: {}: check its path and mode",
            cause::of(&error)
        )
    })?;
    let until = Instant::now() + HOOK_PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("failed ({status}): run it by hand")),
            Ok(None) if Instant::now() < until => thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = HOOK_PATIENCE.as_secs();
                return Err(format!(
                    "took longer than {seconds} s and was ended: let it do its work in the background"
                ));
            }
            Err(error) => return Err(format!("can't be waited for: {}", cause::of(&error))),
        }
    }
}

/// What was delivered, so that no other file is ever removed.
pub const MANIFEST: &str = ".kubeedge-delivered";
const ANEW: &str = "order deliver-anew ";
const CHANGED: &str = "order deliver ";
const HOOK: &str = "hook: ";
const MAX_NAME: usize = 200;
const MAX_MANIFEST: usize = 1 << 20;
const HOOK_PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::super::spool::File;
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    fn host(scratch: &Scratch) -> Host {
        Host::real(Root::new(Some(scratch.path().to_owned())))
    }

    fn files(given: &[(&str, &str)]) -> Files {
        let file =
            |(name, text): &(&str, &str)| ((*name).to_owned(), File::new(text.as_bytes(), false));
        Files(given.iter().map(file).collect())
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
        let scratch = Scratch::new();
        let (host, folder) = (host(&scratch), scratch.path().join("app"));
        assert!(!write(&host, &folder, &files(&[])).unwrap());
        assert!(!folder.exists());
        assert!(write(&host, &folder, &files(&[("a", "1"), ("b", "2")])).unwrap());
        assert!(!write(&host, &folder, &files(&[("a", "1"), ("b", "2")])).unwrap());
        host.files
            .replace(&folder.join("own"), b"x", 0o600)
            .unwrap();
        assert!(write(&host, &folder, &files(&[("a", "3"), ("../c", "4")])).unwrap());
        assert_eq!(names(&folder), ["a", "own"]);
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"3");
        assert!(write(&host, &folder, &files(&[])).unwrap());
        assert_eq!(names(&folder), ["own"]);
        assert!(!write(&host, &folder, &files(&[])).unwrap());
    }

    #[test]
    fn links_lead_nowhere() {
        let scratch = Scratch::new();
        let (host, folder) = (host(&scratch), scratch.path().join("app"));
        let outside = scratch.path().join("outside");
        host.files.make_dir(&outside, 0o755).unwrap();
        host.files
            .replace(&outside.join("file"), b"old", 0o600)
            .unwrap();
        host.files.make_dir(&folder, 0o755).unwrap();
        host.files
            .symlink(&outside.join("file"), &folder.join("a"))
            .unwrap();
        assert!(write(&host, &folder, &files(&[("a", "new")])).unwrap());
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"old");
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"new");
        let link = scratch.path().join("link");
        host.files.symlink(&outside, &link).unwrap();
        let why = write(&host, &link, &files(&[("a", "new")])).unwrap_err();
        assert!(why.contains("no link"), "{why}");
        assert_eq!(names(&outside), ["file"]);
    }

    #[test]
    fn only_folders_of_the_configuration_and_the_hook_once_a_change() {
        let scratch = Scratch::new();
        let host = host(&scratch);
        let (config, log) = (
            scratch.path().join("edgecore.yaml"),
            scratch.path().join("log"),
        );
        let yaml = format!(
            "modules:\n  metaManager:\n    deliver:\n    - folder: /etc/app\n      hook: [/bin/sh, -c, 'echo $KUBEEDGE_FOLDER >> {}']\n",
            log.display()
        );
        host.files.replace(&config, yaml.as_bytes(), 0o600).unwrap();
        let runs = || fs::read_to_string(&log).unwrap_or_default().lines().count();
        let (app, other) = (Path::new("/etc/app"), Path::new("/etc/other"));
        let refused = deliver(&host, &config, other, true);
        assert!(matches!(refused, Outcome::Failed(why) if why.contains("does not allow")));
        for (text, anew, expected) in [
            ("1", false, 1),
            ("1", false, 1),
            ("2", false, 2),
            ("2", true, 3),
        ] {
            spool::write(&host, app, &files(&[("a", text)])).unwrap();
            assert_eq!(deliver(&host, &config, app, anew), Outcome::Done);
            assert_eq!(runs(), expected, "{text} {anew}");
        }
        let failing = yaml.replace("echo", "exit 3; echo");
        host.files
            .replace(&config, failing.as_bytes(), 0o600)
            .unwrap();
        let outcome = deliver(&host, &config, app, true);
        assert!(
            matches!(&outcome, Outcome::Hook(why) if why.contains("exit status: 3")),
            "{outcome:?}"
        );
        assert_eq!(Outcome::of_answer(Err(outcome.line())), outcome);
        assert_eq!(ordered(&order(app, true)), Some((app.to_owned(), true)));
        assert_eq!(ordered("order erase-token"), None);
    }
}
