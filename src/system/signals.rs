//! What the operator or the init system asks for by a signal, or a starter by its own end.

use std::io;

use async_signal::Signal;
use nix::sys::signal::{SigSet, Signal as Raw};
use smol::future::or;
use smol::stream::StreamExt;

use super::lifeline::Lifeline;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT, or the end of a starter that is not to be outlived.
    Stop,
}

/// Has a SIGHUP wait until it can be caught, which `Signals` undoes: init systems send one whenever an uplink comes
/// up, and it would end a daemon that is still reading its files. To be called before there is any thread. A
/// SIGTERM ends it as ever.
pub fn hold_reload() {
    // It fails for no signal that there is.
    let _ = reload().thread_block();
}

/// Lets all signals come, whatever whoever started this process holds back for itself; to be called when a signal may
/// do to it what it does.
pub fn let_all_come() {
    // It fails for no signal that there is.
    let _ = SigSet::empty().thread_set_mask();
}

/// Whether any signal is held back.
pub fn are_held() -> bool {
    SigSet::thread_get_mask().is_ok_and(|mask| mask.iter().next().is_some())
}

fn reload() -> SigSet {
    [Raw::SIGHUP].into_iter().collect()
}

/// Catches SIGTERM, SIGINT and SIGHUP from its creation on.
pub struct Signals {
    signals: async_signal::Signals,
    lifeline: Lifeline,
}

impl Signals {
    pub fn new() -> io::Result<Signals> {
        let signals = async_signal::Signals::new([Signal::Term, Signal::Int, Signal::Hup])?;
        let _ = reload().thread_unblock();
        let lifeline = Lifeline::from_env();
        Ok(Signals { signals, lifeline })
    }

    /// The next request. If signals can't be received any more, that is a request to stop: a
    /// daemon that can't be stopped is worse than one that is restarted.
    pub async fn next(&mut self) -> Request {
        let Signals { signals, lifeline } = self;
        let signal = async {
            match signals.next().await {
                Some(Ok(Signal::Hup)) => Request::Reload,
                Some(Ok(_) | Err(_)) | None => Request::Stop,
            }
        };
        let cut = async {
            lifeline.cut().await;
            Request::Stop
        };
        or(signal, cut).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    /// One test, since signals are the whole process's.
    #[test]
    fn signals_become_requests_also_when_they_come_early() {
        hold_reload();
        raise(Raw::SIGHUP).unwrap();
        let mut signals = Signals::new().unwrap();
        assert_eq!(smol::block_on(signals.next()), Request::Reload);
        smol::block_on(async {
            for (raw, request) in [
                (Raw::SIGHUP, Request::Reload),
                (Raw::SIGTERM, Request::Stop),
                (Raw::SIGINT, Request::Stop),
            ] {
                raise(raw).unwrap();
                assert_eq!(signals.next().await, request);
            }
        });
    }
}
