//! Log lines for the system's log or on stderr: one event a line, repeats folded, floods and files kept within bounds.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Whence, ftruncate, lseek};
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};

use self::syslog::Syslog;
use self::throttle::{Line, Throttle};
use crate::system::clock::Clock;
use crate::system::root::Root;

mod kind;
#[cfg(feature = "tools")]
mod ring;
#[cfg(not(feature = "tools"))]
#[path = "log/ringless.rs"]
mod ring;
mod syslog;
mod throttle;
mod told;

pub use ring::{begin as remember, passed_on, told as remembered};
pub use told::Told;

/// Starts the log of the program `name`. Called again, it only changes the level.
pub fn init(level: LevelFilter, name: &'static str, root: &Root) {
    let logger = LOGGER.get_or_init(|| Logger::new(name, root));
    // The only error is that it is set already.
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

/// The level that applies: `--log-level`, else `KUBEEDGE_LOG`, else klog's `-v`.
///
/// In klog's scale 0 to 3 are what an operator reads, and 4 and more are for finding faults.
pub fn level(verbosity: u32, named: Option<&str>) -> Result<LevelFilter, UnknownLevel> {
    let from_env = env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    match named.or(from_env.as_deref()) {
        Some(name) => parse_level(name),
        None if verbosity >= 4 => Ok(LevelFilter::Debug),
        None => Ok(LevelFilter::Info),
    }
}

/// `level`, unless the environment names none and the system's own configuration another.
pub fn or_named(level: LevelFilter, named: Option<&str>) -> LevelFilter {
    let is_free = env::var_os(VARIABLE).is_none_or(|value| value.is_empty());
    let named = named.filter(|_| is_free).map(parse_level);
    // One that does not exist is no reason not to start.
    named.and_then(Result::ok).unwrap_or(level)
}

/// Writes what is still held back; for the end of the process.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.flush();
    }
}

/// An environment variable and its value, for a process of ours that shall log where this one does.
pub fn decision() -> (&'static str, &'static str) {
    let logger = LOGGER.get();
    syslog::decision(logger.is_some_and(|logger| logger.syslog.is_some()))
}

/// Writes what is held back as soon as it may be written; for daemons, for as long as they run.
pub async fn attend() {
    let Some(logger) = LOGGER.get() else {
        return std::future::pending().await;
    };
    loop {
        // Both ends live in the logger, so the channel is never closed.
        let _ = logger.held.1.recv().await;
        while let Some(due) = logger.release() {
            Timer::at(due).await;
        }
    }
}

/// A level that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel(String);

impl std::fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "there is no log level {:?}: use off, error, warn, info or debug",
            self.0
        )
    }
}

impl std::error::Error for UnknownLevel {}

struct Logger {
    /// stderr leads to the journal, which adds the time itself.
    journal: bool,
    /// Bytes after which the file that stderr leads to begins anew.
    file_limit: Option<u64>,
    /// Lines go there, as long as anybody listens.
    syslog: Option<Mutex<Syslog>>,
    throttle: Mutex<Throttle>,
    /// Holds an item while something is held back.
    held: (Sender<()>, Receiver<()>),
}

impl Logger {
    fn new(name: &'static str, root: &Root) -> Logger {
        let limit = env::var(FILE_LIMIT_VARIABLE)
            .ok()
            .and_then(|limit| limit.parse().ok());
        Logger {
            journal: syslog::is_journal(),
            file_limit: limit.filter(|_| is_file()),
            syslog: (!syslog::is_journal() && syslog::is_wanted())
                .then(|| Mutex::new(Syslog::new(root.at(syslog::SOCKET), name))),
            throttle: Mutex::new(Throttle::new(Instant::now())),
            held: bounded(1),
        }
    }

    /// Writes what is due of what is held back; gives the time at which more is.
    fn release(&self) -> Option<Instant> {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = throttle.release(Instant::now());
        self.print(&lines);
        throttle.due()
    }

    fn print(&self, lines: &[Line]) {
        let mut text = String::new();
        let mut syslog = self
            .syslog
            .as_ref()
            .map(|it| it.lock().unwrap_or_else(PoisonError::into_inner));
        for line in lines {
            if let Some(syslog) = &mut syslog
                && syslog.say(priority(line.level), &line.text)
            {
                continue;
            }
            let prefix = if self.journal {
                format!("<{}>", priority(line.level))
            } else {
                format!("{} {} ", Clock::system().now(), name(line.level))
            };
            let _ = writeln!(text, "{prefix}{}", line.text);
        }
        if text.is_empty() {
            return;
        }
        let mut stderr = io::stderr().lock();
        if let Some(limit) = self.file_limit {
            keep_within(&stderr, limit);
        }
        // With nobody to read, there is nobody to tell.
        let _ = stderr.write_all(text.as_bytes());
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries below us are of interest only when something is wrong in them.
        metadata.target().starts_with(env!("CARGO_PKG_NAME")) || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let area = record.target().rsplit("::").next().unwrap_or_default();
        let text = clean(&format!("{area}: {}", record.args()));
        ring::note(record.level(), &text);
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = throttle.admit(
            Line {
                level: record.level(),
                text,
            },
            Instant::now(),
        );
        self.print(&lines);
        if throttle.due().is_some() {
            // Full means that it is known already.
            let _ = self.held.0.try_send(());
        }
    }

    fn flush(&self) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = throttle.settle(Instant::now());
        self.print(&lines);
    }
}

/// Escapes what could pretend to be another line or garble a terminal, and bounds the length.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(MAX_LINE));
    for c in text.chars() {
        if clean.len() >= MAX_LINE {
            clean.push('…');
            break;
        }
        if c.is_control() || is_layout(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Line and paragraph separators, and the marks that reverse the direction of text.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn parse_level(name: &str) -> Result<LevelFilter, UnknownLevel> {
    match name.to_ascii_lowercase().as_str() {
        "warning" => Ok(LevelFilter::Warn),
        name => name.parse().map_err(|_| UnknownLevel(clean(name))),
    }
}

/// Of one width, so that lines stand below each other.
fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn ",
        Level::Info => "info ",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Empties a file that has grown beyond `limit` bytes.
fn keep_within(file: impl AsFd, limit: u64) {
    let size = fstat(&file).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
    if size > limit {
        let _ = ftruncate(&file, 0);
        // Who was started with `>` and not `>>` would go on behind a hole.
        let _ = lseek(&file, 0, Whence::SeekSet);
    }
}

fn is_file() -> bool {
    fstat(io::stderr())
        .is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The environment variable that names a level.
pub const VARIABLE: &str = "KUBEEDGE_LOG";
/// Set by whoever starts a daemon with a file as stderr: how many bytes the file may have.
pub const FILE_LIMIT_VARIABLE: &str = "KUBEEDGE_LOG_LIMIT";
/// Bytes.
const MAX_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn lines_can_not_be_forged() {
        assert_eq!(
            clean("a\nb\r\x1b[31m\u{2028}\u{202e}é"),
            "a\\nb\\r\\u{1b}[31m\\u{2028}\\u{202e}é"
        );
        let long = clean(&"é".repeat(10_000));
        assert!(long.len() < MAX_LINE + 8 && long.ends_with('…'));
    }

    #[test]
    fn a_file_stays_within_its_limit() {
        for append in [true, false] {
            let dir = Scratch::new();
            let path = dir.path().join("log");
            let mut options = std::fs::OpenOptions::new();
            let options = options.create(true).write(true).append(append);
            let mut log = options.open(&path).unwrap();
            let mut largest = 0;
            for _ in 0..50 {
                keep_within(&log, 100);
                log.write_all(b"0123456789").unwrap();
                largest = largest.max(log.metadata().unwrap().len());
            }
            assert_eq!(largest, 110);
            assert_eq!(std::fs::read(&path).unwrap(), b"0123456789".repeat(6));
        }
    }

    #[test]
    fn levels() {
        assert_eq!(level(0, Some("debug")), Ok(LevelFilter::Debug));
        assert_eq!(level(9, Some("Warning")), Ok(LevelFilter::Warn));
        let error = level(0, Some("loud\n")).unwrap_err().to_string();
        assert!(
            error.contains("loud") && error.contains("use off"),
            "{error}"
        );
        if env::var_os(VARIABLE).is_none() {
            assert_eq!(level(3, None), Ok(LevelFilter::Info));
            assert_eq!(level(4, None), Ok(LevelFilter::Debug));
        }
    }
}
