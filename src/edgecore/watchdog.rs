//! Ends the process when its executor stands still, so that init starts it anew.
//!
//! The kernel's alarm needs no thread: as long as the executor ticks it is put off, and when it
//! goes off its default action ends the process.

use std::time::Duration;

use nix::unistd::alarm;
use smol::Timer;

/// Puts the alarm off for ever; to be raced with the work it watches.
pub async fn tick() {
    loop {
        alarm::set(STANDSTILL_SECONDS);
        Timer::after(EVERY).await;
    }
}

const STANDSTILL_SECONDS: u32 = 60;
const EVERY: Duration = Duration::from_secs(15);
