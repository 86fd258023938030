//! A table of commands: which one words name, and what is said when they name none.

use super::{Info, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

/// One command of a role, as it stands in its file; `spec` has its name.
pub struct Command {
    /// One line for lists.
    pub summary: &'static str,
    pub spec: &'static Spec,
    /// Its flags.
    pub info: fn() -> Info,
    /// Gets what follows its name; returns the exit code.
    pub run: fn(&[String], &Host) -> u8,
}

/// Of several names the longest that the words begin with, and how many words it has.
pub fn longest<T: Copy>(
    commands: impl Iterator<Item = (T, &'static str)>,
    words: &[String],
) -> Option<(T, usize)> {
    let fits = |name: &str| {
        let mut given = words.iter();
        let mut name = name.split(' ');
        name.all(|word| given.next().is_some_and(|given| given == word))
    };
    let fitting = commands.filter(|(_, name)| fits(name));
    fitting
        .map(|(command, name)| (command, name.split(' ').count()))
        .max_by_key(|(_, count)| *count)
}

/// For words that begin a name and are none: the names that they begin, when help is asked for; else the sentence
/// that says which there are.
pub fn begun(
    names: impl Iterator<Item = &'static str>,
    words: &[String],
) -> Result<Vec<&'static str>, String> {
    let given: Vec<&str> = words.iter().map(String::as_str).collect();
    let plain = given.split(|word| word.starts_with('-')).next();
    let said = plain.unwrap_or_default().join(" ");
    let first = plain.and_then(|plain| plain.first().copied());
    let first = first.unwrap_or_default();
    let is_below = |name: &&str, start: &str| {
        let rest = name.strip_prefix(start);
        rest.is_some_and(|rest| rest.starts_with(' '))
    };
    let group: Vec<_> = names.filter(|name| is_below(name, first)).collect();
    let those = group.iter().copied().filter(|name| is_below(name, &said));
    let those: Vec<_> = those.collect();
    if those.is_empty() {
        let group = group.join("\", \"");
        let said: String = said.chars().take(MAX_SHOWN).collect();
        return Err(format!("there is no \"{said}\"; there is \"{group}\""));
    }
    match given.contains(&"--help") || given.contains(&"-h") {
        true => Ok(those),
        false => Err(format!("say which: \"{}\"", those.join("\", \""))),
    }
}

/// Says why a command that others have is not here, which is what its help says; the exit code.
pub fn decline(spec: &Spec) -> u8 {
    let mut sentence = spec.about.trim_end_matches('.').to_owned();
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    console::complain(spec.name, &sentence);
    exit::FAILURE
}

/// Prints names with their summaries.
pub fn list(rows: impl Iterator<Item = (&'static str, &'static str)>) {
    rows.for_each(|(name, summary)| _ = console::out(&list_row(name, summary)));
}

/// A line of such a list, or several.
pub fn list_row(name: &str, what: &str) -> String {
    let row = format!("  {name:<19} ");
    match name.len() <= 19 {
        true => row + &super::wrap(what, 22),
        // What is longer than the column has its summary below.
        false => format!("{}\n{:22}{}", row.trim_end(), "", super::wrap(what, 22)),
    }
}

/// Of a word that may be anything.
const MAX_SHOWN: usize = 60;
