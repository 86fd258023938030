//! What the operator or the init system asks for by a signal, or a starter by its own end.

use std::io;

use async_signal::Signal;
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

/// Catches SIGTERM, SIGINT and SIGHUP from its creation on.
pub struct Signals {
    signals: async_signal::Signals,
    lifeline: Lifeline,
}

impl Signals {
    pub fn new() -> io::Result<Signals> {
        let signals = async_signal::Signals::new([Signal::Term, Signal::Int, Signal::Hup])?;
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
    use nix::sys::signal::{Signal as Raw, raise};

    #[test]
    fn signals_become_requests() {
        let mut signals = Signals::new().unwrap();
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
