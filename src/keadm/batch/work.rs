//! All devices, some of them at a time, by one thread that waits for what any of them says.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::argv::Way;
use super::error::BatchError;
use super::job::Job;
use super::plan::{Node, Plan};
use super::report::Outcome;

/// Hands over each outcome, with what the device has said, as soon as there is one.
pub fn all(
    plan: &Plan,
    nodes: Vec<&Node>,
    way: &Way,
    patience: Duration,
    mut note: impl FnMut(&Outcome, &[u8]),
) -> Result<Vec<Outcome>, BatchError> {
    let mut waiting: VecDeque<&Node> = nodes.into();
    let (mut running, mut outcomes): (Vec<Job<'_>>, Vec<Outcome>) = (Vec::new(), Vec::new());
    loop {
        while running.len() < plan.parallel
            && let Some(node) = waiting.pop_front()
        {
            let job = Job::begin(node, way, &plan.packages, patience);
            running.push(job.map_err(not_started)?);
        }
        if running.is_empty() {
            return Ok(outcomes);
        }
        let ready = wait(&running).map_err(|errno| BatchError::System(errno.into()))?;
        for at in ready {
            running[at].read();
        }
        let mut at = 0;
        while at < running.len() {
            match running[at].advance().map_err(not_started)? {
                Some(outcome) => {
                    note(&outcome, running[at].log());
                    outcomes.push(outcome);
                    running.swap_remove(at);
                }
                None => at += 1,
            }
        }
    }
}

/// Which of them have something to say.
fn wait(running: &[Job<'_>]) -> Result<Vec<usize>, Errno> {
    let now = Instant::now();
    let until = running.iter().map(Job::until).min().unwrap_or(now);
    let mut left = until.saturating_duration_since(now);
    // A child that has nothing more to say ends in a moment.
    if running.iter().any(|job| job.pipe().is_none()) {
        left = left.min(TICK);
    }
    let talking: Vec<usize> = (0..running.len())
        .filter(|at| running[*at].pipe().is_some())
        .collect();
    let pipes = talking.iter().filter_map(|at| running[*at].pipe());
    let mut fds: Vec<PollFd<'_>> = pipes
        .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
        .collect();
    let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, left) {
        Err(Errno::EINTR) => return Ok(Vec::new()),
        other => other?,
    };
    let speaks = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
    let ready = talking.iter().zip(&fds).filter(|(_, fd)| speaks(fd));
    Ok(ready.map(|(at, _)| *at).collect())
}

fn not_started(error: io::Error) -> BatchError {
    match error.kind() {
        io::ErrorKind::NotFound => BatchError::NoSsh,
        _ => BatchError::System(error),
    }
}

const TICK: Duration = Duration::from_millis(20);
