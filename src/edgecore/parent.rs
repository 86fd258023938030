//! The hub's side of the connection to the supervisor, which is its parent process.
//!
//! The hub may have given up the rights that some of its work needs; for that it asks here.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use smol::Async;
use smol::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::system::processes::Peer;
use crate::system::{notify, signals};

/// Standard input, where the supervisor has put its connection.
pub struct Parent {
    stream: UnixStream,
    pid: u32,
    answers: Sender<String>,
}

/// Why this is no process that a supervisor has started.
#[derive(Debug, PartialEq, Eq)]
pub enum NoParent {
    /// It was started by hand.
    NoConnection,
    /// The supervisor is gone already.
    Gone,
}

/// What only the supervisor may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Erase the token everywhere, since the identity is safe.
    EraseToken,
    /// Let the hub's user read the configuration and the token, which somebody may have replaced.
    LetRead,
}

impl Order {
    pub const ALL: [Order; 2] = [Order::EraseToken, Order::LetRead];

    /// The line that says it.
    pub fn word(self) -> &'static str {
        match self {
            Order::EraseToken => "order erase-token",
            Order::LetRead => "order let-read",
        }
    }
}

/// Has the supervisor do it, and waits for that; none when this process has no supervisor. The
/// error is a sentence.
pub fn ask(order: Order) -> Option<Result<(), String>> {
    ask_to(order.word())
}

/// The same for an order in other words, which are one line.
pub fn ask_to(order: &str) -> Option<Result<(), String>> {
    let desk = DESK.get()?;
    // One at a time: answers have no other address.
    let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
    // An answer that came too late was not for this question.
    while desk.answers.try_recv().is_ok() {}
    let line = format!("{order}\n");
    if let Err(error) = desk.stream.write_all(line.as_bytes()) {
        return Some(Err(format!("the supervisor can't be asked: {error}")));
    }
    Some(match desk.answers.recv_timeout(PATIENCE) {
        Ok(answer) if answer == DONE => Ok(()),
        Ok(answer) => Err(answer),
        Err(_) => Err("the supervisor gives no answer: restart edgecore".to_owned()),
    })
}

/// What the supervisor says without having been asked next.
pub async fn news() -> String {
    // Both ends live as long as the process.
    desk_of_news().1.recv().await.unwrap_or_default()
}

/// What it said before is of no interest any more.
pub fn forget_news() {
    while desk_of_news().1.try_recv().is_ok() {}
}

/// More than a hub waits for: what comes beyond is dropped.
fn desk_of_news() -> &'static (
    smol::channel::Sender<String>,
    smol::channel::Receiver<String>,
) {
    static NEWS: OnceLock<(
        smol::channel::Sender<String>,
        smol::channel::Receiver<String>,
    )> = OnceLock::new();
    NEWS.get_or_init(|| smol::channel::bounded(16))
}

struct Desk {
    stream: UnixStream,
    answers: Receiver<String>,
}

static DESK: OnceLock<Mutex<Desk>> = OnceLock::new();

impl Parent {
    /// To be called once, early, and before there is any thread.
    pub fn meet() -> Result<Parent, NoParent> {
        let stdin = io::stdin();
        let supervisor = Peer::of(&stdin).map_err(|_| NoParent::NoConnection)?;
        let [stream, words, orders] = three(&stdin).map_err(|_| NoParent::NoConnection)?;
        notify::through(words);
        let (sender, receiver) = channel();
        let _ = DESK.set(Mutex::new(Desk {
            stream: orders,
            answers: receiver,
        }));
        let parent = Parent {
            stream,
            pid: supervisor.pid,
            answers: sender,
        };
        parent.die_together()?;
        // Told from the supervisor in ps and top.
        let _ = prctl::set_name(c"edgecore-hub");
        Ok(parent)
    }

    /// Has the kernel end us when the supervisor ends, however it does. To be called again after
    /// every change of the user, which makes the kernel forget it.
    pub fn die_together(&self) -> Result<(), NoParent> {
        // A kernel that can't leaves us the end of the connection.
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        // It may have ended just before.
        let parent = u32::try_from(getppid().as_raw()).unwrap_or(0);
        // Zero: it lives in a namespace that we can't see.
        match self.pid == parent || self.pid == 0 {
            true => Ok(()),
            false => Err(NoParent::Gone),
        }
    }

    /// Lets the signals come that the supervisor holds back for itself; to be called when somebody waits for
    /// them. One that came before comes now, and does not end a process that was not ready for it.
    pub fn let_signals_come() {
        signals::let_all_come();
    }

    /// The process that the init system knows.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Takes the supervisor's answers; returns when it is gone.
    pub async fn gone(&self) {
        let stream = match self.stream.try_clone().and_then(Async::new) {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!("the end of the supervisor will not be noticed: {error}");
                return smol::future::pending().await;
            }
        };
        let mut lines = BufReader::with_capacity(MAX_ANSWER, stream);
        let mut is_rest = false;
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut lines).take(MAX_ANSWER as u64);
            match bounded.read_until(b'\n', &mut line).await {
                Ok(length) if length > 0 => {}
                _ => return,
            }
            // What a line has too much of is no line of its own.
            if std::mem::replace(&mut is_rest, !line.ends_with(b"\n")) {
                continue;
            }
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().strip_prefix(NEWS) {
                Some(news) => drop(desk_of_news().0.try_send(news.to_owned())),
                None => drop(self.answers.send(line.trim_end().to_owned())),
            }
        }
    }
}

/// The same connection three times, which nothing may block on.
fn three(stdin: &impl AsFd) -> io::Result<[UnixStream; 3]> {
    let stream = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    Ok([stream.try_clone()?, stream.try_clone()?, stream])
}

/// The supervisor's answer when an order was carried out; any other is a sentence that says why
/// it was not.
pub const DONE: &str = "done";
/// Begins a line that is no answer.
pub const NEWS: &str = "news ";
/// For the supervisor to write two files.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a line; what is longer is cut.
const MAX_ANSWER: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_neither_an_end_nor_an_answer() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let (sender, answers) = channel();
        let parent = Parent {
            stream: ours,
            pid: 0,
            answers: sender,
        };
        // The bound lies in the middle of a letter.
        let news = format!("{NEWS}{}{}\n", "x".repeat(1018), "\u{e9}".repeat(1500));
        theirs.write_all(news.as_bytes()).unwrap();
        theirs.write_all(b"done\nno\xff\n").unwrap();
        drop(theirs);
        smol::block_on(parent.gone());
        let answers: Vec<String> = answers.try_iter().collect();
        assert_eq!(answers, [DONE, "no\u{fffd}"]);
    }
}
