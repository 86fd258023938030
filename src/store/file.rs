//! The embedded store: files below `/etc/kubeedge` and `/var/lib/kubeedge`, one writer at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::warn;

use super::commit::Registry;
use super::journal::Journal;
use super::keys::{KeyFolder, make_private};
use super::objects::ObjectLog;
use super::revocations::Revocations;
use super::tokens::TokenFolder;
use super::{
    Answer, Claim, Corruption, KeyPair, NodeRecord, ObjectChange, ObjectStore, Recorded, Rotation,
    Store, StoreError, StoredObject,
};
use super::{Taken, TokenId, TokenRecord, TokenUse};
use crate::system::blocking::{self, Kind};
use crate::system::clock::Timestamp;
use crate::system::facts;
use crate::system::files::{FileError, Files};
use crate::system::names::NodeName;
use crate::system::root::Root;

/// The CA, the serving pair and the revocations lie in `/etc/kubeedge/cloudcore`, so that a backup
/// of the CA has them too; the rest in `/var/lib/kubeedge/cloudcore`. Both are for their owner only.
pub struct FileStore {
    keys: KeyFolder,
    nodes: Registry,
    tokens: TokenFolder,
    objects: ObjectLog,
    revocations: Arc<Revocations>,
    allow_volatile: bool,
}

/// What the operator may allow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Make a CA even where the next boot forgets it.
    pub allow_volatile: bool,
}

impl FileStore {
    /// Takes the lock, checks the format and reads the nodes. Blocks for as long as that takes.
    pub fn open(files: &Files, root: &Root, options: Options) -> Result<FileStore, StoreError> {
        make_private(files, &root.at(STATE))?;
        let at = |name: &str| root.at(STATE).join(name);
        let lock = files.lock(&at("lock")).map_err(|error| match error {
            FileError::Locked { path, holder } => StoreError::Locked { path, holder },
            error => error.into(),
        })?;
        let lock = Arc::new(lock);
        check_format(files, &at("format"))?;
        let keys = KeyFolder::new(files, &root.at(KEYS));
        make_private(files, &root.at(KEYS))?;
        for folder in [KEYS, STATE] {
            if let Err(error) = files.sweep(&root.at(folder)) {
                warn!("left-over files stay: {error}");
            }
        }
        let revocations = Revocations::open(files, &root.at(KEYS).join("revocations"))?;
        let (journal, nodes) = Journal::open(files, &at("nodes.journal"))?;
        let allow_volatile = options.allow_volatile;
        let tokens = TokenFolder::open(files, &at("tokens"), &lock)?;
        let objects = ObjectLog::open(files, &at("objects.journal"), &lock)?;
        Ok(FileStore {
            keys,
            nodes: Registry::new(journal, nodes, lock),
            tokens,
            objects,
            revocations: Arc::new(revocations),
            allow_volatile,
        })
    }

    /// Whether a CA is stored; touches nothing, and needs no lock.
    pub fn has_ca(files: &Files, root: &Root) -> Result<bool, StoreError> {
        match files.mode(&root.at(KEYS).join(format!("{CA}.key"))) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a process has the store open; touches nothing.
    pub fn is_open(files: &Files, root: &Root) -> Result<bool, StoreError> {
        Ok(files.is_locked(&root.at(STATE).join("lock"))?)
    }

    /// Runs `work` where blocking is allowed.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&KeyFolder) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let keys = self.keys.clone();
        let done = blocking::run(Kind::Disk, DEADLINE, move || work(&keys)).await;
        done.unwrap_or(Err(StoreError::Busy))
    }
}

impl Store for FileStore {
    fn load_ca(&self) -> Answer<'_, Option<KeyPair>> {
        Box::pin(self.on_disk(|keys| keys.load(CA)))
    }

    fn create_ca<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, KeyPair> {
        let (pair, allow_volatile) = (pair.clone(), self.allow_volatile);
        Box::pin(self.on_disk(move |keys| {
            check_lasting(keys.path(), allow_volatile)?;
            keys.create(CA, &pair)
        }))
    }

    fn replace_ca<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, ()> {
        let (pair, allow_volatile) = (pair.clone(), self.allow_volatile);
        Box::pin(self.on_disk(move |keys| {
            check_lasting(keys.path(), allow_volatile)?;
            keys.keep(CA)?;
            keys.replace(CA, &pair)
        }))
    }

    fn load_rotation(&self) -> Answer<'_, Option<Rotation>> {
        Box::pin(self.on_disk(|keys| {
            let (rotation, ca) = (keys.load_rotation(NEXT)?, keys.load(CA)?);
            let took_place = |rotation: &Rotation| {
                ca.is_some_and(|ca| ca.certificate() == rotation.next.certificate())
            };
            match rotation {
                // A power cut came between the last two steps of finishing.
                Some(rotation) if took_place(&rotation) => {
                    keys.remove(NEXT)?;
                    Ok(None)
                }
                rotation => Ok(rotation),
            }
        }))
    }

    fn create_rotation<'a>(&'a self, rotation: &'a Rotation) -> Answer<'a, Rotation> {
        let rotation = rotation.clone();
        Box::pin(self.on_disk(move |keys| keys.create_rotation(NEXT, &rotation)))
    }

    fn advance_rotation<'a>(&'a self, rotation: &'a Rotation) -> Answer<'a, ()> {
        let rotation = rotation.clone();
        Box::pin(self.on_disk(move |keys| keys.replace_rotation(NEXT, &rotation)))
    }

    fn finish_rotation(&self) -> Answer<'_, ()> {
        Box::pin(self.on_disk(|keys| {
            let Some(rotation) = keys.load_rotation(NEXT)? else {
                return Ok(());
            };
            keys.keep(CA)?;
            keys.replace(CA, &rotation.next)?;
            keys.remove(NEXT)
        }))
    }

    fn load_serving(&self) -> Answer<'_, Option<KeyPair>> {
        Box::pin(self.on_disk(|keys| keys.load(SERVING)))
    }

    fn save_serving<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, ()> {
        let pair = pair.clone();
        Box::pin(self.on_disk(move |keys| keys.replace(SERVING, &pair)))
    }

    fn node<'a>(&'a self, name: &'a NodeName) -> Answer<'a, Option<NodeRecord>> {
        Box::pin(async { Ok(self.nodes.get(name)) })
    }

    fn record_node<'a>(
        &'a self,
        name: &'a NodeName,
        record: NodeRecord,
        claim: Claim,
    ) -> Answer<'a, Recorded> {
        Box::pin(self.nodes.change(name, Some(record), claim))
    }

    fn remove_node<'a>(&'a self, name: &'a NodeName) -> Answer<'a, bool> {
        Box::pin(async {
            let outcome = self.nodes.change(name, None, Claim::Any).await?;
            Ok(outcome != Recorded::Stored(None))
        })
    }

    fn nodes(&self) -> Answer<'_, Vec<(NodeName, NodeRecord)>> {
        Box::pin(async { Ok(self.nodes.all()) })
    }

    fn create_token<'a>(&'a self, record: &'a TokenRecord) -> Answer<'a, bool> {
        Box::pin(self.tokens.create(record.clone()))
    }

    fn token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, Option<TokenRecord>> {
        Box::pin(async { Ok(self.tokens.get(id)) })
    }

    fn tokens(&self) -> Answer<'_, Vec<TokenRecord>> {
        Box::pin(async { Ok(self.tokens.all()) })
    }

    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool> {
        Box::pin(self.tokens.remove(id))
    }

    fn take_use<'a>(&'a self, id: &'a TokenId, wanted: &'a TokenUse) -> Answer<'a, Taken> {
        Box::pin(self.tokens.take(id, wanted.clone()))
    }

    fn give_back_use<'a>(&'a self, id: &'a TokenId, taken: &'a TokenUse) -> Answer<'a, ()> {
        Box::pin(self.tokens.give_back(id, taken.clone()))
    }

    fn remove_expired_tokens(&self, now: Timestamp) -> Answer<'_, usize> {
        Box::pin(self.tokens.remove_expired(now))
    }

    fn revoked<'a>(&'a self, name: &'a NodeName) -> Answer<'a, Option<Timestamp>> {
        Box::pin(async { Ok(self.revocations.get(name)) })
    }

    fn revoke<'a>(&'a self, nodes: &'a [(NodeName, Timestamp)]) -> Answer<'a, ()> {
        let (revocations, nodes) = (self.revocations.clone(), nodes.to_vec());
        Box::pin(self.on_disk(move |_| revocations.add(&nodes)))
    }

    fn revocations(&self) -> Answer<'_, Vec<(NodeName, Timestamp)>> {
        Box::pin(async { Ok(self.revocations.all()) })
    }
}

impl ObjectStore for FileStore {
    fn objects(&self) -> Answer<'_, Vec<StoredObject>> {
        Box::pin(async { Ok(self.objects.all()) })
    }

    fn write_objects(&self, changes: Vec<ObjectChange>) -> Result<Answer<'_, ()>, StoreError> {
        Ok(Box::pin(self.objects.write(changes)?))
    }

    fn reserve_versions(&self, count: u64) -> Answer<'_, u64> {
        Box::pin(self.objects.reserve(count))
    }
}

fn check_format(files: &Files, path: &Path) -> Result<(), StoreError> {
    let Some(bytes) = files.read_opt(path, 64)? else {
        return Ok(files.replace(path, format!("{FORMAT}\n").as_bytes(), 0o600)?);
    };
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse::<u32>() {
        Ok(found) if found > FORMAT => Err(StoreError::Newer {
            path: path.to_path_buf(),
            found,
            known: FORMAT,
        }),
        Ok(FORMAT) => Ok(()),
        _ => Err(StoreError::Corrupt {
            path: path.to_path_buf(),
            what: Corruption::NoFormat,
        }),
    }
}

/// A CA that is gone at the next boot takes every device with it.
fn check_lasting(folder: &Path, allow_volatile: bool) -> Result<(), StoreError> {
    if !allow_volatile && facts::is_tmpfs(folder) {
        return Err(StoreError::Volatile {
            path: PathBuf::from(folder),
        });
    }
    Ok(())
}

const KEYS: &str = "/etc/kubeedge/cloudcore";
const STATE: &str = "/var/lib/kubeedge/cloudcore";
/// All that a store changes while it is open.
pub const FOLDERS: [&str; 2] = [KEYS, STATE];

const CA: &str = "ca";
/// The CA that is to come.
const NEXT: &str = "ca-next";
const SERVING: &str = "serving";

/// The format of all that lies below `STATE`. A program refuses numbers that it does not know.
const FORMAT: u32 = 1;

/// How long a caller waits for the disk.
const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{name, record};
    use crate::system::not_tried::not_tried;
    use crate::system::scratch::Scratch;

    fn open_at(folder: &Scratch) -> Result<FileStore, StoreError> {
        let root = Root::new(Some(folder.path().to_path_buf()));
        FileStore::open(
            &Files::real(),
            &root,
            Options {
                allow_volatile: true,
            },
        )
    }

    /// The thread that wrote last may hold the lock a moment longer than the store that is gone.
    fn reopen_at(folder: &Scratch) -> FileStore {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            match open_at(folder) {
                Err(StoreError::Locked { .. }) if std::time::Instant::now() < patience => {
                    std::thread::yield_now();
                }
                opened => return opened.unwrap(),
            }
        }
    }

    fn state(folder: &Scratch, name: &str) -> PathBuf {
        folder.path().join("var/lib/kubeedge/cloudcore").join(name)
    }

    #[test]
    fn nodes_outlive_the_store() {
        let folder = Scratch::new();
        let (a, b) = (name("a"), name("b"));
        smol::block_on(async {
            let store = open_at(&folder).unwrap();
            store
                .record_node(&a, record("1"), Claim::Any)
                .await
                .unwrap();
            store
                .record_node(&b, record("2"), Claim::Any)
                .await
                .unwrap();
            assert!(store.remove_node(&b).await.unwrap());
            assert!(!store.remove_node(&b).await.unwrap());
        });
        let store = reopen_at(&folder);
        let nodes = smol::block_on(store.nodes()).unwrap();
        assert_eq!(nodes, [(a.clone(), record("1"))]);
        assert_eq!(smol::block_on(store.node(&a)).unwrap(), Some(record("1")));
        assert_eq!(smol::block_on(store.node(&b)).unwrap(), None);
    }

    #[test]
    fn a_second_writer_learns_who_is_the_first() {
        let folder = Scratch::new();
        let first = open_at(&folder).unwrap();
        let error = open_at(&folder).err().unwrap();
        let holder = Some(std::process::id());
        assert!(matches!(&error, StoreError::Locked { holder: h, .. } if *h == holder));
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(first);
        open_at(&folder).unwrap();
    }

    #[test]
    fn what_is_newer_or_no_number_is_refused_and_left_alone() {
        let folder = Scratch::new();
        drop(open_at(&folder).unwrap());
        let path = state(&folder, "format");
        assert_eq!(Files::real().read(&path, 64).unwrap(), b"1\n");
        for content in [&b"2\n"[..], b"", b"0", b"one", b"-1"] {
            Files::real().replace(&path, content, 0o600).unwrap();
            let error = open_at(&folder).err().unwrap();
            match content {
                b"2\n" => assert!(matches!(
                    error,
                    StoreError::Newer {
                        found: 2,
                        known: 1,
                        ..
                    }
                )),
                _ => assert!(matches!(error, StoreError::Corrupt { .. })),
            }
            assert_eq!(Files::real().read(&path, 64).unwrap(), content);
        }
    }

    #[test]
    fn folders_are_private_even_if_they_were_not() {
        let folder = Scratch::new();
        let (files, keys) = (Files::real(), folder.path().join("etc/kubeedge/cloudcore"));
        files.make_dir(&keys, 0o755).unwrap();
        open_at(&folder).unwrap();
        assert_eq!(files.mode(&keys).unwrap(), 0o700);
        assert_eq!(files.mode(&state(&folder, "")).unwrap(), 0o700);
        assert_eq!(files.mode(&state(&folder, "nodes.journal")).unwrap(), 0o600);
    }

    #[test]
    fn no_ca_is_made_in_memory_unless_allowed() {
        let shm = Path::new("/dev/shm");
        if !facts::is_tmpfs(shm) {
            not_tried("/dev/shm as a folder in memory: it is none here");
            return;
        }
        assert!(matches!(
            check_lasting(shm, false),
            Err(StoreError::Volatile { .. })
        ));
        assert!(check_lasting(shm, true).is_ok());
        assert!(check_lasting(Path::new("/proc"), false).is_ok());
    }
}
