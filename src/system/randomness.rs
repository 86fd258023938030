//! Randomness, of which a device that has just booted may have none yet: reading it then blocks.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use smol::Timer;
use smol::future::or;

use super::blocking::{self, Kind};

/// Whether there is some now, so that nothing blocks that needs it.
pub fn is_there() -> bool {
    match getrandom(&mut [0_u8; 1], GetRandomFlags::NONBLOCK) {
        Ok(_) => true,
        Err(Errno::AGAIN) => false,
        // A kernel before 3.17, where what is drawn from waits for this file.
        Err(_) => {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            let Ok(file) = options.open("/dev/random") else {
                return true;
            };
            let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::ZERO);
            let found = fds[0].revents();
            found.is_some_and(|found| found.contains(PollFlags::POLLIN))
        }
    }
}

/// Returns when there is some; from then on nothing blocks that needs it. `lacking` is called after a
/// second without, and again and again later. One thread of its own waits, so that the executor goes on.
pub async fn wait(mut lacking: impl FnMut()) {
    let draw = || SystemRandom::new().fill(&mut [0; 1]);
    let drawn = async {
        while !matches!(blocking::run(Kind::Disk, LONGEST, draw).await, Ok(Ok(()))) {
            Timer::after(PAUSE).await;
        }
    };
    let told = async {
        Timer::after(FIRST).await;
        loop {
            lacking();
            Timer::after(AGAIN).await;
        }
    };
    or(drawn, told).await;
}

/// Far longer than any system takes; the thread that waits is then another one.
const LONGEST: Duration = Duration::from_secs(3600);
/// After a thread could not be had.
const PAUSE: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_runs_has_some() {
        assert!(is_there());
        smol::block_on(wait(|| {}));
    }
}
