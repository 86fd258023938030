//! A whole authority in a folder of its own, for tests.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::tokens::Claims;
use super::{Authority, AuthorityError, Credential, Options};
use crate::pki::certificate::Certificate;
use crate::store::StoreError;
use crate::store::file::{self, FileStore};
use crate::system::clock::{Clock, ManualClock, Timestamp};
use crate::system::files::Files;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

pub struct Cloud {
    pub authority: Authority,
    /// Moves the authority's clock.
    pub hand: ManualClock,
    folder: Scratch,
}

impl Cloud {
    /// A new CA, made at `recorded_at`.
    pub fn new(set: impl FnOnce(&mut Options)) -> Cloud {
        Cloud::start(Scratch::new(), recorded_at(), set).unwrap()
    }

    /// The CA of the recordings, at their time.
    pub fn recorded() -> Cloud {
        let folder = Scratch::new();
        let ca = folder.path().join("etc/kubeedge/ca");
        Files::real().make_dir(&ca, 0o700).unwrap();
        for (name, vector) in [("rootCA.crt", "ca.pem"), ("rootCA.key", "cakey.pem")] {
            let bytes = recorded(&format!("token-ca/{vector}"));
            Files::real()
                .replace(&ca.join(name), &bytes, 0o600)
                .unwrap();
        }
        Cloud::start(folder, recorded_at(), |_| ()).unwrap()
    }

    pub fn start(
        folder: Scratch,
        now: Timestamp,
        set: impl FnOnce(&mut Options),
    ) -> Result<Cloud, AuthorityError> {
        let mut options = Options::default();
        set(&mut options);
        let (clock, hand) = Clock::manual(now);
        let store = Arc::new(Cloud::store(&folder));
        let root = Root::new(Some(folder.path().to_path_buf()));
        let files = Files::real();
        let opening = Authority::open(store, &files, &root, &clock, options);
        Ok(Cloud {
            authority: smol::block_on(opening)?,
            hand,
            folder,
        })
    }

    pub fn store(folder: &Scratch) -> FileStore {
        let root = Root::new(Some(folder.path().to_path_buf()));
        let options = file::Options {
            allow_volatile: true,
        };
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            match FileStore::open(&Files::real(), &root, options) {
                // A child that another test is just starting has the lock of the store before it,
                // until it becomes another program.
                Err(StoreError::Locked { .. }) if Instant::now() < patience => sleep(STEP),
                opened => return opened.unwrap(),
            }
        }
    }

    /// The same folder and time, with a new process.
    pub fn restarted(self, set: impl FnOnce(&mut Options)) -> Cloud {
        let now = self.authority.clock().now();
        Cloud::start(self.stop(), now, set).unwrap()
    }

    pub fn stop(self) -> Scratch {
        self.folder
    }

    pub fn key_pem(&self) -> Vec<u8> {
        let path = self.folder.path().join("etc/kubeedge/cloudcore/ca.key");
        Files::real().read(&path, 65_536).unwrap()
    }
}

const STEP: Duration = Duration::from_millis(10);

/// What a token says that KubeEdge made.
pub static PLAIN: Claims = Claims {
    expires: Timestamp::from_unix(i64::MAX),
    id: None,
    ca: None,
};

/// What a session is opened with, where nothing hangs on it.
pub fn credential() -> Credential {
    let ca = Certificate::from_der(&recorded("token-ca/ca.der")).unwrap();
    Credential::new(&ca, &ca)
}

/// When https-cases were recorded, by the `Date` of their answers.
pub fn recorded_at() -> Timestamp {
    "2026-11-22T08:09:15Z".parse().unwrap()
}

/// A file of tests/vectors.
pub fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    Files::real().read(path.as_ref(), 1 << 20).unwrap()
}
