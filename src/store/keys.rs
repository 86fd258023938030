//! Key pairs on disk, each as one file that is whole or absent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::warn;

use super::{Corruption, KeyPair, Phase, Rotation, StoreError};
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::pem;
use crate::system::files::Files;
use crate::system::secret::Secret;

/// A folder of key pairs.
///
/// `NAME.key` holds the key and, behind it, the certificate: it alone is the truth and changes by
/// one rename. `NAME.crt` is a copy of the certificate for other readers, repaired when it differs.
#[derive(Clone)]
pub struct KeyFolder {
    files: Files,
    folder: PathBuf,
}

impl KeyFolder {
    pub fn new(files: &Files, folder: &Path) -> KeyFolder {
        KeyFolder {
            files: files.clone(),
            folder: folder.to_path_buf(),
        }
    }

    pub fn load(&self, name: &str) -> Result<Option<KeyPair>, StoreError> {
        if let Some(pair) = self.read(name)? {
            return Ok(Some(pair));
        }
        let copy = self.file(name, "crt");
        if !self.files.exists(&copy) {
            return Ok(None);
        }
        // The key always comes first; so there is one by now, or it has been lost.
        match self.read(name)? {
            Some(pair) => Ok(Some(pair)),
            None => Err(StoreError::Corrupt {
                path: copy,
                what: Corruption::KeyMissing,
            }),
        }
    }

    /// Stores `pair` when there is none, and reads back what is stored.
    pub fn create(&self, name: &str, pair: &KeyPair) -> Result<KeyPair, StoreError> {
        make_private(&self.files, &self.folder)?;
        let path = self.file(name, "key");
        self.files.create(&path, unit(pair).as_bytes(), 0o600)?;
        self.read(name)?.ok_or(StoreError::Corrupt {
            path,
            what: Corruption::Vanished,
        })
    }

    pub fn replace(&self, name: &str, pair: &KeyPair) -> Result<(), StoreError> {
        make_private(&self.files, &self.folder)?;
        self.files
            .replace(&self.file(name, "key"), unit(pair).as_bytes(), 0o600)?;
        self.repair_copy(name, pair.certificate());
        Ok(())
    }

    /// Puts a copy of what is stored aside, under a name that tells whose it is.
    pub fn keep(&self, name: &str) -> Result<(), StoreError> {
        if let Some(old) = self.read(name)? {
            let hash = old.certificate().hash().to_string();
            let path = self.file(&format!("{name}-{}", &hash[..8]), "key");
            self.files.create(&path, unit(&old).as_bytes(), 0o600)?;
        }
        Ok(())
    }

    /// The rotation that is under way: one file, so that it is whole or not there.
    pub fn load_rotation(&self, name: &str) -> Result<Option<Rotation>, StoreError> {
        let path = self.file(name, "key");
        let Some(bytes) = self.files.read_secret(&path, MAX_BYTES)? else {
            return Ok(None);
        };
        let corrupt = |what| StoreError::Corrupt {
            path: path.clone(),
            what,
        };
        let unreadable = |error| corrupt(Corruption::Unreadable(Arc::new(error)));
        let missing = || corrupt(Corruption::NoRotation);
        let text = String::from_utf8_lossy(&bytes);
        let phase = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(PHASE));
        let phase = phase.and_then(Phase::from_word).ok_or_else(missing)?;
        let key = PrivateKey::from_pem(&bytes).map_err(unreadable)?;
        let blocks = pem::blocks(&bytes).map_err(unreadable)?;
        let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
        let mut certificates = certificates.map(|block| Certificate::from_der(&block.der));
        let mut certificate = || {
            let next = certificates.next().ok_or_else(missing)?;
            next.map_err(unreadable)
        };
        let next = KeyPair::new(certificate()?, key);
        Ok(Some(Rotation {
            next: next.ok_or_else(|| corrupt(Corruption::Mismatch))?,
            cross: certificate()?,
            phase,
        }))
    }

    /// Stores the rotation when there is none, and reads back what is stored.
    pub fn create_rotation(&self, name: &str, made: &Rotation) -> Result<Rotation, StoreError> {
        let path = self.file(name, "key");
        let bytes = rotation_unit(made);
        self.files.create(&path, bytes.as_bytes(), 0o600)?;
        self.load_rotation(name)?.ok_or(StoreError::Corrupt {
            path,
            what: Corruption::Vanished,
        })
    }

    pub fn replace_rotation(&self, name: &str, rotation: &Rotation) -> Result<(), StoreError> {
        let path = self.file(name, "key");
        let bytes = rotation_unit(rotation);
        Ok(self.files.replace(&path, bytes.as_bytes(), 0o600)?)
    }

    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.files.remove(&self.file(name, "key"))?;
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{name}.{extension}"))
    }

    fn read(&self, name: &str) -> Result<Option<KeyPair>, StoreError> {
        let path = self.file(name, "key");
        let Some(bytes) = self.files.read_secret(&path, MAX_BYTES)? else {
            return Ok(None);
        };
        let corrupt = |what| StoreError::Corrupt {
            path: path.clone(),
            what,
        };
        let unreadable = |error| corrupt(Corruption::Unreadable(Arc::new(error)));
        let key = PrivateKey::from_pem(&bytes).map_err(unreadable)?;
        let certificate = Certificate::from_pem(&bytes).map_err(unreadable)?;
        let pair = KeyPair::new(certificate, key).ok_or_else(|| corrupt(Corruption::Mismatch))?;
        self.repair_copy(name, pair.certificate());
        Ok(Some(pair))
    }

    /// The copy is a courtesy: that it can't be written is no reason to stop.
    fn repair_copy(&self, name: &str, certificate: &Certificate) {
        let (path, pem) = (self.file(name, "crt"), certificate.to_pem());
        if matches!(self.files.read_opt(&path, MAX_BYTES), Ok(Some(bytes)) if bytes == pem.as_bytes())
        {
            return;
        }
        if let Err(error) = self.files.replace(&path, pem.as_bytes(), 0o644) {
            warn!("the copy of the certificate stays as it is: {error}");
        }
    }
}

/// Makes a folder that only its owner may enter, so that nobody meets a file before it has its mode.
pub fn make_private(files: &Files, folder: &Path) -> Result<(), StoreError> {
    let made = files.make_dir(folder, 0o700)?;
    if !made && files.mode(folder)? != 0o700 {
        warn!(
            "{} was open to others: its mode is 0700 now",
            folder.display()
        );
        files.set_mode(folder, 0o700)?;
    }
    Ok(())
}

fn rotation_unit(rotation: &Rotation) -> Secret<String> {
    let (phase, cross) = (rotation.phase.word(), rotation.cross.to_pem());
    Secret::<String>::concat(&[PHASE, phase, "\n", &unit(&rotation.next), &cross])
}

fn unit(pair: &KeyPair) -> Secret<String> {
    Secret::<String>::concat(&[&pair.key().to_sec1_pem(), &pair.certificate().to_pem()])
}

/// The beginning of the line before the key of a CA that is to come.
const PHASE: &str = "rotation: ";

/// A pair takes about 1 kB.
const MAX_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::pki::issue::new_ca;
    use crate::system::clock::Timestamp;
    use crate::system::scratch::Scratch;

    fn new_pair() -> KeyPair {
        let (certificate, key) = new_ca(Timestamp::from_unix(1_795_335_000)).unwrap();
        KeyPair::new(certificate, key).unwrap()
    }

    /// Starts `count` creators at the same moment and gives back the CA each ended with.
    fn create_at_once(path: &Path, count: usize) -> Vec<Vec<u8>> {
        let start = Arc::new(Barrier::new(count));
        let one = |_| {
            let (folder, start) = (KeyFolder::new(&Files::real(), path), start.clone());
            thread::spawn(move || {
                let pair = new_pair();
                start.wait();
                folder
                    .create("ca", &pair)
                    .unwrap()
                    .certificate()
                    .der()
                    .to_vec()
            })
        };
        let threads: Vec<_> = (0..count).map(one).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    }

    #[test]
    fn creators_that_start_together_end_with_one_ca() {
        for count in [2, 5] {
            for _ in 0..100 {
                let folder = Scratch::new();
                let path = folder.path().join("keys");
                let mut seen = create_at_once(&path, count);
                let stored = KeyFolder::new(&Files::real(), &path)
                    .load("ca")
                    .unwrap()
                    .unwrap();
                seen.push(stored.certificate().der().to_vec());
                seen.dedup();
                assert_eq!(seen.len(), 1, "{count} creators");
            }
        }
    }

    #[test]
    fn modes_are_exact_and_the_copy_is_repaired() {
        let temporary = Scratch::new();
        let files = Files::real();
        let path = temporary.path().join("keys");
        let folder = KeyFolder::new(&files, &path);
        let pair = folder.create("ca", &new_pair()).unwrap();
        assert_eq!(files.mode(&path).unwrap(), 0o700);
        assert_eq!(files.mode(&path.join("ca.key")).unwrap(), 0o600);
        assert_eq!(files.mode(&path.join("ca.crt")).unwrap(), 0o644);

        files
            .replace(&path.join("ca.crt"), b"other", 0o644)
            .unwrap();
        folder.load("ca").unwrap().unwrap();
        let copy = files.read(&path.join("ca.crt"), MAX_BYTES).unwrap();
        assert_eq!(copy, pair.certificate().to_pem().as_bytes());
    }

    #[test]
    fn a_lost_key_is_never_taken_for_a_fresh_start() {
        let temporary = Scratch::new();
        let folder = KeyFolder::new(&Files::real(), temporary.path());
        assert!(folder.load("ca").unwrap().is_none());
        folder.create("ca", &new_pair()).unwrap();
        Files::real()
            .remove(&temporary.path().join("ca.key"))
            .unwrap();
        let error = folder.load("ca").unwrap_err();
        assert!(matches!(
            error,
            StoreError::Corrupt {
                what: Corruption::KeyMissing,
                ..
            }
        ));
    }

    #[test]
    fn a_foreign_key_or_garbage_is_refused() {
        let temporary = Scratch::new();
        let folder = KeyFolder::new(&Files::real(), temporary.path());
        let (key, other) = (new_pair().key().to_sec1_pem(), new_pair());
        let mixed = [key.as_str(), &other.certificate().to_pem()].concat();
        let path = temporary.path().join("ca.key");
        Files::real()
            .replace(&path, mixed.as_bytes(), 0o600)
            .unwrap();
        let error = folder.load("ca").unwrap_err();
        assert!(matches!(
            error,
            StoreError::Corrupt {
                what: Corruption::Mismatch,
                ..
            }
        ));
        Files::real().replace(&path, b"", 0o600).unwrap();
        let error = folder.load("ca").unwrap_err();
        assert!(matches!(
            error,
            StoreError::Corrupt {
                what: Corruption::Unreadable(_),
                ..
            }
        ));
    }
}
