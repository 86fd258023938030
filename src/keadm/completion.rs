//! `completion`: scripts that let a shell complete commands and flags, made from the one table.

use std::cmp::Reverse;

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs};

use super::{COMMANDS, Command, Group, ROLES, Roles};
use crate::system::args::{self, Info, Spec};
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "completion",
    group: Group::Anywhere,
    summary: "print completions for bash, zsh or fish",
    spec: &SPEC,
    info: Flags::get_args_info,
    run: |args, _| run(args, &[]),
};

/// which shell
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// bash, zsh or fish
    #[argh(positional)]
    shell: String,
}

/// With the commands of the roles, which the operator's tool does not know by itself.
pub fn run(args: &[String], roles: Roles) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let script = match given.flags.shell.as_str() {
        "bash" => bash(roles),
        "zsh" => zsh(roles),
        "fish" => fish(roles),
        _ => {
            console::complain(SPEC.name, "there are completions for bash, zsh and fish");
            return exit::USAGE;
        }
    };
    console::out(&script);
    exit::OK
}

/// One command as a shell sees it, or words that only introduce some.
struct Entry {
    words: &'static str,
    summary: &'static str,
    info: Option<Info>,
}

/// Every command and every beginning of one, the longest first, so that `reset edge` is found before `reset`.
fn entries(roles: Roles) -> Vec<Entry> {
    let ours = COMMANDS.iter().map(|it| (it.name, it.summary, it.info));
    let roles = roles.iter().copied().flatten();
    let roles = roles.map(|it| (it.spec.name, it.summary, it.info));
    let mut entries: Vec<Entry> = ours
        .chain(roles)
        .map(|(words, summary, info)| Entry {
            words,
            summary,
            info: Some(info()),
        })
        .collect();
    let mut at = 0;
    while let Some(words) = entries.get(at).map(|entry| entry.words) {
        let beginning = words.rsplit_once(' ').map(|(beginning, _)| beginning);
        if let Some(words) = beginning.filter(|it| entries.iter().all(|entry| entry.words != *it)) {
            entries.push(Entry {
                words,
                summary: "",
                info: None,
            });
        }
        at += 1;
    }
    entries.sort_by_key(|entry| Reverse(entry.words.split(' ').count()));
    entries
}

impl Entry {
    /// What help shows.
    fn flags(&self) -> impl Iterator<Item = &'static FlagInfo<'static>> {
        let all = self.info.as_ref().map_or(&[][..], |info| info.flags);
        all.iter().filter(|flag| !flag.hidden && flag.long != HELP)
    }

    /// The words that may follow: of longer commands, and those that the first argument is one of.
    fn next<'a>(&self, entries: &'a [Entry]) -> Vec<&'a str> {
        let first = self.info.as_ref().and_then(|info| info.positionals.first());
        let below = entries.iter().filter_map(|entry| {
            let (before, last) = entry.words.rsplit_once(' ')?;
            (before == self.words).then_some(last)
        });
        let named = first.map(|first| choices(first.description));
        below.chain(named.unwrap_or_default()).collect()
    }
}

/// The words of a description such as "text, json or yaml; default: text"; none of any other.
fn choices(description: &'static str) -> Vec<&'static str> {
    let list = description.split(';').next().unwrap_or_default();
    let words: Vec<&str> = match list.rsplit_once(" or ") {
        Some((before, last)) => before.split(", ").chain([last]).collect(),
        None => Vec::new(),
    };
    // As `rcs, or none (not at boot)` and `jsonpath=PATH` have more than their word.
    let word = |piece: &&'static str| {
        let word = piece.split([',', '=']).next()?.split(" (").next()?;
        let is_plain = word.bytes().all(|byte| byte.is_ascii_lowercase());
        is_plain.then_some(word)
    };
    let words: Option<Vec<&str>> = words.iter().map(word).collect();
    words.unwrap_or_default()
}

fn bash(roles: Roles) -> String {
    let entries = entries(roles);
    let mut live = String::new();
    for (words, flag, values) in LIVE {
        live.push_str(&format!(
            "    \"{words}:{flag}\"|\"{words} \"*\":{flag}\") live={values} ;;\n"
        ));
    }
    let first: Vec<&str> = first_words(&entries).collect();
    let mut cases = format!("    '') words='{}' ;;\n", first.join(" "));
    // The first case that fits counts.
    for entry in &entries {
        let next = entry.next(&entries).join(" ");
        let mut flags = String::new();
        for flag in entry.flags() {
            // With its values behind it, if it takes one.
            let value = match flag.kind {
                FlagInfoKind::Switch => String::new(),
                FlagInfoKind::Option { .. } => format!("={}", choices(flag.description).join(",")),
            };
            flags.extend(flag.short.map(|short| format!(" -{short}{value}")));
            flags.push_str(&format!(" {}{value}", flag.long));
        }
        let words = entry.words;
        cases.push_str(&format!("    '{words}') words='{next}{flags}' ;;\n"));
        if entry.info.is_some() {
            cases.push_str(&format!("    '{words} '*) words='{flags}' ;;\n"));
        }
    }
    let roles: Vec<&str> = ROLES.iter().map(|(name, _)| *name).collect();
    BASH.replace("@CASES@", cases.trim_end())
        .replace("@LIVE@", live.trim_end())
        .replace("@ROLES@", &roles.join(" "))
}

/// What the operator's tool knows; the roles are named beside it.
fn first_words(entries: &[Entry]) -> impl Iterator<Item = &'static str> {
    let words = entries.iter().map(|entry| entry.words);
    words.filter(|words| !words.contains(' ') && ROLES.iter().all(|(role, _)| role != words))
}

/// zsh reads the script of bash through its own adapter.
fn zsh(roles: Roles) -> String {
    format!("{ZSH_HEAD}{}", bash(roles))
}

fn fish(roles: Roles) -> String {
    let entries = entries(roles);
    let mut script = String::from(FISH_HEAD);
    for (role, about) in ROLES {
        script.push_str(&format!(
            "complete -c kubeedge -n '__kubeedge_at \"\"' -a {role} -d '{}'\n",
            fish_quoted(about)
        ));
    }
    let is_role = |entry: &Entry| {
        let first = entry.words.split(' ').next();
        ROLES.iter().any(|(role, _)| first == Some(*role))
    };
    for name in ["kubeedge", "keadm"] {
        script.push_str(&format!(
            "complete -c {name} -f -l help\ncomplete -c {name} -l root -r\ncomplete -c {name} -s v -l v -x\n"
        ));
        for entry in &entries {
            let is_role = is_role(entry);
            if is_role && name == "keadm" {
                continue;
            }
            let words = entry.words;
            match words.rsplit_once(' ') {
                None if is_role => {}
                split => {
                    let (before, last) = split.unwrap_or(("", words));
                    script.push_str(&format!(
                        "complete -c {name} -n '__kubeedge_at \"{before}\"' -a {last} -d '{}'\n",
                        fish_quoted(entry.summary)
                    ));
                }
            }
            let first = entry
                .info
                .as_ref()
                .and_then(|info| info.positionals.first());
            let named = first.map(|first| choices(first.description).join(" "));
            if let Some(named) = named.filter(|named| !named.is_empty()) {
                script.push_str(&format!(
                    "complete -c {name} -n '__kubeedge_at \"{words}\"' -a '{named}'\n"
                ));
            }
            for flag in entry.flags() {
                let short = flag.short.map(|short| format!(" -s {short}"));
                let value = match flag.kind {
                    FlagInfoKind::Switch => String::new(),
                    FlagInfoKind::Option { .. } => match choices(flag.description).join(" ") {
                        any if any.is_empty() => " -r".to_owned(),
                        these => format!(" -x -a '{these}'"),
                    },
                };
                script.push_str(&format!(
                    "complete -c {name} -n '__kubeedge_in \"{words}\"'{} -l {}{value} -d '{}'\n",
                    short.unwrap_or_default(),
                    flag.long.trim_start_matches('-'),
                    fish_quoted(flag.description)
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

/// Which command takes, by itself or for a flag, what only this machine knows.
const LIVE: &[(&str, &str, &str)] = &[
    ("token delete", "", "tokens"),
    ("certs revoke", "", "nodes"),
    ("cloudcore ctl delete node", "", "nodes"),
    ("cloudcore ctl label", "", "nodes"),
    ("cloudcore ctl apply", "--node", "nodes"),
    ("rollback edge", "--historical-version", "backups"),
];

const HELP: &str = "--help";

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
  local name="${COMP_WORDS[0]##*/}" current="${COMP_WORDS[COMP_CWORD]}" so_far='' last='' word
  local words='' offered='' wanted='' values='' live=''
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$last $word" in
      # Of --root=DIR bash makes three words.
      *' =') continue ;;
      '--root '* | '--v '* | '-v '* | *' -'*) ;;
      ' keadm') [ "$name" = kubeedge ] && name=keadm || so_far=keadm ;;
      *) so_far="${so_far:+$so_far }$word" ;;
    esac
    last="$word"
  done
  [ "$current" != = ] || current=''
  case "$name" in cloudcore | edgecore) so_far="$name${so_far:+ $so_far}" ;; esac
  case "$so_far" in
@CASES@
  esac
  [ "$name:$so_far" != kubeedge: ] || words="@ROLES@ $words --install --list --version"
  # A flag with = behind it takes a value, one of these if there are any.
  for word in $words; do
    case "$word" in "$last="*) wanted=1 values="${word#*=}" ;; esac
    offered="$offered ${word%%=*}"
  done
  case "$last" in --root | --v | -v) wanted=1 ;; esac
  case "$current" in -*) offered="$offered --help --root --v" ;; esac
  [ -z "$wanted" ] || offered="${values//,/ }"
  case "$so_far:${wanted:+$last}" in
@LIVE@
  esac
  [ -z "$live" ] || case "$current" in -*) ;; *) offered="$offered $(_kubeedge_live "$live")" ;; esac
  COMPREPLY=($(compgen -W "$offered" -- "$current"))
}
complete -o default -F _kubeedge kubeedge keadm cloudcore edgecore
"#;

const ZSH_HEAD: &str = "#compdef kubeedge keadm cloudcore edgecore
(( $+functions[compdef] )) || { autoload -U +X compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
";

const FISH_HEAD: &str = r#"# completion for kubeedge and keadm
function __kubeedge_words
  set -l words
  set -l last
  for word in (commandline -opc)[2..-1]
    switch "$last $word"
      case '--root *' '--v *' '-v *' '* -*'
      case '*'
        set -a words $word
    end
    set last $word
  end
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
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_every_script() {
        let [bash, zsh, fish] = [bash(&[]), zsh(&[]), fish(&[])];
        for command in COMMANDS {
            let name = command.name;
            assert!(bash.contains(&format!("'{name}')")), "{name} is missing");
            assert!(zsh.contains(&format!("'{name}')")), "{name} is missing");
            let (before, last) = name.rsplit_once(' ').unwrap_or(("", name));
            let row = format!("'__kubeedge_at \"{before}\"' -a {last} ");
            assert!(fish.contains(&row), "{name} is missing");
        }
        assert!(fish.contains("-s o -l output -x -a 'text json'"), "{fish}");
    }

    #[test]
    fn quotes_can_not_break_out() {
        assert_eq!(fish_quoted(r"the device's \n"), r"the device\'s \\n");
        for flag in entries(&[]).iter().flat_map(Entry::flags) {
            assert!(!flag.long.contains('\''));
        }
    }

    #[test]
    fn words_that_follow() {
        let entries = entries(&[]);
        let after = |words: &str| {
            let entry = entries.iter().find(|entry| entry.words == words);
            entry.expect("an entry").next(&entries).join(" ")
        };
        assert_eq!(after("certs renew"), "");
        assert!(after("certs").contains("renew"));
        assert_eq!(after("completion"), "bash zsh fish");
        let first: Vec<&str> = first_words(&entries).collect();
        let count = |name| first.iter().filter(|word| **word == name).count();
        assert_eq!(["certs", "version", "cloudcore"].map(count), [1, 1, 0]);
    }

    #[test]
    fn choices_are_lists_of_plain_words() {
        assert_eq!(choices("text or json; default: text"), ["text", "json"]);
        let all = "install, remove or print";
        assert_eq!(choices(all), ["install", "remove", "print"]);
        let all = "short (the number), jsonpath=PATH, or yaml (of all); default: a line";
        assert_eq!(choices(all), ["short", "jsonpath", "yaml"]);
        for other in [
            "",
            "a node",
            "its name or its address",
            "a file, or - for standard input",
        ] {
            assert!(choices(other).is_empty(), "{other}");
        }
    }
}
