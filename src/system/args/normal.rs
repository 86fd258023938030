//! From pflag's spelling of a command line to the one argh reads, by the table of argh itself.

use std::slice::Iter;

use argh::{FlagInfo, FlagInfoKind, Optionality};

use super::{Ignored, Info, Spec, nearest};

/// A command line whose flags are known, in order, each with its value.
pub struct Normal {
    /// Long name with dashes, and the value unless it is a switch.
    options: Vec<(String, Option<String>)>,
    positionals: Vec<String>,
    pub help: bool,
    pub verbosity: Option<u8>,
    pub notes: Vec<String>,
}

/// The error is a sentence.
pub fn read(spec: &Spec, info: &Info, args: &[String]) -> Result<Normal, String> {
    let mut reader = Reader {
        spec,
        info,
        rest: args.iter(),
        normal: Normal {
            options: Vec::new(),
            positionals: Vec::new(),
            help: false,
            verbosity: None,
            notes: Vec::new(),
        },
    };
    while let Some(arg) = reader.rest.next() {
        if arg == "--" {
            let rest = reader.rest.by_ref().cloned();
            reader.normal.positionals.extend(rest);
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let flag = reader.find_long(name)?;
            reader.take(&format!("--{name}"), flag, value)?;
        } else if arg.len() > 1 && arg.starts_with('-') {
            reader.short_group(&arg[1..])?;
        } else {
            reader.normal.positionals.push(arg.clone());
        }
    }
    Ok(reader.normal)
}

struct Reader<'a> {
    spec: &'a Spec,
    info: &'a Info,
    rest: Iter<'a, String>,
    normal: Normal,
}

enum Flag<'a> {
    Help,
    Verbosity,
    Known(&'a FlagInfo<'static>),
    Ignored(&'a Ignored),
}

impl<'a> Reader<'a> {
    fn find_long(&self, given: &str) -> Result<Flag<'a>, String> {
        self.exactly(given)
            .or_else(|| self.exactly(&given.replace('_', "-")))
            .ok_or_else(|| self.unknown(given))
    }

    fn exactly(&self, given: &str) -> Option<Flag<'a>> {
        let spellings = self.spec.spellings.iter();
        let name = spellings
            .filter(|(theirs, _)| *theirs == given)
            .map(|(_, ours)| *ours)
            .next()
            .unwrap_or(given);
        let known = self.info.flags.iter().find(|flag| bare(flag) == name);
        match (name, known) {
            ("help", _) => Some(Flag::Help),
            (_, Some(flag)) => Some(Flag::Known(flag)),
            ("v", None) => Some(Flag::Verbosity),
            (_, None) => self.ignored(|flag| flag.long == name),
        }
    }

    fn find_short(&self, short: char) -> Option<Flag<'a>> {
        let known = self.info.flags.iter();
        match known.into_iter().find(|flag| flag.short == Some(short)) {
            Some(flag) => Some(Flag::Known(flag)),
            None if short == 'h' => Some(Flag::Help),
            None if short == 'v' => Some(Flag::Verbosity),
            None => self.ignored(|flag| flag.short == Some(short)),
        }
    }

    fn ignored(&self, fits: impl Fn(&Ignored) -> bool) -> Option<Flag<'a>> {
        let mut all = self.spec.ignored.iter().copied().flatten();
        all.find(|flag| fits(flag)).map(Flag::Ignored)
    }

    fn unknown(&self, given: &str) -> String {
        let theirs = self.spec.spellings.iter().map(|(theirs, _)| *theirs);
        let known = self.info.flags.iter().filter(|flag| !flag.hidden);
        match nearest(given, known.map(bare).chain(theirs)) {
            Some(name) => format!("unknown flag --{given}; did you mean --{name}?"),
            None => format!(
                "unknown flag --{given}: \"{} --help\" lists those there are",
                self.spec.name
            ),
        }
    }

    /// `-f`, `-fy`, `-e x`, `-ex`, `-e=x`: as pflag, the first that takes a value takes the rest.
    fn short_group(&mut self, group: &str) -> Result<(), String> {
        let mut letters = group.chars();
        while let Some(letter) = letters.next() {
            let shown = format!("-{letter}");
            let flag = self.find_short(letter).ok_or_else(|| {
                let name = self.spec.name;
                format!("unknown flag {shown}: \"{name} --help\" lists those there are")
            })?;
            let rest = letters.as_str();
            let value = match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if takes_value(&flag) && !rest.is_empty() => Some(rest),
                None => None,
            };
            self.take(&shown, flag, value.map(str::to_owned))?;
            if value.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, shown: &str, flag: Flag, value: Option<String>) -> Result<(), String> {
        let value = match (takes_value(&flag), value) {
            (true, None) => Some(match self.rest.next() {
                Some(value) => value.clone(),
                None => return Err(format!("{shown} needs a value")),
            }),
            (_, value) => value,
        };
        match flag {
            Flag::Help => self.normal.help = switch(shown, value)?,
            Flag::Verbosity => self.normal.verbosity = Some(level(&value.unwrap_or_default())?),
            Flag::Ignored(flag) => self.normal.note(flag),
            Flag::Known(flag) => match (&flag.kind, value) {
                (FlagInfoKind::Switch, value) => {
                    let on = switch(shown, value)?;
                    self.normal.options.retain(|(long, _)| long != flag.long);
                    if on {
                        self.normal.options.push((flag.long.to_owned(), None));
                    }
                }
                (FlagInfoKind::Option { .. }, value) => {
                    // Of several values for one flag pflag takes the last, argh refuses them.
                    if flag.optionality != Optionality::Repeating {
                        self.normal.options.retain(|(long, _)| long != flag.long);
                    }
                    self.normal.options.push((flag.long.to_owned(), value));
                }
            },
        }
        Ok(())
    }
}

impl Normal {
    /// The words for `FromArgs::from_args`; no positional can be taken for a flag or for help.
    pub fn for_argh(&self) -> Vec<&str> {
        let options = self.options.iter();
        let mut words: Vec<&str> = options
            .flat_map(|(long, value)| [Some(long.as_str()), value.as_deref()])
            .flatten()
            .collect();
        words.push("--");
        words.extend(self.positionals.iter().map(String::as_str));
        words
    }

    /// Whether all that is required is there and nothing is left over; the error is a sentence.
    pub fn check_completeness(&self, info: &Info) -> Result<(), String> {
        for flag in info.flags {
            let FlagInfoKind::Option { arg_name } = flag.kind else {
                continue;
            };
            let given = self.options.iter().any(|(long, _)| long == flag.long);
            if flag.optionality == Optionality::Required && !given {
                return Err(format!(
                    "{} {} is missing",
                    flag.long,
                    arg_name.to_uppercase()
                ));
            }
        }
        let required = |name: &&argh::PositionalInfo| name.optionality == Optionality::Required;
        if let Some(missing) = info
            .positionals
            .iter()
            .filter(required)
            .nth(self.positionals.len())
        {
            return Err(format!("{} is missing", missing.name.to_uppercase()));
        }
        let endless = info.positionals.last().is_some_and(|last| {
            matches!(
                last.optionality,
                Optionality::Repeating | Optionality::Greedy
            )
        });
        match self.positionals.get(info.positionals.len()) {
            Some(extra) if !endless => Err(format!("unexpected argument {}", shown(extra))),
            _ => Ok(()),
        }
    }

    /// argh's refusal of a value, in one sentence that shows no secret.
    pub fn explain(&self, refusal: &str) -> String {
        for (long, value) in &self.options {
            let value = value.as_deref().unwrap_or_default();
            let prefix = format!("Error parsing option '{long}' with value '{value}': ");
            if let Some(reason) = refusal.strip_prefix(&prefix) {
                let reason = plain(reason.trim_end(), long);
                let secret = long.contains("token") || long.contains("password");
                return match secret {
                    true => format!("the value of {long} can't be used: {reason}"),
                    false => format!("{long} can't be {}: {reason}", shown(value)),
                };
            }
        }
        for value in &self.positionals {
            let marker = format!("' with value '{value}': ");
            if let Some((_, reason)) = refusal.split_once(&marker) {
                let reason = plain(reason.trim_end(), "");
                return format!("{} can't be used: {reason}", shown(value));
            }
        }
        refusal.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn note(&mut self, flag: &Ignored) {
        let note = format!("--{} has no effect here: {}", flag.long, flag.why);
        if !flag.why.is_empty() && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// What Rust says of a value, in words for people who give one to a flag.
pub fn plain<'a>(reason: &'a str, flag: &str) -> &'a str {
    match reason {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "a whole number is wanted"
        }
        "number too large to fit in target type" => match flag.ends_with("port") {
            true => "it is at most 65535",
            false => "the number is too large",
        },
        "invalid IP address syntax" => "an IP address is wanted",
        other => other,
    }
}

fn takes_value(flag: &Flag) -> bool {
    match flag {
        Flag::Help => false,
        Flag::Verbosity => true,
        Flag::Known(flag) => matches!(flag.kind, FlagInfoKind::Option { .. }),
        Flag::Ignored(flag) => flag.value,
    }
}

fn bare(flag: &FlagInfo<'static>) -> &'static str {
    flag.long.trim_start_matches("--")
}

fn level(value: &str) -> Result<u8, String> {
    let level: Result<i32, _> = value.parse();
    let level = level.map_err(|_| format!("-v takes a number, not {}", shown(value)))?;
    Ok(level.clamp(0, 10) as u8)
}

fn switch(shown: &str, value: Option<String>) -> Result<bool, String> {
    let on = value.map_or(Some(true), |value| boolean(&value));
    on.ok_or_else(|| format!("{shown} takes true or false"))
}

/// In any of the spellings of Go.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// In quotes; what is long may be a token in the wrong place, and only its start is shown.
fn shown(value: &str) -> String {
    match value.char_indices().nth(40) {
        Some(_) => {
            let start: String = value.chars().take(8).collect();
            format!("\"{}…\"", start.escape_debug())
        }
        None => format!("\"{}\"", value.escape_debug()),
    }
}
