//! What wakes the supervisor: signals, the end of its starter, a word of the hub, a deadline.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::child::Line;
use crate::system::lifeline;

pub enum Event {
    /// A child has ended: the hub, or a hook.
    Child,
    /// The other end of the hub's line is closed.
    HungUp,
    /// The deadline has come.
    Nothing,
    Reload,
    Said(Vec<String>),
    Stop,
}

/// The signals are held back for it from its creation on.
pub struct Events {
    signals: SignalFd,
    /// Whoever started us and is not to be outlived.
    lifeline: Option<UnixStream>,
}

impl Events {
    pub fn new() -> io::Result<Events> {
        let mask = mask();
        mask.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).inspect_err(|_| release())?;
        Ok(Events {
            signals,
            lifeline: lifeline::stream().inspect_err(|_| release())?,
        })
    }

    /// The next event within `patience`.
    pub fn wait(&mut self, mut hub: Option<&mut Line>, patience: Duration) -> Event {
        let until = Instant::now() + patience;
        loop {
            let woken = self.poll(hub.as_deref().map(|line| line.stream.as_fd()), until);
            // What the hub says comes first: it may explain its end.
            if woken.hub
                && let Some(line) = hub.as_deref_mut()
            {
                return line.read().map_or(Event::HungUp, Event::Said);
            }
            if woken.lifeline {
                self.lifeline = None;
                return Event::Stop;
            }
            if let Some(event) = self.signal() {
                return event;
            }
            if Instant::now() >= until {
                return Event::Nothing;
            }
        }
    }

    fn signal(&self) -> Option<Event> {
        let signal = self.signals.read_signal().ok().flatten()?;
        let number = i32::try_from(signal.ssi_signo).ok()?;
        Some(match Signal::try_from(number).ok()? {
            Signal::SIGCHLD => Event::Child,
            Signal::SIGHUP => Event::Reload,
            _ => Event::Stop,
        })
    }

    fn poll(&self, hub: Option<BorrowedFd<'_>>, until: Instant) -> Woken {
        let watched = [
            Some(self.signals.as_fd()),
            self.lifeline.as_ref().map(AsFd::as_fd),
            hub,
        ];
        let mut fds: Vec<PollFd<'_>> = watched
            .iter()
            .flatten()
            .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that nothing spins through the last millisecond.
        let left = PollTimeout::try_from(left + Duration::from_millis(1));
        // A signal that interrupts is none of ours, and every other fault is seen by reading.
        let _ = poll(&mut fds, left.unwrap_or(PollTimeout::MAX));
        let mut woken = fds.iter().map(|fd| fd.any().unwrap_or(false));
        woken.next();
        Woken {
            lifeline: self.lifeline.is_some() && woken.next().unwrap_or(false),
            hub: hub.is_some() && woken.next().unwrap_or(false),
        }
    }
}

struct Woken {
    lifeline: bool,
    hub: bool,
}

/// Lets the signals through again.
pub fn release() {
    let _ = mask().thread_unblock();
}

fn mask() -> SigSet {
    [
        Signal::SIGCHLD,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
    ]
    .into_iter()
    .collect()
}
