//! What a program says on its standard streams; a listener that has gone is no error.

use std::io::{self, Write};

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

/// Says on stderr what a command has to say about itself: `kubeedge join: …`.
pub fn complain(name: &str, sentence: &str) {
    error(&format!("{name}: {sentence}"));
}
