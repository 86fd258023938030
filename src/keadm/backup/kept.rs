//! A backup on the disk: files under names with their digest, and a manifest that is written last.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BackupError, FOLDER, IN_MEMORY};
use crate::system::cause;
use crate::system::clock::Timestamp;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::trial::{TrialError, digest, is_whole};

/// One backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub version: String,
    pub created: Timestamp,
    pub node: String,
    pub files: Vec<Entry>,
    /// Where it lies.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// One file of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub kind: Kind,
    /// In the folder.
    pub name: String,
    /// Where it was, without the root prefix.
    pub path: PathBuf,
    pub mode: u32,
    pub sha256: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Program,
    Config,
    Identity,
}

/// What goes into one.
pub struct Wanted<'a> {
    pub kind: Kind,
    pub path: &'a Path,
}

/// In place of the one before in the same folder, which is good until this one is.
pub fn write(
    host: &Host,
    folder: &Path,
    version: &str,
    node: &str,
    wanted: &[Wanted<'_>],
) -> Result<(), BackupError> {
    let files = &host.files;
    // Nobody could read a manifest with it.
    if let Some(wrong) = wanted.iter().find(|it| !is_whole(&outside(host, it.path))) {
        return Err(TrialError::NotWhole(wrong.path.to_owned()).into());
    }
    let top = folder.parent().unwrap_or(Path::new("/"));
    files.make_dir(top, 0o700)?;
    files.make_dir(folder, 0o700)?;
    files.sweep(folder)?;
    let mut entries = Vec::new();
    for Wanted { kind, path } in wanted {
        let sha256 = digest(path)?;
        let mode = files.mode(path)?;
        let base = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{base}.{}", &sha256[..12]);
        let copy = folder.join(&name);
        if !digest(&copy).is_ok_and(|found| found == sha256) {
            // What it holds is for root alone, whatever it was.
            files.copy(path, &copy, 0o600)?;
        }
        entries.push(Entry {
            kind: *kind,
            name,
            path: outside(host, path),
            mode,
            sha256,
        });
    }
    let kept = Kept {
        version: version.to_owned(),
        created: newer(host, top),
        node: node.to_owned(),
        files: entries,
        folder: folder.to_owned(),
    };
    let text = serde_json::to_string_pretty(&kept).unwrap_or_default();
    files.replace(&folder.join(MANIFEST), text.as_bytes(), 0o600)?;
    // What the one before had besides.
    for name in files.list(folder, MAX_NAMES)? {
        if name != MANIFEST && !kept.files.iter().any(|entry| entry.name == name) {
            files.remove(&folder.join(name))?;
        }
    }
    Ok(())
}

/// Now, but after all that there are: a clock that was set back makes none the newest one.
fn newer(host: &Host, top: &Path) -> Timestamp {
    let tops = [top, &host.root.at(FOLDER), &host.root.at(IN_MEMORY)];
    let kept = tops.into_iter().filter_map(|top| all(host, top).ok());
    let last = kept.flatten().map(|kept| kept.created).max();
    let now = host.clock.now();
    // Manifests have whole seconds.
    last.map_or(now, |last| now.max(last.plus(Duration::from_secs(1))))
}

/// The backup in a folder: ours, or one that KubeEdge's keadm has made.
pub fn read(host: &Host, folder: &Path) -> Result<Kept, BackupError> {
    let manifest = folder.join(MANIFEST);
    match host.files.read_opt(&manifest, MAX_MANIFEST)? {
        Some(bytes) => {
            let kept = Kept::parse(&bytes).map_err(|why| BackupError::Manifest {
                path: manifest,
                why,
            })?;
            Ok(Kept {
                folder: folder.to_owned(),
                ..kept
            })
        }
        None => foreign(host, folder),
    }
}

/// KubeEdge's own: fixed names, no manifest, and the database of another program.
fn foreign(host: &Host, folder: &Path) -> Result<Kept, BackupError> {
    let version = folder.file_name().unwrap_or_default().to_string_lossy();
    let mut entries = Vec::new();
    for (kind, name, path, mode) in [
        (Kind::Program, "edgecore", "/usr/local/bin/edgecore", 0o755),
        (
            Kind::Config,
            "edgecore.yaml",
            "/etc/kubeedge/config/edgecore.yaml",
            0o644,
        ),
    ] {
        let file = folder.join(name);
        if host.files.exists(&file) {
            entries.push(Entry {
                kind,
                name: name.to_owned(),
                path: path.into(),
                mode,
                sha256: digest(&file)?,
            });
        }
    }
    match entries.is_empty() {
        true => Err(BackupError::None(folder.to_owned())),
        false => Ok(Kept {
            version: version.into_owned(),
            created: Timestamp::from_unix(0),
            node: String::new(),
            files: entries,
            folder: folder.to_owned(),
        }),
    }
}

impl Kept {
    /// What a manifest says; the error is a reason.
    pub fn parse(bytes: &[u8]) -> Result<Kept, String> {
        let kept: Kept = serde_json::from_slice(bytes).map_err(|error| cause::of_json(&error))?;
        // Names of files in its folder, and whole paths of files, and nothing that leads elsewhere.
        let is_plain = |entry: &Entry| {
            let name = entry.name.as_str();
            !["", ".", ".."].contains(&name) && !name.contains('/') && is_whole(&entry.path)
        };
        match kept.files.iter().find(|entry| !is_plain(entry)) {
            Some(entry) => {
                let name = format!("{:.80}", entry.name);
                let path = format!("{:.200}", entry.path.display().to_string());
                Err(format!("it names {name:?} for {path:?}"))
            }
            None => Ok(kept),
        }
    }

    /// The first file of a kind, checked.
    pub fn file(&self, kind: Kind) -> Result<Option<&Entry>, BackupError> {
        let entry = self.files.iter().find(|entry| entry.kind == kind);
        entry.map(|entry| self.check(entry)).transpose()
    }

    /// Whether it is as it was when it was kept.
    pub fn check<'a>(&self, entry: &'a Entry) -> Result<&'a Entry, BackupError> {
        let path = self.folder.join(&entry.name);
        match digest(&path) {
            Ok(found) if found == entry.sha256 => Ok(entry),
            _ => Err(BackupError::Damaged(path)),
        }
    }
}

/// Those below `top`, the newest first; what is none is passed over.
pub fn all(host: &Host, top: &Path) -> Result<Vec<Kept>, BackupError> {
    let names = match host.files.list(top, MAX_NAMES) {
        Err(error) if is_absent(&error) => Vec::new(),
        names => names?,
    };
    let mut found: Vec<Kept> = names
        .iter()
        .filter_map(|name| read(host, &top.join(name)).ok())
        .collect();
    found.sort_by(|one, other| (other.created, &other.version).cmp(&(one.created, &one.version)));
    Ok(found)
}

/// Removes all but `made` and the newest ones, so many in all; gives their versions.
pub fn prune(
    host: &Host,
    top: &Path,
    count: usize,
    made: &Path,
) -> Result<Vec<String>, BackupError> {
    let mut removed = Vec::new();
    let others = all(host, top)?.into_iter().filter(|it| it.folder != made);
    for kept in others.skip(count.saturating_sub(1)) {
        // Without it the rest is no backup.
        host.files.remove(&kept.folder.join(MANIFEST))?;
        host.files.remove_tree(&kept.folder)?;
        removed.push(kept.version);
    }
    Ok(removed)
}

fn is_absent(error: &FileError) -> bool {
    error.is_not_found()
}

fn outside(host: &Host, path: &Path) -> PathBuf {
    let inner = host
        .root
        .prefix()
        .and_then(|prefix| path.strip_prefix(prefix).ok());
    inner.map_or_else(|| path.to_owned(), |inner| Path::new("/").join(inner))
}

const MANIFEST: &str = "manifest.json";
/// Bytes.
const MAX_MANIFEST: usize = 64 * 1024;
const MAX_NAMES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::Clock;
    use crate::system::figures::tried;
    use crate::system::files::Files;
    use crate::system::files::crash::Recording;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    fn host(files: Files, folder: &Path) -> Host {
        Host {
            root: Root::new(Some(folder.into())),
            files,
            clock: Clock::system(),
        }
    }

    fn keep(host: &Host, version: &str) -> Result<(), BackupError> {
        let [program, config] =
            ["usr/kubeedge", "etc/edgecore.yaml"].map(|it| host.root.at(Path::new("/").join(it)));
        let wanted = [
            Wanted {
                kind: Kind::Program,
                path: &program,
            },
            Wanted {
                kind: Kind::Config,
                path: &config,
            },
        ];
        let folder = host.root.at(Path::new("/backup").join(version));
        write(host, &folder, version, "barn", &wanted)
    }

    fn device() -> Scratch {
        let (dir, files) = (Scratch::new(), Files::real());
        for (path, content, mode) in [
            ("usr/kubeedge", "program", 0o755),
            ("etc/edgecore.yaml", "a: 1", 0o640),
        ] {
            let path = dir.path().join(path);
            files.make_dir(path.parent().unwrap(), 0o755).unwrap();
            files.replace(&path, content.as_bytes(), mode).unwrap();
        }
        dir
    }

    fn content(kept: &Kept, kind: Kind) -> String {
        let entry = kept.file(kind).unwrap().unwrap();
        std::fs::read_to_string(kept.folder.join(&entry.name)).unwrap()
    }

    #[test]
    fn a_backup_has_modes_and_paths_and_notices_damage() {
        let dir = device();
        let host = host(Files::real(), dir.path());
        keep(&host, "v1").unwrap();
        let kept = read(&host, &dir.path().join("backup/v1")).unwrap();
        let modes: Vec<_> = kept
            .files
            .iter()
            .map(|it| (it.path.to_str().unwrap(), it.mode))
            .collect();
        assert_eq!(
            modes,
            [("/usr/kubeedge", 0o755), ("/etc/edgecore.yaml", 0o640)]
        );
        let program = kept.folder.join(&kept.files[0].name);
        assert_eq!(host.files.mode(&program).unwrap(), 0o600);
        assert_eq!(host.files.mode(&kept.folder).unwrap(), 0o700);
        host.files.replace(&program, b"Program", 0o600).unwrap();
        assert!(matches!(
            kept.file(Kind::Program),
            Err(BackupError::Damaged(_))
        ));
        assert_eq!(content(&kept, Kind::Config), "a: 1");
    }

    #[test]
    fn the_last_one_made_is_the_newest_whatever_the_clock_says() {
        let dir = device();
        let mut host = host(Files::real(), dir.path());
        let (clock, hand) = Clock::manual(Timestamp::from_unix(2_000_000_000));
        host.clock = clock;
        let top = dir.path().join("backup");
        let versions = || -> Vec<String> {
            let kept = all(&host, &top).unwrap().into_iter();
            kept.map(|it| it.version).collect()
        };
        keep(&host, "v2").unwrap();
        hand.set(Timestamp::from_unix(1_000_000_000));
        keep(&host, "v3").unwrap();
        keep(&host, "v1").unwrap();
        assert_eq!(versions(), ["v1", "v3", "v2"]);
        // Were it not the newest, it would stay all the same.
        let made = top.join("v3");
        assert_eq!(prune(&host, &top, 2, &made).unwrap(), ["v2"]);
        assert_eq!(prune(&host, &top, 1, &made).unwrap(), ["v1"]);
        assert_eq!(versions(), ["v3"]);
    }

    #[test]
    fn a_manifest_leads_nowhere_else() {
        let manifest = |name: &str, path: &str| {
            let entry = serde_json::json!({
                "kind": "program", "name": name, "path": path, "mode": 0o755, "sha256": "",
            });
            let kept = serde_json::json!({
                "version": "v1", "created": "2026-11-27T10:00:00Z", "node": "barn", "files": [entry],
            });
            Kept::parse(kept.to_string().as_bytes())
        };
        assert!(manifest("kubeedge.0", "/usr/local/bin/kubeedge").is_ok());
        for (name, path) in [
            ("", "/a"),
            ("..", "/a"),
            ("../a", "/a"),
            ("a", "a"),
            ("a", "/"),
            ("a", "/b/../c"),
        ] {
            assert!(manifest(name, path).is_err(), "{name} {path}");
        }
    }

    #[test]
    fn what_a_manifest_could_not_be_read_with_is_not_kept() {
        let dir = Scratch::new();
        let host = host(Files::real(), dir.path());
        let wanted = [Wanted {
            kind: Kind::Config,
            path: Path::new("Cargo.toml"),
        }];
        let folder = dir.path().join("backup/v1");
        let written = write(&host, &folder, "v1", "barn", &wanted);
        assert!(matches!(
            written,
            Err(BackupError::Trial(TrialError::NotWhole(_)))
        ));
        assert!(!dir.path().join("backup").exists());
    }

    #[test]
    fn the_oldest_go_first() {
        let dir = device();
        let host = host(Files::real(), dir.path());
        for version in ["v1", "v2", "v3"] {
            keep(&host, version).unwrap();
        }
        let top = dir.path().join("backup");
        assert_eq!(prune(&host, &top, 2, &top.join("v3")).unwrap(), ["v1"]);
        let left: Vec<_> = all(&host, &top)
            .unwrap()
            .into_iter()
            .map(|it| it.version)
            .collect();
        assert_eq!(left, ["v3", "v2"]);
        assert!(all(&host, &dir.path().join("nothing")).unwrap().is_empty());
    }

    #[test]
    fn a_backup_of_kubeedge_is_read() {
        let dir = Scratch::new();
        let host = host(Files::real(), dir.path());
        let folder = dir.path().join("v1.22.0");
        host.files.make_dir(&folder, 0o755).unwrap();
        assert!(matches!(read(&host, &folder), Err(BackupError::None(_))));
        host.files
            .replace(&folder.join("edgecore.yaml"), b"b: 2", 0o644)
            .unwrap();
        let kept = read(&host, &folder).unwrap();
        assert_eq!(
            (kept.version.as_str(), content(&kept, Kind::Config)),
            ("v1.22.0", "b: 2".into())
        );
        assert_eq!(kept.file(Kind::Program).unwrap(), None);
    }

    #[test]
    fn a_backup_may_lose_its_power_at_any_moment() {
        let dir = device();
        keep(&host(Files::real(), dir.path()), "v1").unwrap();
        let config = dir.path().join("etc/edgecore.yaml");
        Files::real().replace(&config, b"a: 2", 0o640).unwrap();
        let recording = Recording::of(dir.path(), |recorder| {
            keep(&host(recorder.files(), dir.path()), "v1").unwrap();
            recorder.promise("kept");
        });
        // What is there already is not written again.
        let written = recording.written();
        assert_eq!(written.len(), 2, "{written:?}");
        let states = recording.each_state(|state| {
            let host = host(Files::real(), state.root());
            let kept = read(&host, &state.root().join("backup/v1")).unwrap();
            let config = content(&kept, Kind::Config);
            assert!(config == "a: 2" || (config == "a: 1" && !state.promised("kept")));
            assert_eq!(content(&kept, Kind::Program), "program");
            keep(&host, "v1").unwrap();
            assert_eq!(std::fs::read_dir(&kept.folder).unwrap().count(), 3);
        });
        tried(
            "cuts-backup",
            "states a power cut leaves of a backup in place of another",
            states,
        );
    }
}
