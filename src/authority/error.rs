//! What can go wrong with the authority as a whole.

use std::fmt;
use std::path::PathBuf;

use crate::pki::PkiError;
use crate::pki::hash::Sha256Hash;
use crate::store::StoreError;
use crate::system::clock::Timestamp;
use crate::system::files::FileError;

/// Why there is no authority to work with.
#[derive(Debug)]
pub enum AuthorityError {
    /// Another CA is in use, and nobody said that it may go.
    Different {
        stored: Sha256Hash,
        given: Sha256Hash,
    },
    /// The CA has ended.
    Ended {
        path: PathBuf,
        not_after: Timestamp,
    },
    File(FileError),
    /// No word for how legacy certificates are treated.
    LegacyWord(String),
    /// One file of a pair is there, the other is not.
    Lonely {
        present: PathBuf,
        missing: PathBuf,
    },
    /// A file that was given does not hold what it should.
    Pair {
        path: PathBuf,
        source: PkiError,
    },
    Pki(PkiError),
    /// A CA is being rotated.
    Rotating,
    Store(StoreError),
}

impl AuthorityError {
    /// Whether the same can succeed later without anybody's help.
    pub fn is_retryable(&self) -> bool {
        match self {
            AuthorityError::File(error) => error.is_retryable(),
            AuthorityError::Store(error) => error.is_retryable(),
            _ => false,
        }
    }
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthorityError::Different { stored, given } => write!(
                f,
                "this cloud already has a CA ({stored}), another than the one given ({given}): \
                 every device would have to join again, use --force if that is meant"
            ),
            AuthorityError::Ended { path, not_after } => {
                write!(
                    f,
                    "the CA in {} ended at {not_after}: use another",
                    path.display()
                )
            }
            AuthorityError::File(error) => error.fmt(f),
            AuthorityError::LegacyWord(word) => {
                write!(
                    f,
                    "legacyCertificates can't be {word:?}: use false, rotate or full"
                )
            }
            AuthorityError::Lonely { present, missing } => write!(
                f,
                "{} is there but {} is not: put the missing file there, or move the other away",
                present.display(),
                missing.display()
            ),
            AuthorityError::Pair { path, source } => {
                write!(f, "{} can't be used: {source}", path.display())
            }
            AuthorityError::Pki(error) => error.fmt(f),
            AuthorityError::Rotating => f.write_str(
                "a rotation of the CA is under way: finish it first, see `cloudcore ca status`",
            ),
            AuthorityError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AuthorityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AuthorityError::File(error) => Some(error),
            AuthorityError::Pair { source, .. } => Some(source),
            AuthorityError::Pki(error) => Some(error),
            AuthorityError::Store(error) => Some(error),
            AuthorityError::Different { .. }
            | AuthorityError::Ended { .. }
            | AuthorityError::LegacyWord(_)
            | AuthorityError::Lonely { .. }
            | AuthorityError::Rotating => None,
        }
    }
}

impl From<FileError> for AuthorityError {
    fn from(error: FileError) -> AuthorityError {
        AuthorityError::File(error)
    }
}

impl From<PkiError> for AuthorityError {
    fn from(error: PkiError) -> AuthorityError {
        AuthorityError::Pki(error)
    }
}

impl From<StoreError> for AuthorityError {
    fn from(error: StoreError) -> AuthorityError {
        AuthorityError::Store(error)
    }
}
