//! The one table of names this executable answers to, and the choice among them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[cfg(feature = "edge")]
use crate::edgecore;
use crate::keadm;
use crate::keadm::links::{self, Link};
#[cfg(feature = "edge")]
use crate::system::args::Command;
use crate::system::host::Host;
use crate::system::root::Root;
#[cfg(feature = "edge")]
use crate::system::unheld;
use crate::system::{console, exit};

/// A role: what runs under one name.
pub struct Applet {
    pub name: &'static str,
    /// Gets what follows its name; returns the exit code.
    pub run: fn(&[String], &Host) -> u8,
}

/// All there are in this build; `keadm::ROLES` says what each is.
pub static APPLETS: &[Applet] = &[
    Applet {
        name: "keadm",
        run: |args, host| keadm::run(args, host, ROLES),
    },
    #[cfg(feature = "edge")]
    Applet {
        name: "edgecore",
        run: EDGECORE.run,
    },
    #[cfg(feature = "cloud")]
    Applet {
        name: "cloudcore",
        run: crate::cloudcore::run,
    },
];

#[cfg(feature = "edge")]
static EDGECORE: Command = Command {
    summary: "the edge side",
    spec: &edgecore::SPEC,
    info: edgecore::flags,
    run: |args, host| edgecore::run(args, host, keadm::AT_FIRST_BOOT),
};

/// The commands of the roles besides the operator's tool.
static ROLES: keadm::Roles = &[
    #[cfg(feature = "edge")]
    &[&EDGECORE],
    #[cfg(feature = "cloud")]
    &crate::cloudcore::COMMANDS,
    #[cfg(feature = "cloud")]
    &crate::cloudcore::ORDERS,
];

/// Runs what the words of a command line ask for, the program's own name first.
pub fn run(argv: impl Iterator<Item = OsString>) -> u8 {
    let (argv, root) = match readable(argv).and_then(take_root) {
        Ok(taken) => taken,
        Err(sentence) => {
            console::complain(NAME, &sentence);
            return exit::USAGE;
        }
    };
    let host = Host::real(root.map_or_else(Root::from_env, |dir| Root::new(Some(dir))));
    match choose(&argv) {
        Choice::Applet(applet, args) => (applet.run)(args, &host),
        Choice::Explain(applet, words) => {
            (applet.run)(&[words, &["--help".to_owned()]].concat(), &host)
        }
        Choice::Help => keadm::help::overall(),
        Choice::Version => keadm::run(&["version".to_owned()], &host, ROLES),
        Choice::List => list(),
        Choice::Install(args) => install(args, &host),
        #[cfg(feature = "edge")]
        Choice::Program(words) => unheld::become_program(words),
        Choice::Unknown(word) => {
            let roles: Vec<&str> = APPLETS.iter().map(|applet| applet.name).collect();
            console::complain(NAME, &keadm::unknown_command(word, &roles));
            exit::USAGE
        }
    }
}

enum Choice<'a> {
    Applet(&'static Applet, &'a [String]),
    Explain(&'static Applet, &'a [String]),
    Help,
    Version,
    List,
    Install(&'a [String]),
    /// Said by edgecore to itself.
    #[cfg(feature = "edge")]
    Program(&'a [String]),
    Unknown(&'a str),
}

/// By the file name of the first word when it is an applet's, else by the second word.
fn choose(argv: &[String]) -> Choice<'_> {
    let (program, args) = match argv.split_first() {
        Some((program, args)) => (program.as_str(), args),
        None => return Choice::Help,
    };
    let file_name = Path::new(program)
        .file_name()
        .and_then(|name| name.to_str());
    if let Some(applet) = file_name.and_then(named) {
        return Choice::Applet(applet, args);
    }
    let Some((first, rest)) = args.split_first() else {
        return Choice::Help;
    };
    match (first.as_str(), rest.first().and_then(|word| named(word))) {
        ("--help" | "-h", _) => Choice::Help,
        ("--version", _) => Choice::Version,
        ("--list", _) => Choice::List,
        ("--install", _) => Choice::Install(rest),
        #[cfg(feature = "edge")]
        (unheld::WORD, _) => Choice::Program(rest),
        ("help", Some(applet)) => Choice::Explain(applet, &rest[1..]),
        (word, _) => match named(word) {
            Some(applet) => Choice::Applet(applet, rest),
            // Flags that belong to every command may stand before it.
            None if keadm::has(word) || word.starts_with('-') => keadm_with(args),
            None => Choice::Unknown(word),
        },
    }
}

fn named(name: &str) -> Option<&'static Applet> {
    APPLETS.iter().find(|applet| applet.name == name)
}

fn keadm_with(args: &[String]) -> Choice<'_> {
    Choice::Applet(&APPLETS[0], args)
}

/// The words as text; the error is a sentence.
fn readable(argv: impl Iterator<Item = OsString>) -> Result<Vec<String>, String> {
    argv.enumerate()
        .map(|(i, word)| {
            word.into_string().map_err(|word| {
                let shown = word.to_string_lossy().into_owned();
                format!("argument {i} is not UTF-8: \"{shown}\"")
            })
        })
        .collect()
}

/// Takes `--root DIR` out, wherever it stands before `--`; the last one counts.
fn take_root(argv: Vec<String>) -> Result<(Vec<String>, Option<PathBuf>), String> {
    let (mut kept, mut root) = (Vec::with_capacity(argv.len()), None);
    let mut words = argv.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            kept.push(word);
            kept.extend(words.by_ref());
        } else if word == "--root" {
            root = Some(words.next().ok_or("--root needs a folder")?);
        } else if let Some(dir) = word.strip_prefix("--root=") {
            root = Some(dir.to_owned());
        } else {
            kept.push(word);
        }
    }
    Ok((kept, root.map(PathBuf::from)))
}

fn list() -> u8 {
    for applet in APPLETS {
        console::line(applet.name);
    }
    for command in keadm::COMMANDS {
        console::line(command.name);
    }
    exit::OK
}

/// `--install DIR [--force]`: the links, each with what became of it.
fn install(args: &[String], host: &Host) -> u8 {
    let force = args.iter().any(|arg| arg == "--force");
    let mut dirs = args.iter().filter(|arg| *arg != "--force");
    let (Some(dir), None) = (dirs.next(), dirs.next()) else {
        console::complain(NAME, "--install needs one folder, such as /usr/local/bin");
        return exit::USAGE;
    };
    let dir = host.root.at(dir);
    let executable = match std::env::current_exe() {
        Ok(path) => path,
        Err(error) => {
            console::complain(NAME, &format!("can't find out which file this is: {error}"));
            return exit::FAILURE;
        }
    };
    let made = match links::make(&host.files, &dir, &executable, force) {
        Ok(made) => made,
        Err(error) => {
            console::complain(NAME, &error.to_string());
            return exit::FAILURE;
        }
    };
    for (name, link) in &made {
        let path = dir.join(name);
        console::line(&format!("{}: {}", path.display(), outcome(link)));
    }
    match made.iter().any(|(_, link)| *link == Link::Kept) {
        true => exit::FAILURE,
        false => exit::OK,
    }
}

fn outcome(link: &Link) -> String {
    match link {
        Link::Made => "link made".to_owned(),
        Link::AlreadyThere => "link was there already".to_owned(),
        Link::Redirected(old) => format!("link led to {} and leads here now", old.display()),
        Link::Kept => "kept, as it is no link: --force replaces a file".to_owned(),
        Link::Replaced => "file of another program replaced by a link".to_owned(),
    }
}

const NAME: &str = "kubeedge";

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(argv: &[&str]) -> String {
        let argv: Vec<String> = argv.iter().map(|word| word.to_string()).collect();
        match choose(&argv) {
            Choice::Applet(applet, args) => format!("{} {}", applet.name, args.join(" ")),
            Choice::Explain(applet, words) => {
                format!("explain {} {}", applet.name, words.join(" "))
            }
            Choice::Help => "help".to_owned(),
            Choice::Version => "version".to_owned(),
            Choice::List => "list".to_owned(),
            Choice::Install(args) => format!("install {}", args.join(" ")),
            #[cfg(feature = "edge")]
            Choice::Program(words) => format!("program {}", words.join(" ")),
            Choice::Unknown(word) => format!("unknown {word}"),
        }
    }

    #[test]
    fn by_name_or_by_word() {
        for (argv, expected) in [
            (&[][..], "help"),
            (&[""], "help"),
            (&["kubeedge"], "help"),
            (&["kubeedge", "--help"], "help"),
            (&["kubeedge", "-h"], "help"),
            (&["kubeedge", "--version"], "version"),
            (&["kubeedge", "--list"], "list"),
            (&["kubeedge", "--install", "/bin"], "install /bin"),
            (&["keadm"], "keadm "),
            (&["keadm", "version"], "keadm version"),
            (&["/usr/local/bin/keadm", "--list"], "keadm --list"),
            (
                &["./keadm", "version", "-o", "json"],
                "keadm version -o json",
            ),
            (&["../x/keadm/", "version"], "keadm version"),
            (&["kubeedge", "keadm", "version"], "keadm version"),
            (
                &["kubeedge", "version", "-o", "short"],
                "keadm version -o short",
            ),
            (&["kubeedge", "-v", "4", "version"], "keadm -v 4 version"),
            (&["kubeedge", "help", "version"], "keadm help version"),
            (&["kubeedge", "help", "keadm"], "explain keadm "),
            (
                &["kubeedge", "help", "keadm", "version"],
                "explain keadm version",
            ),
            (&["kubeedge-0.1.0-armv7", "version"], "keadm version"),
            (
                &["/opt/kubeedge-0.1.0-armv7", "keadm", "version"],
                "keadm version",
            ),
            (&["keadm.old", "version"], "keadm version"),
            (&["/keadm/kubeedge", "nothing"], "unknown nothing"),
            (&["kubeedge", "keadmx"], "unknown keadmx"),
            (&["kubeedge", "KEADM"], "unknown KEADM"),
            (&["kubeedge", "/bin/keadm"], "unknown /bin/keadm"),
            (&["kubeedge", ""], "unknown "),
        ] {
            assert_eq!(chosen(argv), expected, "{argv:?}");
        }
    }

    #[test]
    fn every_applet_by_every_way() {
        for Applet { name, .. } in APPLETS {
            let expected = format!("{name} --x");
            assert_eq!(chosen(&[name, "--x"]), expected);
            assert_eq!(chosen(&[&format!("/usr/bin/{name}"), "--x"]), expected);
            assert_eq!(chosen(&["kubeedge", name, "--x"]), expected);
        }
    }

    #[test]
    fn the_roles_are_the_applets() {
        let applets: Vec<_> = APPLETS.iter().map(|applet| applet.name).collect();
        let roles: Vec<_> = keadm::ROLES.iter().map(|(name, _)| *name).collect();
        assert_eq!(applets, roles);
        assert_eq!(applets[0], "keadm", "`keadm_with` counts on it");
    }

    #[test]
    fn root_is_taken_out_before_the_dashes() {
        let take = |words: &[&str]| {
            take_root(words.iter().map(|word| word.to_string()).collect())
                .map(|(kept, root)| (kept.join(" "), root))
        };
        let dir = |dir: &str| Some(PathBuf::from(dir));
        assert_eq!(
            take(&["k", "--root", "/a", "join"]),
            Ok(("k join".into(), dir("/a")))
        );
        assert_eq!(
            take(&["k", "join", "--root=/a"]),
            Ok(("k join".into(), dir("/a")))
        );
        assert_eq!(
            take(&["k", "--", "--root", "/a"]),
            Ok(("k -- --root /a".into(), None))
        );
        assert_eq!(
            take(&["k", "--root=a", "--root=b"]),
            Ok(("k".into(), dir("b")))
        );
        assert!(take(&["k", "--root"]).is_err());
    }

    /// No test of its own: those of whole commands start this very program as the one it tests.
    #[test]
    fn acts_as_it_is_told() {
        let Some(words) = std::env::var_os("KUBEEDGE_TEST_ACTS") else {
            return;
        };
        let words = words.into_string().unwrap();
        let code = run(["kubeedge"]
            .into_iter()
            .chain(words.split(' '))
            .map(OsString::from));
        std::process::exit(code.into());
    }
}
