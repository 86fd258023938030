//! Why there is no upgrade.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::keadm::backup::BackupError;
use crate::keadm::change::ChangeError;
use crate::keadm::device::DeviceError;
use crate::keadm::hooks::HookError;
use crate::keadm::out::NOT_CONFIRMED;
use crate::pki::minisign::MinisignError;
use crate::system::exit;
use crate::system::files::FileError;
use crate::trial::TrialError;

#[derive(Debug)]
pub enum UpgradeError {
    Backup(BackupError),
    Change(ChangeError),
    Device(DeviceError),
    File(FileError),
    Hook(HookError),
    NotConfirmed,
    /// Neither `--from` nor `--image`.
    NoSource,
    /// This build pulls no images.
    #[cfg_attr(feature = "oci", expect(dead_code, reason = "this build does"))]
    NoImages(String),
    /// What was said of the image can't be understood.
    #[cfg_attr(
        not(feature = "oci"),
        expect(dead_code, reason = "nothing is read of it")
    )]
    Image(String),
    #[cfg_attr(not(feature = "oci"), expect(dead_code, reason = "nothing is pulled"))]
    Registry {
        code: u8,
        why: String,
    },
    Url(String),
    /// Nothing came, or not enough; another try may help.
    Download {
        url: String,
        why: String,
    },
    TooLarge {
        url: String,
        /// Bytes.
        limit: u64,
    },
    /// No job is called like this.
    Job(String),
    /// It can't be told whether what would come is what is wanted.
    NoProof(String),
    /// The list of digests does not name it.
    NotListed(String),
    DigestForm(String),
    Digest {
        wanted: String,
        found: String,
    },
    /// A key is configured, and there is no signature.
    Unsigned(String),
    Signature {
        file: String,
        source: MinisignError,
    },
    Space {
        path: PathBuf,
        needed: u64,
    },
    Own(io::Error),
    Machine,
    /// The system does not start it.
    NoStart(String),
    Silent(Duration),
    Start {
        how: String,
        said: String,
    },
    /// It starts, and is another program.
    Foreign(String),
    /// It would never end its trial.
    NoTrials,
    OtherVersion {
        wanted: String,
        found: String,
    },
    Older {
        present: String,
        found: String,
    },
    Probe(String),
}

impl UpgradeError {
    pub fn code(&self) -> u8 {
        match self {
            UpgradeError::Change(error) => error.code(),
            UpgradeError::NoSource
            | UpgradeError::NoImages(_)
            | UpgradeError::Image(_)
            | UpgradeError::Job(_)
            | UpgradeError::Url(_)
            | UpgradeError::DigestForm(_) => exit::USAGE,
            UpgradeError::Download { .. } => exit::TRY_AGAIN,
            UpgradeError::Digest { .. }
            | UpgradeError::NoProof(_)
            | UpgradeError::NotListed(_)
            | UpgradeError::Unsigned(_)
            | UpgradeError::Signature { .. } => exit::DENIED,
            UpgradeError::Probe(_) => exit::UNAVAILABLE,
            UpgradeError::Registry { code, .. } => *code,
            UpgradeError::Device(_) => exit::CONFIG,
            UpgradeError::File(error) if error.is_denied() => exit::DENIED,
            _ => exit::FAILURE,
        }
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpgradeError::Backup(error) => error.fmt(f),
            UpgradeError::Change(error) => error.fmt(f),
            UpgradeError::Device(error) => error.fmt(f),
            UpgradeError::File(error) => error.fmt(f),
            UpgradeError::Hook(error) => error.fmt(f),
            UpgradeError::NotConfirmed => f.write_str(NOT_CONFIRMED),
            UpgradeError::NoSource => f.write_str(
                "where is the new executable? Give --from a file or an https:// address, or --image",
            ),
            UpgradeError::NoImages(name) => write!(
                f,
                "this build pulls no images such as {name}: give --from a file or an https:// address"
            ),
            UpgradeError::Image(why) => f.write_str(why),
            UpgradeError::Registry { why, .. } => f.write_str(why),
            UpgradeError::Job(name) => write!(
                f,
                "--upgradeID {name:?} is no job's: give the one that the cloud has named"
            ),
            UpgradeError::Url(why) => write!(f, "--from: {why}"),
            UpgradeError::Download { url, why } => write!(
                f,
                "{url} did not come: {why}: the same command goes on where this one stopped"
            ),
            UpgradeError::TooLarge { url, limit } => write!(
                f,
                "{url} has more than {} KiB, and there is no room for more: see whether it is the right file",
                limit / 1024
            ),
            UpgradeError::NoProof(name) => write!(
                f,
                "nothing says that {name} is what you want: give --digest, put SHA256SUMS beside it, \
                 or sign it for /etc/kubeedge/upgrade.pub"
            ),
            UpgradeError::NotListed(name) => write!(
                f,
                "SHA256SUMS does not name {name}: correct it, or give --digest"
            ),
            UpgradeError::DigestForm(given) => write!(
                f,
                "\"{given}\" is no digest: write it as sha256: and 64 digits, 0 to 9 and a to f"
            ),
            UpgradeError::Digest { wanted, found } => write!(
                f,
                "the digest is {found} and not {wanted}: it is not what you want, or was damaged on its way"
            ),
            UpgradeError::Unsigned(why) => write!(
                f,
                "/etc/kubeedge/upgrade.pub asks for a signature, and there is none ({why}): sign it with \
                 minisign, and put FILE.minisig beside it"
            ),
            UpgradeError::Signature { file, source } => write!(f, "{file}: {source}"),
            UpgradeError::Space { path, needed } => write!(
                f,
                "{} has no room for {} KiB, which both executables need for a moment: make room first",
                path.display(),
                needed / 1024
            ),
            UpgradeError::Own(source) => write!(f, "can't read this executable: {source}"),
            UpgradeError::Machine => f.write_str(
                "the file is no executable for this machine: take the one for it, see `kubeedge version`",
            ),
            UpgradeError::NoStart(why) => write!(f, "the new executable does not start: {why}"),
            UpgradeError::Silent(patience) => write!(
                f,
                "the new executable has not ended properly within {} s: nothing was changed",
                patience.as_secs()
            ),
            UpgradeError::Start { how, said } => {
                let said = said.lines().last().unwrap_or_default();
                write!(f, "the new executable fails here ({how}): {said}")
            }
            UpgradeError::Foreign(said) => write!(
                f,
                "the file is another program, which says \"{said}\": take an executable of kubeedge"
            ),
            UpgradeError::NoTrials => f.write_str(
                "the executable has not both features edge and upgrade, so it would not end its trial: install it \
                 as a package, or take the one with both",
            ),
            UpgradeError::OtherVersion { wanted, found } => write!(
                f,
                "the executable is {found} and not {wanted}: correct --toVersion, or leave it away"
            ),
            UpgradeError::Older { present, found } => write!(
                f,
                "{found} is older than {present}, which is here: --force takes it all the same"
            ),
            UpgradeError::Probe(why) => write!(
                f,
                "the new executable does not reach the cloud, so nothing was changed: {why}"
            ),
        }
    }
}

impl std::error::Error for UpgradeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UpgradeError::Backup(error) => Some(error),
            UpgradeError::Change(error) => Some(error),
            UpgradeError::Device(error) => Some(error),
            UpgradeError::File(error) => Some(error),
            UpgradeError::Hook(error) => Some(error),
            UpgradeError::Signature { source, .. } => Some(source),
            UpgradeError::Own(source) => Some(source),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($variant:ident($error:ty)),* $(,)?) => {$(
        impl From<$error> for UpgradeError {
            fn from(error: $error) -> UpgradeError {
                UpgradeError::$variant(error)
            }
        }
    )*};
}

from!(
    Backup(BackupError),
    Change(ChangeError),
    Device(DeviceError),
    File(FileError),
    Hook(HookError),
);

impl From<TrialError> for UpgradeError {
    fn from(error: TrialError) -> UpgradeError {
        UpgradeError::Change(error.into())
    }
}
