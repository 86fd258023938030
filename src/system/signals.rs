//! What the operator or the init system asks for by a signal.

use std::io;

use async_signal::Signal;
use smol::stream::StreamExt;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

/// Catches SIGTERM, SIGINT and SIGHUP from its creation on.
pub struct Signals {
    signals: async_signal::Signals,
}

impl Signals {
    pub fn new() -> io::Result<Signals> {
        let signals = async_signal::Signals::new([Signal::Term, Signal::Int, Signal::Hup])?;
        Ok(Signals { signals })
    }

    /// The next request. If signals can't be received any more, that is a request to stop: a
    /// daemon that can't be stopped is worse than one that is restarted.
    pub async fn next(&mut self) -> Request {
        match self.signals.next().await {
            Some(Ok(Signal::Hup)) => Request::Reload,
            Some(Ok(_) | Err(_)) | None => Request::Stop,
        }
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
