//! Children that this process has not started, or does not know any more: of what it was before an upgrade, and, where it
//! is the first process of a container, of everybody. Nobody else can let them go when they have ended.

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};

/// Lets go of all that have ended, up to the first of those that are waited for elsewhere: after that one's end is seen
/// there, it is time to look again.
pub fn bury(known: &[Option<u32>]) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    for _ in 0..MOST {
        let pid = match waitid(Id::All, look) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
            Err(Errno::EINTR) => continue,
            // There is none, or none that has ended.
            Ok(_) | Err(_) => return,
        };
        let number = u32::try_from(pid.as_raw()).ok();
        if known.contains(&number) || waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
        log::debug!("process {pid}, which was started by another, has ended");
    }
}

/// At a time: a container may have processes that end faster than they can be let go.
const MOST: usize = 1000;
