//! Command lines: flags in pflag's spelling, read by argh, faults said in one sentence.

mod command;
mod help;
mod nearest;
mod normal;

use std::error::Error;
use std::path::Component;

use argh::{ArgsInfo, CommandInfoWithArgs, EarlyExit, FromArgs};

pub use command::{Command, begun, decline, list, list_row, longest};
pub use help::text as help_text;
pub use help::wrap;
pub use nearest::nearest;
pub use normal::plain;

use crate::system::{cause, console, exit};

use normal::Normal;

/// What is known of a command besides its flags, which its argh type describes.
pub struct Spec {
    /// As typed after nothing else, such as `kubeedge join`.
    pub name: &'static str,
    /// What it does, in one sentence or a few.
    pub about: &'static str,
    /// Command lines that work.
    pub examples: &'static [&'static str],
    /// Other spellings of its flags, without dashes: `("toVersion", "to-version")`.
    pub spellings: &'static [(&'static str, &'static str)],
    /// Flags that are accepted and ignored.
    pub ignored: &'static [&'static [Ignored]],
}

/// A flag that other programs understand and that has nothing to do here.
pub struct Ignored {
    pub long: &'static str,
    pub short: Option<char>,
    /// Whether a value follows.
    pub value: bool,
    /// Ends the sentence "--x has no effect here: …"; when empty nothing is said.
    pub why: &'static str,
}

/// A command line that was understood.
#[derive(Debug)]
pub struct Given<T> {
    pub flags: T,
    /// The level of `-v`; none when it was not given.
    pub verbosity: Option<u8>,
    /// What to tell about flags without effect, a sentence each.
    pub notes: Vec<String>,
}

/// Why a command does not start.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help was asked for; this is it.
    Help(String),
    /// The sentence that says what is wrong.
    Usage(String),
}

/// Reads the command line, prints help, faults and notes; the error is the exit code to end with.
pub fn enter<T: FromArgs + ArgsInfo>(spec: &Spec, args: &[String]) -> Result<Given<T>, u8> {
    let given = parse(spec, args).map_err(|stop| told(spec, stop))?;
    note(spec, &given.notes);
    Ok(given)
}

/// As `enter`, without printing. It is compiled for each command anew: what does not need the flags' type is elsewhere.
pub fn parse<T: FromArgs + ArgsInfo>(spec: &Spec, args: &[String]) -> Result<Given<T>, Stop> {
    let normal = complete(spec, T::get_args_info, args)?;
    let flags = T::from_args(&[spec.name], &normal.for_argh())
        .map_err(|refusal| refused(&normal, &refusal))?;
    Ok(Given {
        flags,
        verbosity: normal.verbosity,
        notes: normal.notes,
    })
}

/// The words of a command that is to be carried out, with all that it needs.
fn complete(spec: &Spec, info: fn() -> Info, args: &[String]) -> Result<Normal, Stop> {
    let info = info();
    let normal = normal::read(spec, &info, args).map_err(Stop::Usage)?;
    if normal.help {
        return Err(Stop::Help(help::text(spec, &info)));
    }
    normal
        .check_completeness(&info)
        .map_err(|why| Stop::Usage(format!("{why}: see \"{} --help\"", spec.name)))?;
    Ok(normal)
}

fn refused(normal: &Normal, refusal: &EarlyExit) -> Stop {
    Stop::Usage(normal.explain(&refusal.output))
}

/// Prints why a command does not start; the exit code.
fn told(spec: &Spec, stop: Stop) -> u8 {
    match stop {
        Stop::Help(text) => {
            console::out(&text);
            exit::OK
        }
        Stop::Usage(sentence) => {
            console::complain(spec.name, &sentence);
            exit::USAGE
        }
    }
}

fn note(spec: &Spec, notes: &[String]) {
    for note in notes {
        console::complain(spec.name, note);
    }
}

/// Whether a command has these flags and takes as many words; the error is a sentence. Values are not judged.
pub fn check(spec: &Spec, info: &Info, args: &[String]) -> Result<(), String> {
    normal::read(spec, info, args)?.check_completeness(info)
}

/// A flag's file as a path from the top on, which holds for who reads it later and elsewhere. For
/// `#[argh(option, from_str_fn(…))]`.
pub fn whole<T: From<String>>(text: &str) -> Result<T, String> {
    if text.is_empty() {
        return Err("it names no file".to_owned());
    }
    let path = std::path::absolute(text).map_err(|error| cause::of(&error).to_string())?;
    // The system alone knows where `..` leads to from a link.
    let is_crooked = path.components().any(|step| step == Component::ParentDir);
    let folder = path.parent().filter(|_| is_crooked);
    let straight = folder.and_then(|folder| std::fs::canonicalize(folder).ok());
    let path = match (straight, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    };
    let name = path.into_os_string().into_string();
    name.map(T::from)
        .map_err(|_| "the name of its folder is no UTF-8: give the whole path".to_owned())
}

/// Prints why a command failed, with the chain of causes from `-v 1` on; returns `code`.
pub fn fail(name: &str, error: &dyn Error, verbosity: Option<u8>, code: u8) -> u8 {
    console::complain(name, &error.to_string());
    if verbosity.unwrap_or(0) > 0 {
        let mut cause = error.source();
        while let Some(error) = cause {
            console::complain(name, &format!("because of: {error}"));
            cause = error.source();
        }
    }
    code
}

/// The flags of a type, for help and completion tables.
pub type Info = CommandInfoWithArgs;

/// Flags of klog that a daemon accepts without acting on them: the log goes to stderr, always.
pub const KLOG: &[Ignored] = &[
    quiet("vmodule", true),
    quiet("log-flush-frequency", true),
    quiet("log-backtrace-at", true),
    quiet("log-dir", true),
    quiet("log-file", true),
    quiet("log-file-max-size", true),
    quiet("stderrthreshold", true),
    quiet("logtostderr", false),
    quiet("alsologtostderr", false),
    quiet("one-output", false),
    quiet("skip-headers", false),
    quiet("skip-log-headers", false),
    quiet("add-dir-header", false),
];

const fn quiet(long: &'static str, value: bool) -> Ignored {
    Ignored {
        long,
        short: None,
        value,
        why: "",
    }
}

#[cfg(test)]
mod tests;
