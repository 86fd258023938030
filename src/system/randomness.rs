//! Randomness, of which a device that has just booted may have none yet: reading it then blocks.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use smol::Timer;
use smol::future::or;

use super::blocking::{self, Kind};

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
