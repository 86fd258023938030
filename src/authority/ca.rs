//! Where the CA comes from: the store, a Go cloudcore's files, or nothing, when a new one is made.

use std::path::Path;

use log::{info, warn};

use super::{AuthorityError, PairFiles};
use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::hash::Sha256Hash;
use crate::pki::issue::new_ca;
use crate::pki::key::PrivateKey;
use crate::store::{KeyPair, Store, StoreError};
use crate::system::blocking::{self, Kind};
use crate::system::clock::{Clock, Timestamp};
use crate::system::files::Files;

/// The CA that is in the store at the end, whoever put it there.
pub async fn open(
    store: &dyn Store,
    files: &Files,
    given: &PairFiles,
    clock: &Clock,
) -> Result<KeyPair, AuthorityError> {
    if let Some(stored) = store.load_ca().await? {
        warn_of_another(files, given, &stored).await;
        return Ok(stored);
    }
    let (pair, origin) = match read_pair(files, given).await? {
        Some(pair) => {
            check_ca(&pair, &given.certificate, clock.now())?;
            (
                pair,
                format!("taken over from {}", given.certificate.display()),
            )
        }
        None => (make(clock.now())?, "new".to_owned()),
    };
    let orphans = store.nodes().await?.len();
    let stored = store.create_ca(&pair).await?;
    let origin = match stored.certificate() == pair.certificate() {
        true => origin,
        false => "another replica was first".to_owned(),
    };
    info!("the CA is {} ({origin})", stored.certificate().hash());
    if orphans > 0 {
        warn!("{orphans} devices are known that may have joined under another CA");
    }
    Ok(stored)
}

/// What became of a CA that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// There was none before.
    New,
    /// It took the place of this one, of which the store keeps a copy.
    Replaced(Sha256Hash),
    /// It was in use already.
    Same,
}

/// Makes the CA in two files this cloud's own: for `cloudcore ca import`, while no cloudcore runs.
///
/// Another CA that is in use is replaced only by `force`, as it orphans every device.
pub async fn import_ca(
    store: &dyn Store,
    files: &Files,
    given: &PairFiles,
    clock: &Clock,
    force: bool,
) -> Result<Imported, AuthorityError> {
    let pair = read_pair(files, given).await?;
    // With neither file, the sentence about the certificate is the one to say.
    let Some(pair) = pair else {
        return Err(files
            .read(&given.certificate, MAX_BYTES)
            .err()
            .map_or_else(|| StoreError::Busy.into(), AuthorityError::File));
    };
    check_ca(&pair, &given.certificate, clock.now())?;
    let given = pair.certificate().hash();
    if store.load_rotation().await?.is_some() {
        return Err(AuthorityError::Rotating);
    }
    let (stored, outcome) = match store.load_ca().await? {
        Some(stored) => (stored, Imported::Same),
        None => (store.create_ca(&pair).await?, Imported::New),
    };
    let stored = stored.certificate().hash();
    if stored == given {
        return Ok(outcome);
    }
    if !force {
        return Err(AuthorityError::Different { stored, given });
    }
    store.replace_ca(&pair).await?;
    Ok(Imported::Replaced(stored))
}

/// A pair in PEM or DER, with a SEC1 or PKCS#8 key; none when neither file exists.
pub async fn read_pair(
    files: &Files,
    given: &PairFiles,
) -> Result<Option<KeyPair>, AuthorityError> {
    let (files, given) = (files.clone(), given.clone());
    let read = move || read_pair_blocking(&files, &given);
    let read = blocking::run(Kind::Disk, super::DISK_DEADLINE, read).await;
    read.unwrap_or(Err(StoreError::Busy.into()))
}

fn read_pair_blocking(files: &Files, given: &PairFiles) -> Result<Option<KeyPair>, AuthorityError> {
    let certificate = files.read_opt(&given.certificate, MAX_BYTES)?;
    let key = files.read_secret(&given.key, MAX_BYTES)?;
    let lonely = |present: &Path, missing: &Path| AuthorityError::Lonely {
        present: present.to_path_buf(),
        missing: missing.to_path_buf(),
    };
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(lonely(&given.certificate, &given.key)),
        (None, Some(_)) => return Err(lonely(&given.key, &given.certificate)),
    };
    let at = |path: &Path| {
        let path = path.to_path_buf();
        |source| AuthorityError::Pair { path, source }
    };
    let certificate = if is_pem(&certificate) {
        Certificate::from_pem(&certificate)
    } else {
        Certificate::from_der(&certificate)
    };
    let certificate = certificate.map_err(at(&given.certificate))?;
    let key = if is_pem(&key) {
        PrivateKey::from_pem(&key)
    } else {
        PrivateKey::from_der(&key)
    };
    let key = key.map_err(at(&given.key))?;
    match KeyPair::new(certificate, key) {
        Some(pair) => Ok(Some(pair)),
        None => Err(at(&given.key)(PkiError::KeyMismatch)),
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(PEM.len()).any(|window| window == PEM)
}

fn check_ca(pair: &KeyPair, path: &Path, now: Timestamp) -> Result<(), AuthorityError> {
    let (ca, path) = (pair.certificate(), path.to_path_buf());
    if !ca.is_ca() {
        return Err(AuthorityError::Pair {
            path,
            source: PkiError::NotCa,
        });
    }
    if ca.not_after() <= now {
        return Err(AuthorityError::Ended {
            path,
            not_after: ca.not_after(),
        });
    }
    Ok(())
}

fn make(now: Timestamp) -> Result<KeyPair, AuthorityError> {
    let (certificate, key) = new_ca(now)?;
    Ok(KeyPair::new(certificate, key).ok_or(PkiError::KeyMismatch)?)
}

/// A CA that was put into the files later is not used, which nobody should find out by surprise.
async fn warn_of_another(files: &Files, given: &PairFiles, stored: &KeyPair) {
    if let Ok(Some(pair)) = read_pair(files, given).await
        && pair.certificate().is_ca()
        && pair.certificate() != stored.certificate()
    {
        warn!(
            "the CA in {} is not the one in use and is left alone; `cloudcore ca import` would \
             replace the one in use",
            given.certificate.display()
        );
    }
}

const PEM: &[u8] = b"-----BEGIN ";

/// Of a file with a key or a certificate.
const MAX_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::testing::{Cloud, recorded, recorded_at};
    use crate::pki::key::PrivateKey;
    use crate::store::file::FileStore;
    use crate::system::scratch::Scratch;

    const CA: &str = "etc/kubeedge/ca/rootCA.crt";
    const KEY: &str = "etc/kubeedge/ca/rootCA.key";

    fn put(folder: &Scratch, name: &str, bytes: &[u8]) {
        let path = folder.path().join(name);
        Files::real()
            .make_dir(path.parent().unwrap(), 0o700)
            .unwrap();
        Files::real().replace(&path, bytes, 0o600).unwrap();
    }

    fn start(folder: Scratch) -> Result<Cloud, AuthorityError> {
        Cloud::start(folder, recorded_at(), |_| ())
    }

    fn go_ca() -> Certificate {
        Certificate::from_der(&recorded("token-ca/ca.der")).unwrap()
    }

    #[test]
    fn a_new_ca_is_made_once() {
        let cloud = start(Scratch::new()).unwrap();
        let ca = cloud.authority.ca();
        assert!(ca.is_ca());
        assert_eq!(cloud.restarted(|_| ()).authority.ca(), ca);
    }

    #[test]
    fn the_ca_of_a_go_cloudcore_is_taken_over_in_every_form() {
        let key = PrivateKey::from_der(&recorded("token-ca/cakey.der")).unwrap();
        let forms = [
            (recorded("token-ca/ca.pem"), recorded("token-ca/cakey.pem")),
            (recorded("token-ca/ca.der"), recorded("token-ca/cakey.der")),
            (
                recorded("token-ca/ca.pem"),
                key.to_sec1_pem().as_bytes().to_vec(),
            ),
        ];
        for (certificate, key) in forms {
            let folder = Scratch::new();
            put(&folder, CA, &certificate);
            put(&folder, KEY, &key);
            let cloud = start(folder).unwrap();
            assert_eq!(cloud.authority.ca(), go_ca());
            let token = cloud.authority.standing().tokens.mint(recorded_at());
            assert!(token.starts_with(&go_ca().hash().to_string()));
        }
    }

    #[test]
    fn half_a_pair_or_a_wrong_one_makes_no_ca() {
        let other = start(Scratch::new()).unwrap();
        let other_key = other.key_pem();
        let certificate = recorded("token-ca/ca.pem");
        let leaf = (
            recorded("token-ca/cloudcore.pem"),
            recorded("token-ca/cloudcorekey.pem"),
        );
        type Content<'a> = Option<&'a [u8]>;
        let cases: [(Content, Content, &str); 6] = [
            (Some(&certificate), None, "rootCA.key is not"),
            (None, Some(&other_key), "rootCA.crt is not"),
            (Some(&certificate), Some(&other_key), "does not belong"),
            (
                Some(&certificate),
                Some(b"garbage"),
                "rootCA.key can't be used",
            ),
            (
                Some(b"-----BEGIN x"),
                Some(&other_key),
                "rootCA.crt can't be used",
            ),
            (Some(&leaf.0), Some(&leaf.1), "CA:TRUE"),
        ];
        for (certificate, key, sentence) in cases {
            let folder = Scratch::new();
            certificate
                .into_iter()
                .for_each(|bytes| put(&folder, CA, bytes));
            key.into_iter().for_each(|bytes| put(&folder, KEY, bytes));
            let stored = folder.path().join("etc/kubeedge/cloudcore/ca.key");
            let error = start(folder).err().unwrap().to_string();
            assert!(error.contains(sentence), "{error}");
            assert!(!stored.exists());
        }
    }

    #[test]
    fn an_import_never_replaces_another_ca_by_itself() {
        let folder = Scratch::new();
        put(&folder, "go.crt", &recorded("token-ca/ca.pem"));
        put(&folder, "go.key", &recorded("token-ca/cakey.pem"));
        let given = PairFiles::new(folder.path().join("go.crt"), folder.path().join("go.key"));
        let (clock, _) = Clock::manual(recorded_at());
        let import = |store: &FileStore, force| {
            smol::block_on(import_ca(store, &Files::real(), &given, &clock, force))
        };
        let store = Cloud::store(&folder);
        assert_eq!(import(&store, false).unwrap(), Imported::New);
        assert_eq!(import(&store, false).unwrap(), Imported::Same);
        drop(store);

        let folder = Scratch::new();
        let cloud = start(folder).unwrap();
        let old = cloud.authority.ca();
        let folder = cloud.stop();
        let store = Cloud::store(&folder);
        let refused = import(&store, false).unwrap_err();
        assert!(matches!(refused, AuthorityError::Different { .. }));
        let stored = smol::block_on(store.load_ca()).unwrap().unwrap();
        assert_eq!(*stored.certificate(), old);
        assert_eq!(
            import(&store, true).unwrap(),
            Imported::Replaced(old.hash())
        );
        let stored = smol::block_on(store.load_ca()).unwrap().unwrap();
        assert_eq!(*stored.certificate(), go_ca());
        let kept = format!(
            "etc/kubeedge/cloudcore/ca-{}.key",
            &old.hash().to_string()[..8]
        );
        let kept = Files::real()
            .read(&folder.path().join(kept), MAX_BYTES)
            .unwrap();
        assert_eq!(Certificate::from_pem(&kept).unwrap(), old);
    }

    #[test]
    fn an_import_of_nothing_says_so() {
        let folder = Scratch::new();
        let (clock, _) = Clock::manual(recorded_at());
        let given = PairFiles::new(folder.path().join("no.crt"), folder.path().join("no.key"));
        let store = Cloud::store(&folder);
        let files = Files::real();
        let import = import_ca(&store, &files, &given, &clock, false);
        assert!(
            smol::block_on(import)
                .unwrap_err()
                .to_string()
                .contains("no.crt")
        );
    }
}
