//! What a program says on its standard streams; a listener that has gone is no error.

use std::io::{self, BufRead, Read, Write};

/// Writes to stdout as it is; false when nobody reads it any more.
pub fn out(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written.and_then(|()| stdout.flush()).is_ok()
}

/// Writes one line to stdout; false when nobody reads it any more.
pub fn line(text: &str) -> bool {
    out(&format!("{text}\n"))
}

/// Writes one line to stderr, whether anybody reads it or not.
pub fn error(text: &str) {
    let _ = io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

/// Whether a person on stdin goes on; only a clear yes is one.
pub fn confirmed() -> bool {
    error("Go on? [y/N]");
    let mut answer = String::new();
    let read = io::stdin().lock().take(MAX_ANSWER).read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

/// Says on stderr what a command has to say about itself: `kubeedge join: …`.
pub fn complain(name: &str, sentence: &str) {
    error(&format!("{name}: {sentence}"));
}

/// Bytes.
const MAX_ANSWER: u64 = 64;
