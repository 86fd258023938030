//! Scripts that an operator has run before and after a command: `--pre-run` and `--post-run`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::system::cause;

/// Runs a script to its end: by its own interpreter when it is executable and names one, else by
/// `/bin/sh`. What it prints goes to stderr, since stdout is for results.
pub fn run(script: &Path) -> Result<(), HookError> {
    let failed = |source| HookError::Start {
        script: script.to_owned(),
        source,
    };
    // Without a slash the name would be looked for in PATH.
    let path = std::path::absolute(script).map_err(failed)?;
    let mut command = match runs_itself(&path).map_err(failed)? {
        true => Command::new(&path),
        false => {
            let mut shell = Command::new("/bin/sh");
            shell.arg(&path);
            shell
        }
    };
    let status = command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .map_err(failed)?;
    match status.success() {
        true => Ok(()),
        false => Err(HookError::Failed {
            script: script.to_owned(),
            status,
        }),
    }
}

/// Why a script did not do its work.
#[derive(Debug)]
pub enum HookError {
    Start { script: PathBuf, source: io::Error },
    Failed { script: PathBuf, status: ExitStatus },
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookError::Start { script, source } => write!(
                f,
                "the script {} can't be run: {}: check its path, its mode and its first line",
                script.display(),
                cause::of(source)
            ),
            HookError::Failed { script, status } => write!(
                f,
                "the script {} failed ({status}): correct it, or leave it out",
                script.display()
            ),
        }
    }
}

impl std::error::Error for HookError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HookError::Start { source, .. } => Some(source),
            HookError::Failed { .. } => None,
        }
    }
}

fn runs_itself(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut start = Vec::with_capacity(2);
    file.by_ref().take(2).read_to_end(&mut start)?;
    Ok(metadata.permissions().mode() & 0o111 != 0 && start == b"#!")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::Files;
    use crate::system::scratch::Scratch;

    fn script(content: &str, mode: u32) -> (Scratch, PathBuf) {
        let dir = Scratch::new();
        let path = dir.path().join("script");
        let written = Files::real().replace(&path, content.as_bytes(), mode);
        written.unwrap();
        (dir, path)
    }

    #[test]
    fn by_its_own_interpreter_or_by_sh() {
        for (content, mode, is_fine) in [
            ("#!/bin/sh\nexit 0\n", 0o755, true),
            ("#!/bin/sh\nexit 3\n", 0o755, false),
            ("#!/bin/false\n", 0o755, false),
            // Not executable: the interpreter it names does not count.
            ("#!/bin/false\nexit 0\n", 0o644, true),
            ("exit 0\n", 0o755, true),
            ("exit 1\n", 0o600, false),
        ] {
            let (_dir, path) = script(content, mode);
            assert_eq!(run(&path).is_ok(), is_fine, "{content:?} {mode:o}");
        }
    }

    #[test]
    fn what_can_not_run_says_so() {
        let (dir, path) = script("#!/no/such/interpreter\n", 0o755);
        for path in [&path, dir.path(), &dir.path().join("nothing")] {
            let error = run(path).unwrap_err();
            assert!(matches!(error, HookError::Start { .. }), "{error}");
        }
    }
}
