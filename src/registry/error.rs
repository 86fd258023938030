//! What can go wrong between us and a registry.

use std::fmt;

use super::credentials::CredentialsError;
use super::digest::Digest;
use super::manifest::ManifestError;
use super::platform::Platform;
use super::unpack::UnpackError;
use crate::pki::PkiError;
use crate::system::exit;
use crate::system::files::FileError;

#[derive(Debug)]
pub enum RegistryError {
    Credentials(CredentialsError),
    /// The registry wants to know who asks, or does not let them.
    Denied {
        server: String,
        status: u16,
        given: bool,
        said: String,
    },
    /// What came is not what its digest says.
    Digest {
        what: String,
        expected: Digest,
        found: Digest,
    },
    File(FileError),
    Manifest {
        image: String,
        source: ManifestError,
    },
    /// None of the files that were looked for.
    NoFile {
        image: String,
        wanted: String,
    },
    NoPlatform {
        image: String,
        platform: Platform,
        there: String,
    },
    NotFound {
        image: String,
        said: String,
    },
    /// Something about an answer that no registry says.
    Strange {
        server: String,
        what: String,
    },
    /// More bytes than are allowed.
    TooLarge {
        what: String,
        size: u64,
        limit: u64,
    },
    Trust(PkiError),
    Unpack {
        what: String,
        source: UnpackError,
    },
    /// No connection, a broken one, or a server that is not well.
    Unreachable {
        server: String,
        cause: String,
    },
    /// TLS: the certificate is not one that is trusted.
    Untrusted {
        cause: String,
    },
}

impl RegistryError {
    /// Whether the same call may succeed later without anybody changing anything here.
    pub fn is_retryable(&self) -> bool {
        match self {
            RegistryError::Unreachable { .. } => true,
            RegistryError::File(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// The exit code that says it.
    pub fn code(&self) -> u8 {
        match self {
            RegistryError::Denied { .. } | RegistryError::Untrusted { .. } => exit::DENIED,
            RegistryError::Credentials(_) | RegistryError::Trust(_) => exit::CONFIG,
            RegistryError::File(error) if error.is_denied() => exit::DENIED,
            RegistryError::Unreachable { .. } => exit::TRY_AGAIN,
            RegistryError::Strange { .. } => exit::UNAVAILABLE,
            error if error.is_retryable() => exit::TRY_AGAIN,
            _ => exit::FAILURE,
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistryError::Credentials(error) => error.fmt(f),
            RegistryError::Denied {
                server,
                status,
                given: false,
                said,
            } => write!(
                f,
                "{server} wants a user and a password ({status}{}): give a file with them (--auth-file)",
                after(said)
            ),
            RegistryError::Denied {
                server,
                status,
                given: true,
                said,
            } => write!(
                f,
                "{server} refuses the user and the password of the file ({status}{}): correct them, or \
                 have that user allowed to pull",
                after(said)
            ),
            RegistryError::Digest {
                what,
                expected,
                found,
            } => write!(
                f,
                "{what} is not what it should be: {expected} was expected and {found} came; something \
                 changes it on its way, or the registry is damaged"
            ),
            RegistryError::File(error) => error.fmt(f),
            RegistryError::Manifest { image, source } => {
                write!(f, "{image} is no image that can be used: {source}")
            }
            RegistryError::NoFile { image, wanted } => {
                write!(f, "{image} does not hold {wanted}: name an image that does")
            }
            RegistryError::NoPlatform {
                image,
                platform,
                there,
            } => write!(
                f,
                "{image} is not made for {platform}: there is {there}; name another image, or another \
                 platform"
            ),
            RegistryError::NotFound { image, said } => write!(
                f,
                "there is no {image} (404{}): check the name and the tag, and whether it is public",
                after(said)
            ),
            RegistryError::Strange { server, what } => write!(
                f,
                "{server} does not answer as a registry does ({what}): check the address"
            ),
            RegistryError::TooLarge { what, size, limit } => write!(
                f,
                "{what} has {size} bytes or more, and {limit} are allowed: check that it is what you want"
            ),
            RegistryError::Trust(error) => error.fmt(f),
            RegistryError::Unpack { what, source } => write!(f, "{what} can't be used: {source}"),
            RegistryError::Unreachable { server, cause } => {
                write!(
                    f,
                    "{server} can't be reached or does not work ({cause}): try again later"
                )
            }
            RegistryError::Untrusted { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RegistryError::Credentials(error) => Some(error),
            RegistryError::File(error) => Some(error),
            RegistryError::Manifest { source, .. } => Some(source),
            RegistryError::Trust(error) => Some(error),
            RegistryError::Unpack { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<CredentialsError> for RegistryError {
    fn from(error: CredentialsError) -> RegistryError {
        RegistryError::Credentials(error)
    }
}

impl From<FileError> for RegistryError {
    fn from(error: FileError) -> RegistryError {
        RegistryError::File(error)
    }
}

impl From<PkiError> for RegistryError {
    fn from(error: PkiError) -> RegistryError {
        RegistryError::Trust(error)
    }
}

/// What a server said, behind its status.
fn after(said: &str) -> String {
    match said {
        "" => String::new(),
        said => format!(", {said}"),
    }
}
