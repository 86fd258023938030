//! Programs started by a process that holds signals back for itself: they must not inherit that.
//!
//! What is held back outlives fork and exec, and nothing may run between the two; were it let come for a moment in
//! the process itself, a signal of that moment would be lost on it, or end it. So this very executable is started, lets all
//! signals come, and becomes the program.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::dup2_stdout;

use super::{exit, processes, signals};

/// The first word for this executable.
pub const WORD: &str = "become-program";

/// Starts a program without input, to whose output nobody listens; as `Command::spawn`, with the same errors.
pub fn spawn(
    program: &str,
    arguments: &[String],
    (name, value): (&str, &OsStr),
) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments);
    if !signals::are_held() {
        let command = command.env(name, value).stdin(Stdio::null());
        return command.stdout(Stdio::null()).spawn();
    }
    let itself = Path::new("/proc/self/exe");
    let file = match itself.exists() {
        true => itself.to_owned(),
        false => processes::own_executable()?,
    };
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(file);
    // Nobody who looks for a role must find it.
    command
        .arg0(NAME)
        .args([WORD, "--", program])
        .args(arguments)
        .env(name, value)
        .stdin(Stdio::null())
        .stdout(Stdio::from(OwnedFd::from(theirs)));
    let mut child = command.spawn()?;
    // The other side is open in the child alone, until that has become the program.
    drop(command);
    match refused(ours) {
        None => Ok(child),
        Some(error) => {
            child.wait()?;
            Err(error)
        }
    }
}

/// In the process that was started: becomes the program, or says why not.
pub fn become_program(words: &[String]) -> u8 {
    let words = words.strip_prefix(&["--".to_owned()]).unwrap_or(words);
    let Some((program, arguments)) = words.split_first() else {
        return exit::USAGE;
    };
    // What it is told through is closed by its becoming the program.
    let Ok(told) = io::stdout().as_fd().try_clone_to_owned() else {
        return exit::FAILURE;
    };
    let error = match without_output() {
        Ok(()) => {
            signals::let_all_come();
            Command::new(program).args(arguments).exec()
        }
        Err(error) => error,
    };
    let code = error.raw_os_error().unwrap_or(Errno::EINVAL as i32);
    let _ = File::from(told).write_all(code.to_string().as_bytes());
    exit::FAILURE
}

fn without_output() -> io::Result<()> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    Ok(dup2_stdout(nowhere)?)
}

/// Why it has not become the program, if it has not.
fn refused(stream: UnixStream) -> Option<io::Error> {
    // One that takes so long will show by itself what comes of it.
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut said = String::new();
    stream.take(MAX_SAID).read_to_string(&mut said).ok()?;
    Some(io::Error::from_raw_os_error(said.parse().ok()?))
}

const NAME: &str = "kubeedge";
/// For the start of a program from a slow disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a number.
const MAX_SAID: u64 = 16;
