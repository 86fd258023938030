//! The edgecore that runs on this device: what it says, and which process it is.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::protocol::control::{self, EDGE_STATUS_SOCKET, EdgeOp, EdgeStatus, Request};
use crate::system::host::Host;
use crate::system::processes::{self, Process};
use crate::system::root;

/// None when it does not run, or does not answer.
pub fn status(host: &Host) -> Option<EdgeStatus> {
    let socket = host.root.at(EDGE_STATUS_SOCKET);
    control::call(&socket, &Request::new(EdgeOp::Status), PATIENCE).ok()
}

/// The process whose number stands in edgecore's lock file, if it is an edgecore.
pub fn process(host: &Host) -> Option<Process> {
    let note = host.files.read_opt(&host.root.at(LOCK), MAX_NOTE);
    let note = String::from_utf8(note.ok()??).ok()?;
    let process = Process::get(note.trim().parse().ok()?)?;
    process.is(EDGECORE).then_some(process)
}

/// Every process of that name that works on the same files, such as one that KubeEdge's own
/// keadm started. Not told below a root prefix, where nothing of the kind can be.
pub fn edgecores(host: &Host) -> Vec<Process> {
    if host.root.prefix().is_some() {
        return Vec::new();
    }
    let mut found = processes::find(EDGECORE);
    // Not `journalctl -u edgecore`, nor an init script of that name, nor those in containers or
    // below a root prefix of their own.
    found.retain(|process| {
        process.name == EDGECORE
            && is_called(process, EDGECORE)
            && is_of_this_system(process.pid)
            && !has_root(process)
    });
    found
}

/// The file that a process runs.
pub fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(proc(pid, "exe")).ok()
}

/// A script has its own name in the kernel, and its interpreter as the first word.
fn is_called(process: &Process, name: &str) -> bool {
    let first = process.arguments.first().map(Path::new);
    first.and_then(Path::file_name) == Some(OsStr::new(name))
}

fn is_of_this_system(pid: u32) -> bool {
    let own = fs::read_link("/proc/self/ns/pid").ok();
    fs::read_link(proc(pid, "ns/pid")).ok() == own
}

fn has_root(process: &Process) -> bool {
    let is_flag = |word: &String| word == "--root" || word.starts_with("--root=");
    if process.arguments.iter().any(is_flag) {
        return true;
    }
    let environment = fs::read(proc(process.pid, "environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| {
        let name = variable.split(|byte| *byte == b'=').next();
        name.map(OsStr::from_bytes) == Some(OsStr::new(root::VARIABLE))
    })
}

fn proc(pid: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

pub const EDGECORE: &str = "edgecore";
/// Held by edgecore while it runs.
const LOCK: &str = "/run/kubeedge/edgecore.lock";
/// Bytes.
const MAX_NOTE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    #[test]
    fn an_init_script_is_no_edgecore() {
        let scratch = Scratch::new();
        let file = |folder: &str| {
            let folder = scratch.path().join(folder);
            fs::create_dir(&folder).unwrap();
            folder.join(EDGECORE)
        };
        let (script, program) = (file("init.d"), file("bin"));
        // Both wait for their input as long as the test holds the other end. Written by another
        // process: what this one has open for writing, a child of another test may have too.
        let write = "printf '#!/bin/sh\\nread -r line\\n' >\"$0\" && chmod 755 \"$0\"";
        let written = Command::new("sh").args(["-c", write]).arg(&script).status();
        assert!(written.unwrap().success());
        std::os::unix::fs::symlink("/bin/cat", &program).unwrap();
        let [mut script, mut program] = [script, program].map(|file| {
            let mut command = Command::new(file);
            command.stdin(Stdio::piped()).spawn().unwrap()
        });
        let found = edgecores(&Host::real(Root::new(None)));
        let found: Vec<u32> = found.iter().map(|process| process.pid).collect();
        for child in [&mut script, &mut program] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        assert!(found.contains(&program.id()));
        assert!(!found.contains(&script.id()));
    }
}
