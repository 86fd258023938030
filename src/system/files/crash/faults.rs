//! Every fault of a disk at every operation of a flow.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

use super::super::{Files, Layer, Operation};

/// What a disk can answer, with the words that a person must read then: cause and remedy.
const FAULTS: &[(Errno, &str, &str)] = &[
    (Errno::ENOSPC, "no space left on device", "free some space"),
    (
        Errno::EROFS,
        "read-only file system",
        "remount it for writing",
    ),
    (Errno::EIO, "I/O error", "look at dmesg"),
    (Errno::EACCES, "permission denied", "run it as root"),
    (Errno::EMFILE, "too many open files", "ulimit -n"),
];

/// One fault at one operation.
pub struct Fault {
    at: usize,
    pub errno: Errno,
    /// Whether it stays, or is gone with the next operation.
    stays: bool,
    seen: AtomicUsize,
    cause: &'static str,
    remedy: &'static str,
}

impl Layer for Fault {
    fn before(&self, operation: Operation) -> io::Result<()> {
        let number = self.seen.fetch_add(1, Ordering::SeqCst);
        let reads = !operation.is_change();
        // These never refuse what only reads.
        let is_of_writing = matches!(self.errno, Errno::ENOSPC | Errno::EROFS);
        let hits = number == self.at || (self.stays && number > self.at);
        match hits && !(reads && is_of_writing) {
            true => Err(self.errno.into()),
            false => Ok(()),
        }
    }
}

/// Runs `flow` on what `setup` makes, with each errno at each operation, once for that operation alone and once from it
/// on; `check` judges what is left of it and starts anew without the fault. Gives their number.
pub fn each_fault<S, O>(
    setup: impl Fn() -> S + Sync,
    flow: impl Fn(&S, Files) -> O + Sync,
    check: impl Fn(S, O, &Fault) + Sync,
) -> usize {
    try_faults(1, setup, flow, check)
}

/// As `each_fault`, with one errno at each operation, each in its turn: for flows that take long. With
/// `KUBEEDGE_LONG` in the environment it leaves nothing out.
pub fn faults_in_turn<S, O>(
    setup: impl Fn() -> S + Sync,
    flow: impl Fn(&S, Files) -> O + Sync,
    check: impl Fn(S, O, &Fault) + Sync,
) -> usize {
    let turns = match std::env::var_os("KUBEEDGE_LONG") {
        Some(_) => 1,
        None => FAULTS.len(),
    };
    try_faults(turns, setup, flow, check)
}

fn try_faults<S, O>(
    turns: usize,
    setup: impl Fn() -> S + Sync,
    flow: impl Fn(&S, Files) -> O + Sync,
    check: impl Fn(S, O, &Fault) + Sync,
) -> usize {
    let with = |turn: usize, stays| {
        let (errno, cause, remedy) = FAULTS[turn];
        for (tried, at) in (turn % turns..).step_by(turns).enumerate() {
            let fault = Arc::new(Fault {
                at,
                errno,
                stays,
                seen: AtomicUsize::new(0),
                cause,
                remedy,
            });
            let state = setup();
            let outcome = flow(&state, Files::with(fault.clone()));
            if fault.seen.load(Ordering::SeqCst) <= at {
                assert!(tried > 0, "the flow does nothing to the disk");
                return tried;
            }
            let checked = AssertUnwindSafe(|| check(state, outcome, &fault));
            if let Err(panic) = catch_unwind(checked) {
                println!("after {fault}");
                resume_unwind(panic);
            }
        }
        unreachable!("a flow ends")
    };
    std::thread::scope(|scope| {
        let kinds = (0..FAULTS.len()).flat_map(|turn| [(turn, false), (turn, true)]);
        let with = &with;
        let each = kinds.map(|(turn, stays)| scope.spawn(move || with(turn, stays)));
        let each: Vec<_> = each.collect();
        let joined = each.into_iter().map(|one| one.join());
        joined
            .map(|one| one.unwrap_or_else(|panic| resume_unwind(panic)))
            .sum()
    })
}

/// Whether a sentence names the cause and the remedy.
pub fn is_clear(sentence: &str, fault: &Fault) -> bool {
    sentence.contains(fault.cause) && sentence.contains(fault.remedy)
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stays = if self.stays { "from" } else { "at" };
        write!(f, "{} {stays} operation {}", self.errno, self.at)
    }
}
