//! Where the cloud's state lives: what every store can do, and how it fails.

pub mod file;
pub mod journal;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod revocations;

mod commit;
#[cfg(test)]
mod cuts;
mod keys;
mod objects;
#[cfg(test)]
mod objects_cuts;
mod token;
mod tokens;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::hash::Sha256Hash;
use crate::pki::key::PrivateKey;
use crate::system::clock::Timestamp;
use crate::system::files::FileError;
use crate::system::names::NodeName;

pub use token::{MAX_TOKENS, MAX_USES, NoTokenId, Taken, TokenId, TokenRecord, TokenUse};

/// The answer of a store, still on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps the CA, the serving certificate, the names of the nodes, and what is known of tokens.
///
/// Whatever a method has answered with `Ok` outlives a power cut; all but the serving certificate,
/// which can be made again.
pub trait Store: Send + Sync {
    fn load_ca(&self) -> Answer<'_, Option<KeyPair>>;

    /// Stores `pair` when there is no CA yet. The answer is the CA that is stored now: of many
    /// that try at once, all get the same one.
    fn create_ca<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, KeyPair>;

    /// Puts `pair` in the place of the CA, and keeps a copy of the old one.
    fn replace_ca<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, ()>;

    /// The CA that is to come, while one is.
    fn load_rotation(&self) -> Answer<'_, Option<Rotation>>;

    /// Stores `rotation` when there is none. The answer is the one that is stored now.
    fn create_rotation<'a>(&'a self, rotation: &'a Rotation) -> Answer<'a, Rotation>;

    /// Notes how far the rotation has come.
    fn advance_rotation<'a>(&'a self, rotation: &'a Rotation) -> Answer<'a, ()>;

    /// Makes the CA that is to come the CA, keeps a copy of the old one, and ends the rotation. To
    /// be repeated after an error or a power cut.
    fn finish_rotation(&self) -> Answer<'_, ()>;

    fn load_serving(&self) -> Answer<'_, Option<KeyPair>>;

    fn save_serving<'a>(&'a self, pair: &'a KeyPair) -> Answer<'a, ()>;

    fn node<'a>(&'a self, name: &'a NodeName) -> Answer<'a, Option<NodeRecord>>;

    /// The same as it is at this moment. What `node` knows may be a little older where several share the store.
    fn node_now<'a>(&'a self, name: &'a NodeName) -> Answer<'a, Option<NodeRecord>> {
        self.node(name)
    }

    /// Stores `record` under `name` when `claim` fits what is stored.
    fn record_node<'a>(
        &'a self,
        name: &'a NodeName,
        record: NodeRecord,
        claim: Claim,
    ) -> Answer<'a, Recorded>;

    /// Forgets the node; false when it was not known.
    fn remove_node<'a>(&'a self, name: &'a NodeName) -> Answer<'a, bool>;

    /// All nodes, in the order of their names.
    fn nodes(&self) -> Answer<'_, Vec<(NodeName, NodeRecord)>>;

    /// Keeps a new token; false when there is one of this id already.
    fn create_token<'a>(&'a self, record: &'a TokenRecord) -> Answer<'a, bool>;

    fn token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, Option<TokenRecord>>;

    /// All tokens, in the order of their ids.
    fn tokens(&self) -> Answer<'_, Vec<TokenRecord>>;

    /// Forgets the token, so that no use is granted any more, by any store on the same state;
    /// false when there was none.
    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool>;

    /// Judges a use by `TokenRecord::take`, in one step with all others: whoever asks at the same
    /// time, and through whichever store on the same state, never is one granted too many.
    fn take_use<'a>(&'a self, id: &'a TokenId, wanted: &'a TokenUse) -> Answer<'a, Taken>;

    /// Undoes a `Taken::Counted` that no certificate came of.
    fn give_back_use<'a>(&'a self, id: &'a TokenId, taken: &'a TokenUse) -> Answer<'a, ()>;

    /// Forgets tokens that have expired by `now`, perhaps not all at once; how many.
    fn remove_expired_tokens(&self, now: Timestamp) -> Answer<'_, usize>;

    /// When the keys of a node were revoked last.
    fn revoked<'a>(&'a self, name: &'a NodeName) -> Answer<'a, Option<Timestamp>>;

    /// Notes that the keys of these nodes are revoked, with the moment; all of them or none.
    fn revoke<'a>(&'a self, nodes: &'a [(NodeName, Timestamp)]) -> Answer<'a, ()>;

    /// All revocations, in the order of their names.
    fn revocations(&self) -> Answer<'_, Vec<(NodeName, Timestamp)>>;
}

/// Keeps the objects of a cloud that has no cluster of Kubernetes to keep them.
pub trait ObjectStore: Send + Sync {
    /// All objects of the cluster that this store keeps.
    fn objects(&self) -> Answer<'_, Vec<StoredObject>>;

    /// Writes, replaces and forgets objects. Changes count in the order in which this is called, not
    /// in which the answers are waited for, and an answer says that those before are made too. What is
    /// refused at once is not made, now or later; what the answer calls an error may be made all the
    /// same, and the next answer that calls it none says that it is.
    fn write_objects(&self, changes: Vec<ObjectChange>) -> Result<Answer<'_, ()>, StoreError>;

    /// The first of `count` numbers in a row that were never given to anybody, whatever happened,
    /// and grow.
    fn reserve_versions(&self, count: u64) -> Answer<'_, u64>;
}

/// An object of the cluster, with what else is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// What it is found by; the store reads nothing in it.
    pub key: Arc<str>,
    /// JSON.
    pub text: Arc<str>,
}

/// What shall become of an object.
#[derive(Clone, Debug)]
pub struct ObjectChange {
    pub key: Arc<str>,
    /// JSON; none: it is forgotten.
    pub text: Option<Arc<str>>,
}

/// A certificate and the private key that belongs to it.
#[derive(Clone, Debug)]
pub struct KeyPair {
    certificate: Certificate,
    key: PrivateKey,
}

impl KeyPair {
    /// None when the key is not the certificate's.
    pub fn new(certificate: Certificate, key: PrivateKey) -> Option<KeyPair> {
        let matching = certificate.spki_hash() == key.spki_hash();
        matching.then_some(KeyPair { certificate, key })
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// A CA that is to take the place of the present one.
#[derive(Clone, Debug)]
pub struct Rotation {
    pub next: KeyPair,
    /// By which the present CA vouches for the next.
    pub cross: Certificate,
    pub phase: Phase,
}

/// How far a rotation has come; each step keeps what the ones before it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The next CA is there, and devices may fetch it.
    Prepared,
    /// It signs.
    Switched,
    /// New tokens and `/ca.crt` name it.
    Announced,
}

impl Phase {
    pub fn word(self) -> &'static str {
        match self {
            Phase::Prepared => "prepared",
            Phase::Switched => "switched",
            Phase::Announced => "announced",
        }
    }

    pub fn from_word(word: &str) -> Option<Phase> {
        let all = [Phase::Prepared, Phase::Switched, Phase::Announced];
        all.into_iter().find(|phase| phase.word() == word)
    }
}

/// What is kept of a node: the keys it may use, and its last certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Of the public key, as SubjectPublicKeyInfo.
    pub key_hash: Sha256Hash,
    /// The key before, until a tunnel has shown the present one: the answer to a renewal may not
    /// have arrived, or a power cut may have come before the device had it on disk.
    pub previous: Option<Sha256Hash>,
    /// Certificates that begin up to this moment count with these keys only. One that begins later
    /// is from a time that this store has lost, by a backup that was put back, say.
    pub since: Timestamp,
    /// The end of its last certificate.
    pub not_after: Timestamp,
    /// The serial number of its last certificate, in hexadecimal.
    pub serial: String,
    /// The CA that issued it, when that was the next one of a rotation.
    pub by: Option<Sha256Hash>,
    /// The newest CA that the node has shown to trust, of a rotation too.
    pub trusts: Option<Sha256Hash>,
}

/// What a new record may replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Whatever is there.
    Any,
    /// Exactly this, which was read before; none: nothing may be there.
    Of(Option<NodeRecord>),
}

impl Claim {
    fn allows(&self, held: Option<&NodeRecord>) -> bool {
        match self {
            Claim::Any => true,
            Claim::Of(expected) => expected.as_ref() == held,
        }
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is stored; this is what it replaced.
    Stored(Option<NodeRecord>),
    /// Something else is there than what was claimed: read it again.
    Changed,
}

/// Why a store could not do as asked.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// Too much is waiting for the disk, or the disk does not answer.
    Busy,
    /// The cluster that keeps the state refuses, or can't be reached.
    Cluster(Arc<ClusterFault>),
    /// Others change the same object of the cluster all the time.
    Contended,
    /// A file, or an object of the cluster, does not hold what it should; nothing was changed.
    Corrupt { path: PathBuf, what: Corruption },
    /// The bound on the number of nodes is reached.
    Full { limit: usize },
    /// The file system refused.
    Io(Arc<FileError>),
    /// Another process works on this state.
    Locked { path: PathBuf, holder: Option<u32> },
    /// A newer version of this program has written the state.
    Newer {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// The bound on what is kept of objects is reached.
    TooManyObjects,
    /// The bound on the number of tokens is reached.
    TooManyTokens { limit: usize },
    /// The file system forgets all at the next boot.
    Volatile { path: PathBuf },
}

impl StoreError {
    /// Whether the same request can succeed later without anybody's help.
    pub fn is_retryable(&self) -> bool {
        match self {
            StoreError::Cluster(fault) => fault.retryable,
            StoreError::Busy | StoreError::Contended => true,
            StoreError::Locked { .. } | StoreError::Io(_) => true,
            _ => false,
        }
    }
}

/// What a cluster said, or why it said nothing.
#[derive(Debug)]
pub struct ClusterFault {
    pub cause: Box<dyn std::error::Error + Send + Sync>,
    pub retryable: bool,
    /// Who we are, or what we may do there, is the reason.
    pub denied: bool,
}

/// What is wrong with a file.
#[derive(Clone, Debug)]
pub enum Corruption {
    /// The certificate is there, its key is not.
    KeyMissing,
    /// The key is not the certificate's.
    Mismatch,
    /// The key is there, its certificate is not.
    NoCertificate,
    /// It is not the number of a format.
    NoFormat,
    /// It is not what was written of this node or token.
    NoRecord(String),
    /// It does not say how far a rotation has come, or lacks a part of it.
    NoRotation,
    /// This line is not a node's name and a time.
    NoRevocation(usize),
    /// There is no token in it.
    NoToken,
    /// It does not hold a key and a certificate that can be read.
    Unreadable(Arc<PkiError>),
    /// It was written, and is gone.
    Vanished,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Busy => f.write_str("the disk does not keep up: try again later"),
            StoreError::Cluster(fault) => fault.cause.fmt(f),
            StoreError::Contended => f.write_str(
                "others change the same object of the cluster all the time: try again later",
            ),
            StoreError::Corrupt { path, what } => write!(f, "{} {what}", path.display()),
            StoreError::Full { limit } => write!(
                f,
                "{limit} nodes are known, which is the most there can be: forget some first"
            ),
            StoreError::Io(error) => error.fmt(f),
            StoreError::Locked { path, holder } => {
                match holder {
                    Some(pid) => write!(f, "process {pid} holds {}", path.display())?,
                    None => write!(f, "another process holds {}", path.display())?,
                }
                f.write_str(": ask that cloudcore, or stop it first")
            }
            StoreError::Newer { path, found, known } => write!(
                f,
                "{} says format {found}, this program knows up to {known}: run the version that \
                 wrote it, or a newer one",
                path.display()
            ),
            StoreError::TooManyObjects => f.write_str(
                "there is no room for more objects: delete some with `cloudcore ctl delete`, nodes \
                 that are gone too",
            ),
            StoreError::TooManyTokens { limit } => write!(
                f,
                "{limit} tokens are good at the moment, which is the most there can be: delete \
                 some with `keadm token delete`, or give them a shorter life"
            ),
            StoreError::Volatile { path } => write!(
                f,
                "{} is in memory and gone at the next boot, and every device with it: put it on a \
                 disk, or allow volatile storage",
                path.display()
            ),
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corruption::KeyMissing => f.write_str(
                "is there but its key is not: restore the key from a backup, or remove both to \
                 start anew with every device",
            ),
            Corruption::Mismatch => {
                f.write_str("holds a key that is not its certificate's: restore it from a backup")
            }
            Corruption::NoCertificate => {
                f.write_str("lacks the certificate of its key: restore it from a backup")
            }
            Corruption::NoFormat => {
                f.write_str("does not hold the number of a format: restore it from a backup")
            }
            Corruption::NoRecord(of) => {
                write!(
                    f,
                    "does not hold the record of {of}: restore it, or remove that part"
                )
            }
            Corruption::NoRotation => {
                f.write_str("does not hold the rotation of a CA: restore it from a backup")
            }
            Corruption::NoRevocation(line) => write!(
                f,
                "has no name and time in line {line}: correct that line, or restore a backup"
            ),
            Corruption::NoToken => {
                f.write_str("has no token: delete it, and a running cloudcore makes it anew")
            }
            Corruption::Unreadable(cause) => write!(f, "can't be read, restore a backup: {cause}"),
            Corruption::Vanished => {
                f.write_str("was gone right after it was written: see who removes it")
            }
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Cluster(fault) => Some(&*fault.cause),
            StoreError::Io(error) => Some(error.as_ref()),
            StoreError::Corrupt {
                what: Corruption::Unreadable(error),
                ..
            } => Some(&**error),
            _ => None,
        }
    }
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> StoreError {
        StoreError::Io(Arc::new(error))
    }
}

#[cfg(test)]
pub mod conformance;

#[cfg(test)]
pub mod testing;
