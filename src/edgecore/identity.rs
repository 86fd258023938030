//! The device's identity: key, certificate and CA on disk, committed as one unit.
//!
//! `server.key` holds the key, behind it the certificate, behind that the CA; and behind that, while
//! the cloud changes its CA, the other one. That file alone is the truth and changes by one rename, so a power cut leaves the old identity or the new one.
//! `server.crt` and `rootCA.crt` are copies for other readers (Go's edgecore, openssl) and are
//! repaired at start.
//!
//! Where the key alone is in `server.key`, those two are no copies: Go's edgecore wrote it so, or the key was on
//! disk before the cloud was asked, and is not written a second time. Then they wait beside their places, as
//! `.pending`, for the rename of the key, which is again the one that counts.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::edge::pending;
use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::hash::Sha256Hash;
use crate::pki::key::PrivateKey;
use crate::pki::pem;
use crate::protocol::control::CertificateFacts;
use crate::system::clock::Timestamp;
use crate::system::files::{FileError, Files, target_of};
use crate::system::names::NodeName;
use crate::system::secret::Secret;

/// A key, the certificate for it, and the CA that signed it and vouches for the cloud.
#[derive(Clone, Debug)]
pub struct Identity {
    pub key: PrivateKey,
    pub certificate: Certificate,
    pub ca: Certificate,
    /// More CAs that vouch for the cloud, while it changes from one to another.
    pub also: Vec<Certificate>,
}

/// Where an identity lies; real paths, below the root prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub key: PathBuf,
    pub certificate: PathBuf,
    pub ca: PathBuf,
}

/// Why there is no usable identity on disk.
#[derive(Debug)]
pub enum IdentityError {
    /// Nothing there: the device has not joined.
    Absent,
    /// A file can't be read or written.
    File(FileError),
    /// A file is there and holds something else.
    Broken { path: PathBuf, cause: PkiError },
    /// Key and certificate do not belong together.
    Mismatch { path: PathBuf },
    /// The certificate is for another node.
    OtherNode { found: String, wanted: NodeName },
    /// The certificate is not by the CA beside it.
    NotByCa(PkiError),
}

impl Place {
    /// Makes the folders, and writes and removes as much as an identity needs.
    pub fn make_room(&self, files: &Files) -> Result<(), IdentityError> {
        self.make_folders(files)?;
        Ok(files.trial(&self.key, TYPICAL)?)
    }

    /// Whether a file of this name in this folder is a part of the identity, or of one that is being made.
    pub fn has(&self, folder: &Path, name: &str) -> bool {
        let name = target_of(name).unwrap_or(name);
        let files = [&self.key, &self.certificate, &self.ca];
        let mut files = files.into_iter().flat_map(|it| [it.clone(), pending(it)]);
        files.any(|file| file == folder.join(name))
    }

    /// Whether files of it lie in this very folder.
    pub fn is_in(&self, folder: &Path) -> bool {
        let files = [&self.key, &self.certificate, &self.ca];
        files.iter().any(|file| file.parent() == Some(folder))
    }

    /// Whether files of it lie anywhere in this folder.
    pub fn is_below(&self, folder: &Path) -> bool {
        let files = [&self.key, &self.certificate, &self.ca];
        files.iter().any(|file| file.starts_with(folder))
    }

    pub fn make_folders(&self, files: &Files) -> Result<(), FileError> {
        for path in [&self.key, &self.certificate, &self.ca] {
            if let Some(folder) = path.parent() {
                files.make_dir(folder, 0o700)?;
            }
        }
        Ok(())
    }
}

impl Identity {
    /// Reads what is there, and repairs the mode of the key and the copies.
    pub fn load(files: &Files, place: &Place, node: &NodeName) -> Result<Self, IdentityError> {
        let identity = Self::read(files, place)?;
        identity.check(node)?;
        if let Err(error) = close_to_others(files, &place.key) {
            log::warn!("{error}");
        }
        identity.write_copies(files, place);
        Ok(identity)
    }

    /// Reads what is there, changes nothing.
    pub fn read(files: &Files, place: &Place) -> Result<Self, IdentityError> {
        let key_file = read(files, &place.key)?.ok_or(IdentityError::Absent)?;
        let broken = |path: &Path| {
            let path = path.to_owned();
            move |cause| IdentityError::Broken { path, cause }
        };
        let key = PrivateKey::from_pem(&key_file).map_err(broken(&place.key))?;
        let unit: Vec<Certificate> = pem::blocks(&key_file)
            .map_err(broken(&place.key))?
            .iter()
            .filter(|block| block.label == "CERTIFICATE")
            .map(|block| Certificate::from_der(&block.der))
            .collect::<Result<_, _>>()
            .map_err(broken(&place.key))?;
        let mut unit = unit.into_iter();
        let certificate = match unit.next() {
            Some(certificate) => certificate,
            None => {
                let is_for_key = |it: &Certificate| it.spki_hash() == key.spki_hash();
                beside(files, &place.certificate, is_for_key)?.0
            }
        };
        let (ca, also) = match unit.next() {
            Some(ca) => (ca, unit.collect()),
            None => beside(files, &place.ca, |ca| is_by(&certificate, ca).is_ok())?,
        };
        if certificate.spki_hash() != key.spki_hash() {
            return Err(IdentityError::Mismatch {
                path: place.key.clone(),
            });
        }
        Ok(Identity {
            key,
            certificate,
            ca,
            also,
        })
    }

    /// Makes this the device's identity. When it returns, the identity outlives a power cut.
    pub fn commit(&self, files: &Files, place: &Place) -> Result<(), IdentityError> {
        place.make_folders(files)?;
        if self.is_pending(files, place) {
            for (path, certificates) in self.beside_key(place) {
                let there = read(files, path).ok().flatten();
                if !is_same(&there, &certificates) {
                    files.replace(&pending(path), pems(&certificates).as_bytes(), 0o644)?;
                }
            }
            files.rename(&pending(&place.key), &place.key)?;
        } else {
            let (certificate, trusted) = (self.certificate.to_pem(), pems(&self.trusted()));
            let key = self.key.to_sec1_pem();
            let unit = Secret::<String>::concat(&[&key, &certificate, &trusted]);
            files.replace(&place.key, unit.as_bytes(), 0o600)?;
        }
        self.write_copies(files, place);
        Ok(())
    }

    /// Whether the key is on disk already, and needs no more than its name. A link to it keeps what it points to.
    fn is_pending(&self, files: &Files, place: &Place) -> bool {
        let path = pending(&place.key);
        let there = read(files, &path).ok().flatten();
        there.is_some_and(|there| there.as_slice() == self.key.to_sec1_pem().as_bytes())
            && files.mode(&path).is_ok_and(|mode| mode == 0o600)
            && ![&path, &place.key].iter().any(|it| it.is_symlink())
    }

    /// Whether the identity is whole and belongs to this node; says nothing about time.
    pub fn check(&self, node: &NodeName) -> Result<(), IdentityError> {
        let subject = self.certificate.subject();
        if subject.node_name().as_ref() != Some(node) {
            let found = subject.common_name.unwrap_or_default();
            return Err(IdentityError::OtherNode {
                found,
                wanted: node.clone(),
            });
        }
        is_by(&self.certificate, &self.ca).map_err(IdentityError::NotByCa)
    }

    pub fn expired(&self, now: Timestamp) -> bool {
        now > self.certificate.not_after()
    }

    /// All CAs that vouch for the cloud.
    pub fn trusted(&self) -> Vec<Certificate> {
        let first = std::iter::once(&self.ca);
        first.chain(&self.also).cloned().collect()
    }

    pub fn trusts(&self, hash: &Sha256Hash) -> bool {
        self.trusted().iter().any(|ca| ca.hash() == *hash)
    }

    pub fn ca_hash(&self) -> Sha256Hash {
        self.ca.hash()
    }

    pub fn facts(&self) -> CertificateFacts {
        CertificateFacts {
            serial: self.certificate.serial(),
            not_before: self.certificate.not_before(),
            not_after: self.certificate.not_after(),
            ca_hash: self.ca_hash().to_string(),
        }
    }

    /// Makes the copies what they should be. The identity is whole without them, so a disk that
    /// is full or read-only costs no more than a line in the log.
    fn write_copies(&self, files: &Files, place: &Place) {
        for (path, certificates) in self.beside_key(place) {
            if let Err(error) = write_copy(files, path, &certificates) {
                log::warn!("{error}");
            }
        }
    }

    /// What belongs into the files beside the key's.
    fn beside_key<'a>(&self, place: &'a Place) -> [(&'a Path, Vec<Certificate>); 2] {
        [
            (&place.certificate, vec![self.certificate.clone()]),
            (&place.ca, self.trusted()),
        ]
    }
}

/// Judged at a moment inside the certificate's life: expiry is another matter.
fn is_by(certificate: &Certificate, ca: &Certificate) -> Result<(), PkiError> {
    let inside = certificate.not_before();
    chain::verify_client(certificate, std::slice::from_ref(ca), inside)
}

/// Takes away what anybody but the owner may do with the key.
fn close_to_others(files: &Files, key: &Path) -> Result<(), IdentityError> {
    let mode = files.mode(key)?;
    if mode & 0o077 != 0 {
        log::warn!(
            "{} had mode {mode:o}, so that others could read the key: it has 600 now",
            key.display()
        );
        if let Some(bytes) = files.read_secret(key, MAX_FILE)? {
            files.replace(key, &bytes, 0o600)?;
        }
    }
    Ok(())
}

fn write_copy(files: &Files, path: &Path, wanted: &[Certificate]) -> Result<(), IdentityError> {
    // What can't be read is not what it should be.
    let [there, waiting] = [path, &pending(path)].map(|path| read(files, path).ok().flatten());
    if !is_same(&there, wanted) {
        if is_same(&waiting, wanted) && !path.is_symlink() {
            return Ok(files.rename(&pending(path), path)?);
        }
        if let Some(folder) = path.parent() {
            files.make_dir(folder, 0o700)?;
        }
        files.replace(path, pems(wanted).as_bytes(), 0o644)?;
    }
    // Of a key that did not become the device's.
    if waiting.is_some() {
        files.remove(&pending(path))?;
    }
    Ok(())
}

/// Whether a file already holds these certificates, in whatever line breaks another writer chose.
fn is_same(there: &Option<Secret<Vec<u8>>>, wanted: &[Certificate]) -> bool {
    let blocks = there.as_ref().and_then(|bytes| pem::blocks(bytes).ok());
    blocks.is_some_and(|blocks| {
        let found = blocks.iter().filter(|block| block.label == "CERTIFICATE");
        found
            .map(|block| block.der.as_slice())
            .eq(wanted.iter().map(Certificate::der))
    })
}

fn pems(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::to_pem).collect()
}

fn read(files: &Files, path: &Path) -> Result<Option<Secret<Vec<u8>>>, IdentityError> {
    Ok(files.read_secret(path, MAX_FILE)?)
}

/// The first certificate of a file beside a key that is alone, and the others of it. What waits to take the file's
/// place counts if only that `is_right`: the key has its place already then.
fn beside(
    files: &Files,
    path: &Path,
    is_right: impl Fn(&Certificate) -> bool,
) -> Result<(Certificate, Vec<Certificate>), IdentityError> {
    let there = certificates(files, path);
    if there.as_ref().is_ok_and(|(first, _)| is_right(first)) {
        return there;
    }
    match certificates(files, &pending(path)) {
        Ok(waiting) if is_right(&waiting.0) => Ok(waiting),
        _ => there,
    }
}

fn certificates(
    files: &Files,
    path: &Path,
) -> Result<(Certificate, Vec<Certificate>), IdentityError> {
    let bytes = read(files, path)?.ok_or(IdentityError::Absent)?;
    let parsed = || {
        let first = Certificate::from_pem(&bytes)?;
        let blocks = pem::blocks(&bytes)?;
        let all = blocks.iter().filter(|block| block.label == "CERTIFICATE");
        // What nobody can read vouches for nobody.
        let others = all.skip(1).map(|block| Certificate::from_der(&block.der));
        Ok((first, others.flatten().collect()))
    };
    parsed().map_err(|cause| IdentityError::Broken {
        path: path.to_owned(),
        cause,
    })
}

impl From<FileError> for IdentityError {
    fn from(error: FileError) -> Self {
        IdentityError::File(error)
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Absent => f.write_str("this device has no certificate yet: join it"),
            IdentityError::File(e) => write!(f, "{e}"),
            IdentityError::Broken { path, cause } => write!(
                f,
                "{} is damaged ({cause}): join the device again with a fresh token",
                path.display()
            ),
            IdentityError::Mismatch { path } => write!(
                f,
                "the key in {} does not belong to the certificate: \
                 join the device again with a fresh token",
                path.display()
            ),
            IdentityError::OtherNode { found, wanted } => write!(
                f,
                "the certificate is for {found}, but this node is called {wanted}: \
                 correct modules.edged.hostnameOverride, or join with a fresh token"
            ),
            IdentityError::NotByCa(cause) => write!(
                f,
                "the certificate is not by the CA beside it ({cause}): \
                 join the device again with a fresh token"
            ),
        }
    }
}

impl std::error::Error for IdentityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            IdentityError::File(e) => Some(e),
            IdentityError::Broken { cause, .. } | IdentityError::NotByCa(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What three PEM blocks take on the disk.
const TYPICAL: usize = 2 * 1024;
/// Many times that.
const MAX_FILE: usize = 64 * 1024;
