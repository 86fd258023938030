//! Whether a file is an executable of this program, for this machine, and starts.

use std::fs::File;
use std::io::{self, Read, pipe};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;

use super::error::UpgradeError;
use crate::system::host::Host;
use crate::system::root;

/// What an executable says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Its own.
    pub version: String,
    /// The KubeEdge that it speaks.
    #[serde(default)]
    pub git_version: String,
    /// What of it was built; none in those that do not tell.
    #[serde(default)]
    pub features: Option<String>,
}

impl Version {
    /// As reports and folders have it.
    pub fn tag(&self) -> String {
        format!("v{}", self.version.trim_start_matches('v'))
    }

    /// Whether it says that it has a feature.
    pub fn can_do(&self, feature: &str) -> bool {
        let mut features = self.features.iter().flat_map(|it| it.split(','));
        features.any(|it| it == feature)
    }

    /// Whether no edgecore of it would end a trial: it is for devices whose packages are upgraded, or for
    /// clouds alone.
    pub fn is_without_trials(&self) -> bool {
        self.features.is_some() && !(self.can_do("edge") && self.can_do("upgrade"))
    }

    pub fn is_older_than(&self, other: &Version) -> bool {
        numbers(&self.version) < numbers(&other.version)
    }
}

/// Major, minor and patch; what is no number counts as nothing.
fn numbers(version: &str) -> [u64; 3] {
    let version = version.trim_start_matches('v');
    let mut parts = version
        .split(['.', '-', '+'])
        .map(|it| it.parse().unwrap_or(0));
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

/// Class, byte order and machine as those of the executable that runs here.
pub fn machine(file: &Path) -> Result<(), UpgradeError> {
    let own = head(Path::new("/proc/self/exe")).map_err(UpgradeError::Own)?;
    match head(file) {
        Ok(found) if found == own => Ok(()),
        _ => Err(UpgradeError::Machine),
    }
}

/// Of an ELF file: its class and byte order, and the two bytes of its machine.
fn head(path: &Path) -> io::Result<[u8; 4]> {
    let mut head = [0; 20];
    File::open(path)?.read_exact(&mut head)?;
    match head.starts_with(b"\x7fELF") {
        true => Ok([head[4], head[5], head[18], head[19]]),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Starts it, and has it say its version.
pub fn version(file: &Path) -> Result<Version, UpgradeError> {
    let ended = start(file, "keadm", &["version", "-o", "json"], &[], STARTING)?;
    serde_json::from_str(&ended.said).map_err(|_| {
        let said = ended.said.lines().next().unwrap_or_default();
        UpgradeError::Foreign(said.chars().take(80).collect())
    })
}

/// Has it show itself to the cloud beside the one that runs.
pub fn probe(host: &Host, file: &Path, config: Option<&str>) -> Result<String, UpgradeError> {
    let mut arguments = vec!["--probe", "--log-level", "error"];
    if let Some(config) = config {
        arguments.extend(["--config", config]);
    }
    let prefix = host.root.prefix().map(Path::as_os_str);
    let environment: Vec<_> = prefix
        .map(|prefix| (root::VARIABLE, prefix))
        .into_iter()
        .collect();
    match start(file, "edgecore", &arguments, &environment, PROBING) {
        Ok(ended) => Ok(ended.said.trim().to_owned()),
        Err(UpgradeError::Start { said, .. }) => {
            let line = said.lines().last().unwrap_or_default();
            let line = line.strip_prefix("edgecore: ").unwrap_or(line);
            Err(UpgradeError::Probe(line.to_owned()))
        }
        Err(error) => Err(error),
    }
}

struct Ended {
    said: String,
}

/// Within its time, with what it says bounded; anything but a 0 is an error.
fn start(
    file: &Path,
    name: &str,
    arguments: &[&str],
    environment: &[(&str, &std::ffi::OsStr)],
    patience: Duration,
) -> Result<Ended, UpgradeError> {
    let failed = |error: io::Error| UpgradeError::NoStart(crate::system::cause::of(&error));
    let (mut reader, writer) = pipe().map_err(failed)?;
    let mut command = Command::new(file);
    command
        .arg0(name)
        .args(arguments)
        .envs(environment.iter().copied())
        .env_remove("NOTIFY_SOCKET")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    // It holds the other end of the pipe as well.
    drop(command);
    let until = Instant::now() + patience;
    let said = collect(&mut reader, until);
    let status = end(&mut child, until).map_err(failed)?;
    let (Ok(said), Some(status)) = (said, status) else {
        return Err(UpgradeError::Silent(patience));
    };
    let said = String::from_utf8_lossy(&said).into_owned();
    match status.success() {
        true => Ok(Ended { said }),
        false => Err(UpgradeError::Start {
            how: status.to_string(),
            said,
        }),
    }
}

fn collect(reader: &mut (impl Read + AsFd), until: Instant) -> io::Result<Vec<u8>> {
    let (mut said, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match reader.read(&mut chunk)? {
            0 => return Ok(said),
            length if said.len() + length <= MAX_SAID => said.extend_from_slice(&chunk[..length]),
            _ => return Err(io::ErrorKind::FileTooLarge.into()),
        }
    }
}

/// How it ended; none when it had to be killed.
fn end(child: &mut Child, until: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        // It has closed its output, so this is the end of it.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// For a slow device with a slow disk.
const STARTING: Duration = Duration::from_secs(30);
/// It tries every cloud.
const PROBING: Duration = Duration::from_secs(120);
/// Bytes.
const MAX_SAID: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::Files;
    use crate::system::scratch::Scratch;

    #[test]
    fn versions_are_compared_by_number() {
        let version = |text: &str| Version {
            version: text.to_owned(),
            git_version: String::new(),
            features: None,
        };
        for (older, newer) in [
            ("0.1.0", "0.1.1"),
            ("0.9.0", "0.10.0"),
            ("v1.2.3", "2.0.0"),
            ("0.1.0-rc1", "0.2.0"),
        ] {
            assert!(version(older).is_older_than(&version(newer)));
            assert!(!version(newer).is_older_than(&version(older)));
        }
        assert_eq!(version("0.1.0").tag(), "v0.1.0");
    }

    #[test]
    fn those_that_end_no_trial_are_known() {
        for (said, without) in [
            (r#"{"version":"1"}"#, false),
            (r#"{"version":"1","features":"edge,cloud,upgrade"}"#, false),
            (r#"{"version":"1","features":"edge"}"#, true),
            (r#"{"version":"1","features":"cloud,upgrade"}"#, true),
            (r#"{"version":"1","features":""}"#, true),
        ] {
            let version: Version = serde_json::from_str(said).unwrap();
            assert_eq!(version.is_without_trials(), without, "{said}");
        }
        // What it is read from is what this program says.
        let own = crate::system::build::FEATURES;
        assert!(own.split(',').any(|it| it == "upgrade"), "{own}");
    }

    #[test]
    fn what_starts_is_bounded() {
        let dir = Scratch::new();
        let script = |content: &str| {
            let path = dir.path().join("script");
            Files::real()
                .replace(&path, format!("#!/bin/sh\n{content}\n").as_bytes(), 0o755)
                .unwrap();
            path
        };
        let short = Duration::from_millis(300);
        let run = |content: &str, patience| loop {
            // Another thread's child may have the script open for writing.
            match start(&script(content), "x", &[], &[], patience) {
                Err(UpgradeError::NoStart(why)) if why.contains("busy") => {}
                ended => return ended.map(|ended| ended.said),
            }
        };
        assert_eq!(
            run("echo out; echo err >&2", STARTING).unwrap(),
            "out\nerr\n"
        );
        assert!(matches!(
            run("sleep 60", short),
            Err(UpgradeError::Silent(_))
        ));
        let endless = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done";
        assert!(matches!(run(endless, short), Err(UpgradeError::Silent(_))));
        match run("echo no; exit 3", STARTING) {
            Err(UpgradeError::Start { how, said }) => {
                assert!(how.contains('3') && said == "no\n");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn machines_differ() {
        let dir = Scratch::new();
        let path = dir.path().join("file");
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut other = own[..64].to_vec();
        Files::real().replace(&path, &other, 0o755).unwrap();
        assert!(machine(&path).is_ok());
        for at in [0, 4, 5, 18, 19] {
            other[at] ^= 1;
            Files::real().replace(&path, &other, 0o755).unwrap();
            assert!(matches!(machine(&path), Err(UpgradeError::Machine)));
            other[at] ^= 1;
        }
        Files::real().replace(&path, b"\x7fELF", 0o755).unwrap();
        assert!(machine(&path).is_err());
    }
}
