//! A daemon started anew by a stand-in for process 1, with every state of /etc/inittab on its way.

use std::cell::Cell;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use super::*;
use crate::system::files::Files;
use crate::system::files::crash::Recording;
use crate::system::scratch::Scratch;

const BEFORE: &str = "::sysinit:/etc/init.d/rcS\n";

/// An init whose processes are real ones, of another name.
struct Stub {
    child: Cell<Option<Child>>,
    told: Cell<usize>,
    /// How often it starts it again when it was told otherwise.
    starts: Cell<u32>,
    /// At how many looks nothing is seen.
    rests: Cell<u32>,
    /// Whether what it started can be ended.
    is_stuck: bool,
}

impl Stub {
    fn new(is_stuck: bool) -> Rc<Stub> {
        Rc::new(Stub {
            child: Cell::new(Some(child())),
            told: Cell::default(),
            starts: Cell::new(u32::MAX),
            rests: Cell::default(),
            is_stuck,
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Option<Child>) -> T) -> T {
        let mut child = self.child.take();
        let found = look(&mut child);
        self.child.set(child);
        found
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Init for Rc<Stub> {
    fn tell(&self) -> Result<(), ServiceError> {
        self.told.set(self.told.get() + 1);
        Ok(())
    }

    fn process(&self) -> Option<Process> {
        if let Some(left) = self.rests.get().checked_sub(1) {
            self.rests.set(left);
            return None;
        }
        self.with(|child| Process::get(child.as_ref()?.id()))
    }

    /// It sleeps before it respawns.
    fn end(&self, process: &Process) -> Result<(), ProcessError> {
        if self.is_stuck {
            return Err(ProcessError::Stuck(process.pid));
        }
        let left = match self.told.get() {
            0 => Some(self.starts.get()),
            _ => self.starts.get().checked_sub(1),
        };
        self.starts.set(left.unwrap_or_default());
        self.rests.set(1);
        self.with(|child| {
            let mut ended = child.take().unwrap();
            *child = left.map(|_| self::child());
            assert_eq!(ended.id(), process.pid);
            ended.kill().unwrap();
            ended.wait().unwrap();
        });
        Ok(())
    }
}

/// It ends when its input does.
fn child() -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().unwrap()
}

fn service(files: Files, folder: &Scratch, init: &Rc<Stub>) -> Inittab {
    let root = Root::new(Some(folder.path().to_owned()));
    let host = Host {
        files,
        ..Host::real(root.clone())
    };
    Inittab {
        init: Some(Box::new(init.clone())),
        looks: 2,
        ..Inittab::new(&host, Daemon::edgecore(&root))
    }
}

/// With the line, which counts.
fn machine(init: &Rc<Stub>) -> Scratch {
    let folder = Scratch::new();
    fs::create_dir(folder.path().join("etc")).unwrap();
    let path = folder.path().join("etc/inittab");
    Files::real()
        .replace(&path, BEFORE.as_bytes(), 0o644)
        .unwrap();
    let service = service(Files::real(), &folder, init);
    service.install().unwrap();
    service.enable().unwrap();
    folder
}

fn state(root: &std::path::Path) -> Option<bool> {
    let text = fs::read_to_string(root.join("etc/inittab")).unwrap();
    text::state(&text, "edgecore")
}

#[test]
fn a_device_that_restarts_its_daemon_may_lose_its_power_at_any_moment() {
    let init = Stub::new(false);
    let folder = machine(&init);
    let before = init.process().unwrap();
    let recording = Recording::of(folder.path(), |recorder| {
        let report = service(recorder.files(), &folder, &init)
            .restart(None)
            .unwrap();
        assert_eq!(report.outcome, Outcome::Done);
        assert!(report.touched.contains(&Touch::Ended(before.pid)));
    });
    recording.each_state(|left| assert_eq!(state(left.root()), Some(true)));
    let after = init.process().unwrap();
    assert!(!before.is_alive() && after.is_alive());
    assert_eq!(init.told.get(), 1);
}

#[test]
fn a_daemon_that_was_stopped_is_started() {
    let init = Stub::new(false);
    let folder = machine(&init);
    let service = service(Files::real(), &folder, &init);
    service.disable().unwrap();
    service.restart(None).unwrap();
    assert_eq!(state(folder.path()), Some(true));
}

#[test]
fn what_could_not_be_stopped_is_there_after_the_next_boot() {
    let init = Stub::new(true);
    let folder = machine(&init);
    let service = service(Files::real(), &folder, &init);
    let error = service.stop().unwrap_err();
    assert!(error.to_string().contains("restart the device"), "{error}");
    assert_eq!(state(folder.path()), Some(true));
    // One whose line did not count is as it was, too.
    service.disable().unwrap();
    service.stop().unwrap_err();
    assert_eq!(state(folder.path()), Some(false));
}

#[test]
fn what_init_does_not_know_is_ended_as_well() {
    let init = Stub::new(false);
    let folder = machine(&init);
    let service = service(Files::real(), &folder, &init);
    let mut other = child();
    let left = Process::get(other.id()).unwrap();
    let report = service.restart(Some(&left)).unwrap();
    assert!(report.touched.contains(&Touch::Ended(other.id())));
    other.wait().unwrap();
    // Its own is ended once.
    let own = init.process().unwrap();
    let report = service.restart(Some(&own)).unwrap();
    let ended = |touch: &&Touch| **touch == Touch::Ended(own.pid);
    assert_eq!(report.touched.iter().filter(ended).count(), 1);
}

#[test]
fn what_init_starts_before_it_reads_the_file_is_ended_too() {
    for is_off_before in [false, true] {
        let init = Stub::new(false);
        init.starts.set(1);
        let folder = machine(&init);
        let service = service(Files::real(), &folder, &init);
        if is_off_before {
            service.disable().unwrap();
        }
        let report = service.stop().unwrap();
        let ended = |touch: &&Touch| matches!(touch, Touch::Ended(_));
        assert_eq!(report.touched.iter().filter(ended).count(), 2);
        assert_eq!((init.process(), init.told.get()), (None, 1));
        assert_eq!(service.stop().unwrap(), Report::nothing());
    }
}
