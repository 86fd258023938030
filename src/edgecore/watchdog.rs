//! Ends the process when its executor stands still, so that init starts it anew.
//!
//! The kernel's alarm needs no thread: as long as the executor ticks it is put off, and when it
//! goes off its default action ends the process. Every tick is a sign of life for the supervisor
//! and the init system, too, which see a process that was stopped or that the kernel holds.

use std::time::Duration;

use nix::unistd::alarm;
use smol::Timer;

use crate::system::notify;

/// Puts the alarm off for ever; to be raced with the work it watches.
pub async fn tick() {
    keep(STANDSTILL_SECONDS, EVERY).await;
}

async fn keep(standstill_seconds: u32, every: Duration) {
    loop {
        alarm::set(standstill_seconds);
        notify::alive();
        Timer::after(every).await;
    }
}

const STANDSTILL_SECONDS: u32 = 60;
const EVERY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use nix::sys::signal::Signal;
    use smol::future::{or, yield_now};

    use super::*;

    /// Runs itself again as a process whose executor ticks for a while and then never again.
    #[test]
    fn an_executor_that_stands_still_ends_the_process() {
        if std::env::var_os(AGAIN).is_some() {
            let busy = async {
                for _ in 0..15 {
                    Timer::after(Duration::from_millis(100)).await;
                    yield_now().await;
                }
                println!("ticked for longer than the alarm");
                loop {
                    std::hint::spin_loop();
                }
            };
            smol::block_on(or(keep(1, Duration::from_millis(50)), busy));
        }
        let name = "edgecore::watchdog::tests::an_executor_that_stands_still_ends_the_process";
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(AGAIN, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(said.contains("ticked for longer"), "{said}");
        assert_eq!(ended.status.signal(), Some(Signal::SIGALRM as i32));
    }

    const AGAIN: &str = "KUBEEDGE_TEST_STAND_STILL";
}
