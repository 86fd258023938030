//! `completion`: scripts that let a shell complete commands and flags, made from the one table.

use std::cmp::Reverse;

use argh::{ArgsInfo, FlagInfoKind, FromArgs};

use super::{COMMANDS, Command, Group, ROLES, service};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "completion",
    group: Group::Anywhere,
    summary: "print completions for bash, zsh or fish",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// which shell
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// bash, zsh or fish
    #[argh(positional)]
    shell: String,
}

fn run(args: &[String], _host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let script = match given.flags.shell.as_str() {
        "bash" => bash(),
        "zsh" => zsh(),
        "fish" => fish(),
        _ => {
            console::complain(SPEC.name, "there are completions for bash, zsh and fish");
            return exit::USAGE;
        }
    };
    console::out(&script);
    exit::OK
}

/// One command as a shell sees it.
struct Entry {
    words: &'static str,
    summary: &'static str,
    flags: Vec<Flag>,
}

struct Flag {
    long: String,
    short: Option<char>,
    value: bool,
    about: &'static str,
}

/// The longest names first, so that `reset edge` is found before `reset`.
fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = COMMANDS
        .iter()
        .map(|command| Entry {
            words: command.name,
            summary: command.summary,
            flags: flags(command),
        })
        .collect();
    entries.extend(CLOUDCORE.iter().map(|(words, summary, flags)| {
        let flag = |long: &&str| Flag {
            long: (*long).to_owned(),
            short: None,
            value: true,
            about: "",
        };
        Entry {
            words,
            summary,
            flags: flags.iter().map(flag).collect(),
        }
    }));
    entries.extend(service::ACTIONS.iter().map(|(words, summary)| Entry {
        words,
        summary,
        flags: flags(&service::COMMAND),
    }));
    entries.sort_by_key(|entry| Reverse(entry.words.split(' ').count()));
    entries
}

fn flags(command: &Command) -> Vec<Flag> {
    let info = (command.info)();
    let spelled = |long: &str| {
        let bare = long.trim_start_matches("--");
        let theirs = command
            .spec
            .spellings
            .iter()
            .find(|(_, ours)| *ours == bare);
        theirs.map_or(bare, |(theirs, _)| theirs).to_owned()
    };
    let shown = info.flags.iter().filter(|flag| !flag.hidden);
    shown
        .map(|flag| Flag {
            long: spelled(flag.long),
            short: flag.short,
            value: matches!(flag.kind, FlagInfoKind::Option { .. }),
            about: flag.description,
        })
        .collect()
}

fn long_flags(entry: &Entry) -> String {
    let longs = entry.flags.iter().map(|flag| format!("--{}", flag.long));
    longs.collect::<Vec<_>>().join(" ")
}

/// The words that may follow the words so far, where these are no whole command line yet.
fn next_words(entries: &[Entry], so_far: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for entry in entries {
        let rest = match so_far {
            "" => Some(entry.words),
            _ => entry
                .words
                .strip_prefix(so_far)
                .and_then(|it| it.strip_prefix(' ')),
        };
        let next = rest.and_then(|rest| rest.split(' ').next());
        words.extend(next.filter(|next| !words.contains(next)));
    }
    words.join(" ")
}

/// Every beginning of a command of several words, such as `reset`.
fn beginnings(entries: &[Entry]) -> Vec<&'static str> {
    let mut all: Vec<&str> = Vec::new();
    for (beginning, _) in entries
        .iter()
        .filter_map(|entry| entry.words.rsplit_once(' '))
    {
        if !all.contains(&beginning) {
            all.push(beginning);
        }
    }
    all
}

fn bash() -> String {
    let entries = entries();
    let roles = role_names();
    let live: String = LIVE
        .iter()
        .map(|(words, flag, values)| match *flag {
            "" => format!("    \"{words}:\"*|\"{words} \"*) live={values} ;;\n"),
            flag => format!("    \"{words}:{flag}\") live={values} ;;\n"),
        })
        .collect();
    let first = next_words(&entries, "");
    let first = first.replace(" cloudcore", "");
    let mut cases = format!("    'kubeedge:') words='{roles} {first}' ;;\n");
    cases.push_str(&format!("    *:) words='{first}' ;;\n"));
    for beginning in beginnings(&entries) {
        let own = entries.iter().find(|entry| entry.words == beginning);
        let flags = own.map(long_flags).unwrap_or_default();
        let next = next_words(&entries, beginning);
        cases.push_str(&format!("    *:'{beginning}') words='{next} {flags}' ;;\n"));
    }
    for entry in &entries {
        // The words of a beginning are above: the first case that fits counts.
        let flags = long_flags(entry);
        cases.push_str(&format!(
            "    *:'{0}'|*:'{0} '*) words='{flags}' ;;\n",
            entry.words
        ));
    }
    BASH.replace("@CASES@", cases.trim_end())
        .replace("@LIVE@", live.trim_end())
}

/// zsh reads the script of bash through its own adapter.
fn zsh() -> String {
    format!("{ZSH_HEAD}{}", bash())
}

fn fish() -> String {
    let entries = entries();
    let mut script = String::from(FISH_HEAD);
    for (role, about) in ROLES {
        script.push_str(&format!(
            "complete -c kubeedge -n '__kubeedge_at \"\"' -a {role} -d '{}'\n",
            fish_quoted(about)
        ));
    }
    for name in ["kubeedge", "keadm"] {
        for entry in &entries {
            if name == "keadm" && entry.words.starts_with("cloudcore ") {
                continue;
            }
            let (before, last) = entry.words.rsplit_once(' ').unwrap_or(("", entry.words));
            script.push_str(&format!(
                "complete -c {name} -n '__kubeedge_at \"{before}\"' -a {last} -d '{}'\n",
                fish_quoted(entry.summary)
            ));
            for flag in &entry.flags {
                let short = flag
                    .short
                    .map(|short| format!(" -s {short}"))
                    .unwrap_or_default();
                let value = if flag.value { " -r" } else { "" };
                script.push_str(&format!(
                    "complete -c {name} -n '__kubeedge_in \"{}\"'{short} -l {}{value} -d '{}'\n",
                    entry.words,
                    flag.long,
                    fish_quoted(flag.about)
                ));
            }
        }
    }
    for (words, flag, values) in LIVE {
        let flag = match *flag {
            "" => "-x".to_owned(),
            flag => format!("-l {} -x", flag.trim_start_matches('-')),
        };
        for name in ["kubeedge", "keadm"] {
            script.push_str(&format!(
                "complete -c {name} -n '__kubeedge_in \"{words}\"' {flag} -a '(__kubeedge_live {values})'\n"
            ));
        }
    }
    script
}

fn fish_quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

fn role_names() -> String {
    let names = ROLES.iter().map(|(name, _)| *name);
    names.collect::<Vec<_>>().join(" ")
}

/// Which command takes, by itself or for a flag, what only this machine knows.
const LIVE: &[(&str, &str, &str)] = &[
    ("token delete", "", "tokens"),
    ("certs revoke", "", "nodes"),
    ("cloudcore ctl delete node", "", "nodes"),
    ("cloudcore ctl label", "", "nodes"),
    ("cloudcore ctl apply", "--node", "nodes"),
    ("rollback edge", "--historical-version", "backups"),
];

/// Commands of cloudcore, which has no table that is seen from here: tests/dispatch.rs tries each.
#[cfg(feature = "cloud")]
const CLOUDCORE: &[(&str, &str, &[&str])] = &[
    (
        "cloudcore ca import",
        "take over a CA",
        &["cert", "key", "force"],
    ),
    (
        "cloudcore ca rotate",
        "replace the CA, step by step",
        &["dry-run", "force"],
    ),
    (
        "cloudcore ca status",
        "which CA counts, and who has followed",
        &[],
    ),
    (
        "cloudcore cert add-san",
        "add names to the serving certificate",
        &[],
    ),
    (
        "cloudcore ctl apply",
        "give objects to nodes",
        &["file", "namespace", "node", "selector"],
    ),
    (
        "cloudcore ctl config-update",
        "change the configuration of nodes",
        &[
            "detach",
            "max-unavailable",
            "name",
            "node",
            "output",
            "pause-on-failure",
            "selector",
            "set",
            "timeout",
        ],
    ),
    (
        "cloudcore ctl delete",
        "delete an object or a node",
        &["force", "namespace"],
    ),
    ("cloudcore ctl delete node", "delete a node", &[]),
    (
        "cloudcore ctl get",
        "show objects",
        &["all-namespaces", "namespace", "output", "selector"],
    ),
    (
        "cloudcore ctl jobs",
        "show upgrades and changes",
        &["cancel", "output", "resume"],
    ),
    ("cloudcore ctl label", "give labels to a node", &[]),
    ("cloudcore ctl nodes", "show all nodes", &["output"]),
    (
        "cloudcore ctl upgrade",
        "upgrade nodes, a few at a time",
        &[
            "detach",
            "digest",
            "image",
            "max-unavailable",
            "name",
            "node",
            "output",
            "pause-on-failure",
            "require-confirmation",
            "selector",
            "timeout",
            "version",
        ],
    ),
];
#[cfg(not(feature = "cloud"))]
const CLOUDCORE: &[(&str, &str, &[&str])] = &[];

static SPEC: Spec = Spec {
    name: "kubeedge completion",
    about: "Prints a script that completes commands and flags of kubeedge and keadm.",
    examples: &[
        "source <(kubeedge completion bash)",
        "kubeedge completion fish > ~/.config/fish/completions/kubeedge.fish",
    ],
    spellings: &[],
    ignored: &[],
};

const BASH: &str = r#"# completion for kubeedge, keadm and cloudcore; files are offered where nothing is known
_kubeedge_live() {
  local first rest number=0
  case "$1" in
    nodes) kubeedge cloudcore ctl nodes ;;
    tokens) kubeedge token list ;;
    backups) echo; ls /etc/kubeedge/backup ;;
  esac 2>/dev/null </dev/null | while read -r first rest; do
    number=$((number + 1))
    # Below the titles; compgen would act on what is no plain word.
    case "$number:$first" in 1:* | *: | *:*[!A-Za-z0-9._-]*) ;; *) echo "$first" ;; esac
  done
}
_kubeedge() {
  local name="${COMP_WORDS[0]##*/}" current="${COMP_WORDS[COMP_CWORD]}" so_far='' word words='' live='' previous
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in
      -*) ;;
      keadm) [ -z "$so_far" ] && [ "$name" = kubeedge ] && name=keadm ;;
      *) so_far="${so_far:+$so_far }$word" ;;
    esac
  done
  [ "$name" = cloudcore ] && so_far="cloudcore${so_far:+ $so_far}"
  case "$name:$so_far" in
@CASES@
  esac
  previous="${COMP_WORDS[COMP_CWORD-1]}"
  case "$so_far:$previous" in
@LIVE@
  esac
  [ -z "$live" ] || case "$current" in -*) ;; *) words="$words $(_kubeedge_live "$live")" ;; esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _kubeedge kubeedge keadm cloudcore
"#;

const ZSH_HEAD: &str = "#compdef kubeedge keadm cloudcore
(( $+functions[compdef] )) || { autoload -U +X compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
";

const FISH_HEAD: &str = r#"# completion for kubeedge and keadm
function __kubeedge_words
  set -l words (commandline -opc)[2..-1]
  set words (string match -v -- '-*' $words)
  if test (count $words) -gt 0; and test $words[1] = keadm
    set -e words[1]
  end
  string join ' ' -- $words
end
function __kubeedge_at
  set -l words (__kubeedge_words)
  test "$words" = "$argv[1]"
end
function __kubeedge_in
  set -l words (__kubeedge_words)
  string match -q -- "$argv[1]*" "$words"
end
function __kubeedge_live
  switch $argv[1]
    case nodes
      kubeedge cloudcore ctl nodes 2>/dev/null | tail -n +2 | string replace -r ' .*' ''
    case tokens
      kubeedge token list 2>/dev/null | tail -n +2 | string replace -r ' .*' ''
    case backups
      ls /etc/kubeedge/backup 2>/dev/null
  end
end
complete -c kubeedge -f
complete -c keadm -f
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_every_script() {
        for script in [bash(), zsh(), fish()] {
            for command in COMMANDS {
                assert!(script.contains(command.name), "{} is missing", command.name);
            }
            assert!(script.contains("output"), "flags are missing");
        }
    }

    #[test]
    fn quotes_can_not_break_out() {
        assert_eq!(fish_quoted(r"the device's \n"), r"the device\'s \\n");
        for entry in entries() {
            assert!(!long_flags(&entry).contains('\''));
        }
    }

    #[test]
    fn words_that_follow() {
        let entry = |words| Entry {
            words,
            summary: "",
            flags: Vec::new(),
        };
        let entries = [entry("certs check"), entry("certs renew"), entry("reset")];
        assert_eq!(next_words(&entries, ""), "certs reset");
        assert_eq!(next_words(&entries, "certs"), "check renew");
        assert_eq!(next_words(&entries, "reset"), "");
        assert_eq!(beginnings(&entries), ["certs"]);
    }
}
