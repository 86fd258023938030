//! The operator's tool: the table of its commands, and the way from words to one of them.

#[cfg(all(feature = "edge", feature = "upgrade"))]
pub mod backup;
#[cfg(feature = "tools")]
mod batch;
#[cfg(feature = "tools")]
mod bygone;
mod certs;
#[cfg(all(feature = "edge", feature = "upgrade"))]
mod change;
#[cfg(feature = "kubernetes")]
mod chart;
#[cfg(feature = "kubernetes")]
mod cloud;
#[cfg(all(feature = "cloud", feature = "kubernetes"))]
mod cluster;
#[cfg(all(feature = "cloud", not(feature = "kubernetes")))]
#[path = "clusterless.rs"]
mod cluster;
mod completion;
#[cfg(any(feature = "kubernetes", feature = "tools"))]
mod config;
#[cfg(all(feature = "edge", feature = "upgrade"))]
mod config_update;
#[cfg(feature = "edge")]
mod ctl;
#[cfg(feature = "edge")]
mod debug;
mod device;
#[cfg(feature = "cloud")]
mod gettoken;
pub mod help;
#[cfg(feature = "edge")]
mod hooks;
#[cfg(feature = "edge")]
mod join;
mod left_out;
pub mod links;
#[cfg(feature = "edge")]
mod lock;
#[cfg(feature = "kubernetes")]
mod manifest;
pub mod out;
#[cfg(all(feature = "edge", feature = "cloud"))]
mod quickstart;
#[cfg(feature = "edge")]
mod reset;
#[cfg(all(feature = "edge", feature = "upgrade"))]
mod rollback;
#[cfg_attr(
    not(feature = "edge"),
    expect(dead_code, reason = "`certs check` alone asks which process it is")
)]
mod running;
mod service;
mod span;
mod status;
#[cfg(test)]
mod testing;
#[cfg(feature = "cloud")]
mod token;
#[cfg(all(feature = "edge", feature = "upgrade"))]
mod upgrade;
mod version;

#[cfg(feature = "edge")]
pub use join::AT_FIRST_BOOT;

use crate::system::args::{self, Info, Spec, nearest};
use crate::system::host::Host;
use crate::system::{console, exit, signals};

/// One command, as it stands in its file.
pub struct Command {
    /// Its words, such as `join` or `reset edge`.
    pub name: &'static str,
    pub group: Group,
    /// One line for the overall screen.
    pub summary: &'static str,
    pub spec: &'static Spec,
    /// Its flags.
    pub info: fn() -> Info,
    /// Gets what follows its name; returns the exit code.
    pub run: fn(&[String], &Host) -> u8,
}

/// Where a command is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Cloud,
    Edge,
    Anywhere,
}

/// All there are, in the order of the overall screen.
pub static COMMANDS: &[&Command] = &[
    #[cfg(feature = "cloud")]
    &gettoken::COMMAND,
    #[cfg(feature = "cloud")]
    &token::CREATE,
    #[cfg(feature = "cloud")]
    &token::LIST,
    #[cfg(feature = "cloud")]
    &token::DELETE,
    #[cfg(feature = "cloud")]
    &certs::revoke::COMMAND,
    #[cfg(feature = "kubernetes")]
    &cloud::init::COMMAND,
    #[cfg(feature = "kubernetes")]
    &manifest::COMMAND,
    #[cfg(feature = "kubernetes")]
    &cloud::upgrade::COMMAND,
    #[cfg(feature = "kubernetes")]
    &cloud::reset::COMMAND,
    #[cfg(feature = "kubernetes")]
    &config::LIST,
    #[cfg(all(feature = "kubernetes", feature = "oci"))]
    &config::PULL,
    #[cfg(feature = "tools")]
    &config::VIEW,
    #[cfg(feature = "tools")]
    &config::VALIDATE,
    #[cfg(feature = "tools")]
    &config::MIGRATE,
    #[cfg(feature = "edge")]
    &join::COMMAND,
    &status::COMMAND,
    #[cfg(feature = "edge")]
    &ctl::GET,
    #[cfg(all(feature = "edge", feature = "upgrade"))]
    &ctl::confirm::CONFIRM,
    #[cfg(all(feature = "edge", feature = "tools"))]
    &ctl::describe::COMMAND,
    #[cfg(all(feature = "edge", feature = "tools"))]
    &ctl::absent::EDIT,
    #[cfg(feature = "edge")]
    &ctl::unhold::POD,
    #[cfg(feature = "edge")]
    &ctl::unhold::NODE,
    #[cfg(feature = "edge")]
    &ctl::absent::LOGS,
    #[cfg(feature = "edge")]
    &ctl::absent::EXEC,
    #[cfg(feature = "edge")]
    &ctl::absent::RESTART,
    #[cfg(feature = "edge")]
    &debug::check::COMMAND,
    #[cfg(all(feature = "edge", feature = "tools"))]
    &debug::get::COMMAND,
    #[cfg(all(feature = "edge", feature = "tools"))]
    &debug::diagnose::COMMAND,
    #[cfg(all(feature = "edge", feature = "tools"))]
    &debug::collect::COMMAND,
    #[cfg(all(feature = "edge", feature = "upgrade"))]
    &upgrade::COMMAND,
    #[cfg(all(feature = "edge", feature = "upgrade"))]
    &rollback::COMMAND,
    #[cfg(all(feature = "edge", feature = "upgrade"))]
    &backup::COMMAND,
    #[cfg(all(feature = "edge", feature = "upgrade"))]
    &config_update::COMMAND,
    #[cfg(feature = "edge")]
    &reset::EDGE,
    #[cfg(feature = "edge")]
    &reset::BARE,
    &certs::renew::COMMAND,
    &certs::check::COMMAND,
    #[cfg(all(feature = "edge", feature = "cloud"))]
    &quickstart::COMMAND,
    #[cfg(feature = "tools")]
    &batch::COMMAND,
    #[cfg(feature = "tools")]
    &batch::generate::COMMAND,
    &service::COMMAND,
    #[cfg(feature = "tools")]
    &bygone::INIT,
    #[cfg(feature = "tools")]
    &bygone::JOIN,
    #[cfg(feature = "tools")]
    &bygone::RESET,
    #[cfg(feature = "tools")]
    &bygone::BETA,
    &version::COMMAND,
    &completion::COMMAND,
    &help::COMMAND,
];

/// The names under which this executable answers besides its own, with what each is.
pub const ROLES: &[(&str, &str)] = &[
    (
        "keadm",
        "the operator's tool: every command above, as keadm COMMAND",
    ),
    #[cfg(feature = "edge")]
    (
        "edgecore",
        "the edge side: certificate, tunnel to the cloud, renewal",
    ),
    #[cfg(feature = "cloud")]
    (
        "cloudcore",
        "the cloud side: certificates and tunnels for edges",
    ),
];

/// The commands of the roles that this tool is not; it completes them too.
pub type Roles = &'static [&'static [&'static args::Command]];

/// Runs the command that the words begin with.
pub fn run(words: &[String], host: &Host, roles: Roles) -> u8 {
    // edgecore, which starts it for jobs, holds some back for itself; nothing that is started here may inherit that.
    signals::let_all_come();
    // What stands before the command belongs to every command: it goes behind its name.
    let (before, words) = words.split_at(leading_flags(words));
    if let Some(flag) = before
        .iter()
        .find(|flag| flag.starts_with('-') && !leads(flag))
    {
        let name = flag.split('=').next().unwrap_or_default();
        console::complain("kubeedge", &format!("unknown flag {name} before a command"));
        return exit::USAGE;
    }
    let asks_help = before.iter().any(|flag| flag == "--help" || flag == "-h");
    match words.first() {
        Some(first) if !asks_help => match find(words) {
            Found::LeftOut(name) => refuse("kubeedge", &left_out::sentence(&name)),
            Found::Command(command, count) => {
                let args = [before, &words[count..]].concat();
                match command.name == completion::COMMAND.name {
                    true => completion::run(&args, roles),
                    false => (command.run)(&args, host),
                }
            }
            Found::Group => group("kubeedge", words),
            Found::Nothing => refuse("keadm", &unknown_command(first, &[])),
        },
        _ if before.iter().any(|flag| flag == "--version") => version::short(),
        _ => help::overall(),
    }
}

/// Whether a command starts with this word.
pub fn has(word: &str) -> bool {
    COMMANDS.iter().any(|command| first_word(command) == word)
}

pub(crate) enum Found {
    /// The command, and how many words name it.
    Command(&'static Command, usize),
    /// It has this name, and no part in this build.
    LeftOut(String),
    /// The words only introduce some, or none.
    Group,
    Nothing,
}

/// The command whose name is the longest beginning of the words.
pub(crate) fn find(words: &[String]) -> Found {
    // Before `reset`, which would take the next word for an argument.
    let name = words.get(..2).unwrap_or_default().join(" ");
    if left_out::has(&name) {
        return Found::LeftOut(name);
    }
    let named = COMMANDS.iter().map(|command| (*command, command.name));
    match args::longest(named, words) {
        Some((command, count)) => Found::Command(command, count),
        None if words.first().is_some_and(|word| has(word)) => Found::Group,
        None => Found::Nothing,
    }
}

/// How many words at the beginning are flags, with their values.
fn leading_flags(words: &[String]) -> usize {
    let mut count = 0;
    while let Some(word) = words.get(count).filter(|word| word.starts_with('-')) {
        count += match word.as_str() {
            "-v" | "--v" => 2,
            _ => 1,
        };
    }
    count.min(words.len())
}

/// Whether a flag may stand before a command.
fn leads(flag: &str) -> bool {
    let name = flag.split('=').next().unwrap_or_default();
    ["--help", "-h", "--version", "--v"].contains(&name) || name.starts_with("-v")
}

/// Lists the commands that the words introduce, or says which there are; the exit code.
pub(crate) fn group(name: &str, words: &[String]) -> u8 {
    match args::begun(COMMANDS.iter().map(|command| command.name), words) {
        Ok(names) => {
            let those = COMMANDS.iter().filter(|it| names.contains(&it.name));
            args::list(those.map(|command| (command.name, command.summary)));
            exit::OK
        }
        Err(sentence) => refuse(name, &sentence),
    }
}

pub(crate) fn refuse(name: &str, sentence: &str) -> u8 {
    console::complain(name, sentence);
    exit::USAGE
}

/// The sentence for a word that is neither a command nor one of `more`.
pub fn unknown_command(word: &str, more: &[&str]) -> String {
    if left_out::has_group(word) {
        return left_out::sentence(word);
    }
    let mut known = Vec::new();
    for name in more
        .iter()
        .copied()
        .chain(COMMANDS.iter().map(|command| first_word(command)))
    {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    let shown: String = word.chars().take(40).collect();
    let exist = known.join(", ");
    match nearest(word, known.iter().copied()) {
        Some(name) => {
            format!("unknown command \"{shown}\": did you mean \"{name}\"? There are {exist}")
        }
        None => format!("unknown command \"{shown}\": there are {exist}"),
    }
}

fn first_word(command: &Command) -> &'static str {
    command.name.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_command_explains_itself() {
        let mut names = HashSet::new();
        for command in COMMANDS {
            assert!(
                names.insert(command.name),
                "{} is there twice",
                command.name
            );
            let spec = command.spec;
            assert_eq!(spec.name, format!("kubeedge {}", command.name));
            assert!(spec.about.ends_with('.'), "{}", spec.name);
            assert!(!spec.examples.is_empty(), "{} has no example", spec.name);
            for example in spec.examples {
                assert!(example.contains(command.name), "{example}");
            }
            assert!(!command.summary.ends_with('.') && command.summary.len() <= 58);
        }
    }

    /// The words of an example that are this program's, without what a shell does around them.
    fn of_example(example: &str, name: &str) -> Vec<String> {
        let start = example.find(&format!("kubeedge {name}"));
        let line = &example[start.expect("its name") + "kubeedge ".len()..];
        let end = [" | ", " > ", " && ", ")"]
            .iter()
            .filter_map(|mark| line.find(mark))
            .min();
        let line = &line[..end.unwrap_or(line.len())];
        let words = line.split(' ').map(|word| word.trim_matches(['\'', '"']));
        words.map(str::to_owned).collect()
    }

    #[test]
    fn every_example_is_understood() {
        for command in COMMANDS {
            for example in command.spec.examples {
                let words = of_example(example, command.name);
                let Found::Command(found, count) = find(&words) else {
                    panic!("{example} is no command");
                };
                assert_eq!(found.name, command.name, "{example}");
                let fault = args::check(found.spec, &(found.info)(), &words[count..]);
                assert_eq!(fault, Ok(()), "{example}");
            }
        }
    }

    #[test]
    fn flags_of_a_command_are_unambiguous() {
        for command in COMMANDS {
            let info = (command.info)();
            let (mut longs, mut shorts) = (HashSet::new(), HashSet::from(['v', 'h']));
            for flag in info.flags {
                let long = flag.long.trim_start_matches("--").to_owned();
                assert!(longs.insert(long), "{} of {}", flag.long, command.name);
                assert!(flag.short.is_none_or(|short| shorts.insert(short)));
            }
            for ignored in command.spec.ignored.iter().copied().flatten() {
                assert!(longs.insert(ignored.long.to_owned()), "{}", ignored.long);
                assert!(ignored.short.is_none_or(|short| shorts.insert(short)));
            }
            for (theirs, ours) in command.spec.spellings {
                assert!(
                    longs.contains(*ours) && longs.insert(theirs.to_string()),
                    "{theirs}"
                );
            }
        }
    }

    #[test]
    fn the_longest_name_wins() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(
            matches!(find(&words("version -o json")), Found::Command(it, 1) if it.name == "version")
        );
        assert!(matches!(find(&words("verzion")), Found::Nothing));
        assert!(matches!(find(&[]), Found::Nothing));
    }

    #[test]
    fn an_unknown_command_gets_a_list_and_a_guess() {
        assert!(unknown_command("verzion", &[]).contains("did you mean \"version\"?"));
        let said = unknown_command("xyzzy", &["keadm"]);
        let (_, listed) = said.split_once("there are ").expect("a list");
        let mut names: Vec<&str> = listed.split(", ").collect();
        assert_eq!(names[0], "keadm");
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{said}");
    }
}
