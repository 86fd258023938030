//! A few named threads that run one executor's tasks, for a program that serves many at once.

use std::future::Future;
use std::thread;

use smol::Executor;
use smol::channel::bounded;

/// Runs `main` to its end on this thread, while `threads - 1` more help with the executor's tasks.
///
/// What was spawned and is not done by then stays in the executor.
pub fn run<T>(
    executor: &Executor<'static>,
    name: &str,
    threads: usize,
    main: impl Future<Output = T>,
) -> T {
    thread::scope(move |scope| {
        // Never written to: its end is what the helpers wait for, also when `main` panics.
        let (running, ended) = bounded::<()>(1);
        for number in 1..threads {
            let ended = ended.clone();
            let helper = thread::Builder::new().name(format!("{name}-{number}"));
            let started = helper.spawn_scoped(scope, move || {
                let _ = smol::block_on(executor.run(ended.recv()));
            });
            if let Err(error) = started {
                log::warn!("only {number} of {threads} threads can be started: {error}");
                break;
            }
        }
        // On the heap: `run` holds what it is given twice, and a stack that has once grown stays in memory.
        let result = smol::block_on(executor.run(Box::pin(main)));
        drop(running);
        result
    })
}

/// How many threads this machine can run at the same time.
pub fn parallelism() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn tasks_run_on_all_threads_at_once() {
        let executor = Executor::new();
        let meeting = Arc::new(Barrier::new(3));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let meeting = meeting.clone();
                executor.spawn(async move { meeting.wait().is_leader() })
            })
            .collect();
        // Each of the three blocks its thread until the others are there.
        let leaders = run(&executor, "test", 4, async {
            let mut leaders = usize::from(meeting.wait().is_leader());
            for task in tasks {
                leaders += usize::from(task.await);
            }
            leaders
        });
        assert_eq!(leaders, 1);
    }
}
