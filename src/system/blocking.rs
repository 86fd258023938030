//! Work that blocks (name lookups, HTTPS exchanges, the disk), on a few threads beside the executor.
//!
//! Each kind has a bound of its own, and one thread is always left for the disk, so that a DNS
//! server that does not answer can't hold up anything else. Threads start when they are needed and
//! end when they are idle.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::{Sender, bounded};

/// What the work waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Disk,
    Dns,
    Https,
}

/// Runs `work` on another thread and gives what it returns.
///
/// After `deadline` the caller gets `TimedOut`; work that had begun goes on to its end, and takes
/// one of the places of its kind until then.
pub async fn run<T: Send + 'static>(
    kind: Kind,
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Blocked> {
    if HERE.get() {
        return Ok(work());
    }
    POOL.run(kind, deadline, work).await
}

/// Within `work`, blocking work is done by the thread that asks for it, without a deadline. For a
/// start that may have no threads yet.
pub fn on_this_thread<T>(work: impl FnOnce() -> T) -> T {
    HERE.set(true);
    let done = work();
    HERE.set(false);
    done
}

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// How many threads there may be in all; at least 2. The default suits a small device.
pub fn set_limit(threads: usize) {
    POOL.lock().limit = threads.max(2);
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Too much of this kind waits already, or no thread can be started.
    Busy,
    /// The work panicked.
    Died,
    TimedOut,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Blocked::Busy => "too much work of this kind waits already: try again later",
            Blocked::Died => "the work ended by a fault of the program: please report it",
            Blocked::TimedOut => "no answer in time: try again later",
        })
    }
}

impl std::error::Error for Blocked {}

struct Pool {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    limit: usize,
    threads: usize,
    /// Threads that wait and have not been woken.
    idle: usize,
    /// Threads that were woken and have not noticed.
    woken: usize,
    running: [usize; KINDS],
    queues: [VecDeque<Job>; KINDS],
}

/// Work of which only the end is told; what it gives goes its own way.
struct Job {
    work: Box<dyn FnOnce() + Send>,
    /// Nothing is ever sent: that it is gone tells the end, of a panic too.
    end: Sender<()>,
}

impl Job {
    fn run(self) {
        if !self.is_abandoned() {
            let _ = catch_unwind(AssertUnwindSafe(self.work));
        }
    }

    /// Nobody waits for the end any more.
    fn is_abandoned(&self) -> bool {
        self.end.is_closed()
    }
}

impl Pool {
    const fn new() -> Pool {
        Pool {
            state: Mutex::new(State {
                limit: DEFAULT_LIMIT,
                threads: 0,
                idle: 0,
                woken: 0,
                running: [0; KINDS],
                queues: [const { VecDeque::new() }; KINDS],
            }),
            wake: Condvar::new(),
        }
    }

    /// Little depends on what the work gives: that little is compiled anew for each kind of it.
    async fn run<T: Send + 'static>(
        &'static self,
        kind: Kind,
        deadline: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Blocked> {
        let result = Arc::new(Mutex::new(None));
        let place = result.clone();
        let work = Box::new(move || {
            let given = work();
            *lock(&place) = Some(given);
        });
        self.wait(kind, deadline, work).await?;
        lock(&result).take().ok_or(Blocked::Died)
    }

    /// Returns when the work has ended, in whatever way.
    async fn wait(
        &'static self,
        kind: Kind,
        deadline: Duration,
        work: Box<dyn FnOnce() + Send>,
    ) -> Result<(), Blocked> {
        let (end, ended) = bounded(1);
        self.submit(kind, Job { work, end })?;
        let ended = async {
            let _ = ended.recv().await;
            Ok(())
        };
        let late = async {
            Timer::after(deadline).await;
            Err(Blocked::TimedOut)
        };
        smol::future::or(ended, late).await
    }

    fn submit(&'static self, kind: Kind, job: Job) -> Result<(), Blocked> {
        let mut state = self.lock();
        let queue = &mut state.queues[kind as usize];
        if queue.len() >= MAX_QUEUE {
            queue.retain(|job| !job.is_abandoned());
        }
        if queue.len() >= MAX_QUEUE {
            return Err(Blocked::Busy);
        }
        queue.push_back(job);
        if !state.may_run(kind) {
            return Ok(());
        }
        if state.idle > 0 {
            state.idle -= 1;
            state.woken += 1;
            self.wake.notify_one();
        } else if state.threads < state.limit {
            if self.start_thread().is_ok() {
                state.threads += 1;
            } else if state.threads == 0 {
                // Nobody is there who could take it later.
                state.queues[kind as usize].pop_back();
                return Err(Blocked::Busy);
            }
        }
        Ok(())
    }

    #[allow(clippy::disallowed_methods)] // The threads of this file are what the rule is about.
    fn start_thread(&'static self) -> std::io::Result<()> {
        let thread = thread::Builder::new()
            .name("blocking".into())
            .stack_size(STACK);
        thread.spawn(|| self.work()).map(drop)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((kind, job)) = state.take() {
                state.running[kind] += 1;
                drop(state);
                job.run();
                state = self.lock();
                state.running[kind] -= 1;
                continue;
            }
            state.idle += 1;
            let end = Instant::now() + IDLE;
            while state.woken == 0 {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    state.idle -= 1;
                    state.threads -= 1;
                    return;
                }
                let waited = self.wake.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            state.woken -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn may_run(&self, kind: Kind) -> bool {
        let all: usize = self.running.iter().sum();
        let besides_disk = all - self.running[Kind::Disk as usize];
        self.running[kind as usize] < (self.limit / 2).max(2)
            && (kind == Kind::Disk || besides_disk + 1 < self.limit)
    }

    fn take(&mut self) -> Option<(usize, Job)> {
        for kind in [Kind::Disk, Kind::Dns, Kind::Https] {
            if self.may_run(kind)
                && let Some(job) = self.queues[kind as usize].pop_front()
            {
                return Some((kind as usize, job));
            }
        }
        None
    }
}

/// No code panics while it holds a lock of this file, so what is poisoned is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

static POOL: Pool = Pool::new();

const KINDS: usize = 3;
/// Threads.
const DEFAULT_LIMIT: usize = 4;
/// Jobs of one kind that wait.
const MAX_QUEUE: usize = 16;
/// Bytes: enough for a TLS handshake, small enough for a device of 32 MB.
const STACK: usize = 512 * 1024;
/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    fn pool() -> &'static Pool {
        Box::leak(Box::new(Pool::new()))
    }

    /// Jobs that run until the sender is dropped.
    fn stuck(
        pool: &'static Pool,
        kind: Kind,
        count: usize,
    ) -> (mpsc::Sender<()>, Vec<smol::Task<()>>) {
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Arc::new(Mutex::new(held));
        let tasks = (0..count).map(|_| {
            let held = held.clone();
            smol::spawn(async move {
                let wait = move || held.lock().unwrap().recv().unwrap_err();
                pool.run(kind, LONG, wait).await.unwrap();
            })
        });
        (release, tasks.collect())
    }

    async fn until(condition: impl Fn() -> bool) {
        let end = Instant::now() + LONG;
        while !condition() {
            assert!(Instant::now() < end, "not reached in time");
            Timer::after(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn gives_the_result() {
        smol::block_on(async {
            assert_eq!(run(Kind::Disk, LONG, || 6 * 7).await, Ok(42));
        });
    }

    #[test]
    fn a_panic_is_a_result_too() {
        smol::block_on(async {
            let pool = pool();
            let panicking = || panic!("on purpose");
            assert_eq!(
                pool.run::<()>(Kind::Dns, LONG, panicking).await,
                Err(Blocked::Died)
            );
            assert_eq!(pool.run(Kind::Dns, LONG, || 1).await, Ok(1));
        });
    }

    #[test]
    fn names_and_https_can_not_starve_the_disk() {
        smol::block_on(async {
            let pool = pool();
            let (dns, dns_tasks) = stuck(pool, Kind::Dns, 5);
            let (https, https_tasks) = stuck(pool, Kind::Https, 5);
            let sum = |pool: &Pool| pool.lock().running.iter().sum::<usize>();
            until(|| sum(pool) == 3).await;
            assert_eq!(pool.run(Kind::Disk, LONG, || 1).await, Ok(1));
            assert_eq!(
                pool.run(Kind::Dns, Duration::ZERO, || 1).await,
                Err(Blocked::TimedOut)
            );
            assert!(pool.lock().threads <= DEFAULT_LIMIT);
            drop((dns, https));
            for task in dns_tasks.into_iter().chain(https_tasks) {
                task.await;
            }
        });
    }

    #[test]
    fn full_queues_say_so_and_forget_who_left() {
        smol::block_on(async {
            let pool = pool();
            let (release, running) = stuck(pool, Kind::Dns, 2);
            until(|| pool.lock().running[Kind::Dns as usize] == 2).await;
            let (release_too, waiting) = stuck(pool, Kind::Dns, MAX_QUEUE);
            until(|| pool.lock().queues[Kind::Dns as usize].len() == MAX_QUEUE).await;
            assert_eq!(pool.run(Kind::Dns, LONG, || 1).await, Err(Blocked::Busy));
            for task in waiting {
                task.cancel().await;
            }
            let late = pool.run(Kind::Dns, Duration::ZERO, || 1).await;
            assert_eq!(late, Err(Blocked::TimedOut));
            drop((release, release_too));
            for task in running {
                task.await;
            }
        });
    }

    #[test]
    fn threads_end_when_idle() {
        smol::block_on(async {
            let pool = pool();
            pool.run(Kind::Https, LONG, || ()).await.unwrap();
            until(|| pool.lock().threads == 0).await;
            assert_eq!(pool.lock().idle, 0);
            pool.run(Kind::Https, LONG, || ()).await.unwrap();
        });
    }
}
