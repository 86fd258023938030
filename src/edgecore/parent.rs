//! The hub's side of the connection to the supervisor, which is its parent process.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;
use smol::Async;
use smol::io::AsyncReadExt;

use crate::system::notify;
use crate::system::processes::Peer;

/// Standard input, where the supervisor has put its connection.
pub struct Parent {
    stream: UnixStream,
    pid: u32,
}

/// Why this is no process that a supervisor has started.
#[derive(Debug, PartialEq, Eq)]
pub enum NoParent {
    /// It was started by hand.
    NoConnection,
    /// The supervisor is gone already.
    Gone,
}

impl Parent {
    /// To be called once, early, and before there is any thread.
    pub fn meet() -> Result<Parent, NoParent> {
        let stdin = io::stdin();
        let supervisor = Peer::of(&stdin).map_err(|_| NoParent::NoConnection)?;
        let stream = stdin.as_fd().try_clone_to_owned();
        let stream = UnixStream::from(stream.map_err(|_| NoParent::NoConnection)?);
        let second = stream.try_clone();
        let second = second.and_then(|second| second.set_nonblocking(true).map(|()| second));
        notify::through(second.map_err(|_| NoParent::NoConnection)?);
        let parent = Parent {
            stream,
            pid: supervisor.pid,
        };
        parent.die_together()?;
        // The supervisor holds some back for itself.
        let _ = SigSet::empty().thread_set_mask();
        // Told from the supervisor in ps and top.
        let _ = prctl::set_name(c"edgecore-hub");
        Ok(parent)
    }

    /// Has the kernel end us when the supervisor ends, however it does. To be called again after
    /// every change of the user, which makes the kernel forget it.
    pub fn die_together(&self) -> Result<(), NoParent> {
        // A kernel that can't leaves us the end of the connection.
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        // It may have ended just before.
        let parent = u32::try_from(getppid().as_raw()).unwrap_or(0);
        // Zero: it lives in a namespace that we can't see.
        match self.pid == parent || self.pid == 0 {
            true => Ok(()),
            false => Err(NoParent::Gone),
        }
    }

    /// The process that the init system knows.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns when the supervisor is gone.
    pub async fn gone(&self) {
        match self.stream.try_clone().and_then(Async::new) {
            // Nothing is ever said here: any end of this read is the end.
            Ok(mut stream) => drop(stream.read(&mut [0]).await),
            Err(error) => {
                log::warn!("the end of the supervisor will not be noticed: {error}");
                smol::future::pending().await
            }
        }
    }
}
