//! `config-update`: other values in edgecore.yaml, which a running edgecore has to prove.

use std::fmt;
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::change::{self, ChangeError, Frame, Known, Proof};
use super::device::CONFIG;
use super::hooks::HookError;
use super::out::{self, Format};
use super::{Command, Group, upgrade};
use crate::config::edge::EdgeConfig;
use crate::config::{self, ConfigError, duration, set};
use crate::system::args::{self, Spec};
use crate::system::exit;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::secret::Secret;
use crate::trial::{Event, Trial, TrialError, successor};

pub static COMMAND: Command = Command {
    name: "config-update",
    group: Group::Edge,
    summary: "change values in edgecore.yaml, if they prove themselves",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to change
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// values, such as modules.edgeHub.heartbeat=30; commas separate several
    #[argh(option, arg_name = "key=value")]
    set: Vec<String>,
    /// configuration file (default /etc/kubeedge/config/edgecore.yaml)
    #[argh(option, arg_name = "file", from_str_fn(args::whole))]
    config: Option<PathBuf>,
    /// how long edgecore may take to get a session, such as 90s or 2m; default: 120s
    #[argh(option, arg_name = "duration", from_str_fn(duration::seconds))]
    timeout: Option<u64>,
    /// script to run before anything is changed; nothing is when it fails
    #[argh(option, arg_name = "script", default = "String::new()")]
    pre_run: String,
    /// script to run when all has worked
    #[argh(option, arg_name = "script", default = "String::new()")]
    post_run: String,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let frame = Frame {
        host,
        name: SPEC.name,
        event: Event::ConfigUpdate,
        post_run: &flags.post_run,
        verbosity: given.verbosity,
        output: flags.output,
    };
    if flags.set.iter().all(|text| text.trim().is_empty()) {
        let error = UpdateError::Nothing;
        return frame.fail(&error, error.code());
    }
    // Nothing is written on a machine that has not joined.
    if let Err(error) = read(host, &place(host, &flags)) {
        return frame.fail(&error, error.code());
    }
    let work = |known: &mut Known| update(host, &flags, known);
    frame.run(Known::default(), UpdateError::code, work)
}

fn update(host: &Host, flags: &Flags, known: &mut Known) -> Result<Updated, UpdateError> {
    known.to = version(host);
    let path = place(host, flags);
    let mut waiting = Trial::load(host)?.filter(|it| !known.ran && it.waits(host, &path));
    if waiting.is_none() {
        change::refuse_a_second(host)?;
    }
    let name = path.display().to_string();
    let before = read(host, &path)?;
    let before = String::from_utf8_lossy(&before);
    let mut items = Vec::new();
    for text in &flags.set {
        items.extend(set::parse_items(text)?);
    }
    let (old, _) = EdgeConfig::load(&before, &name)?;
    let after = set::apply(&before, &items, set::Kind::Edge).map_err(|it| it.in_file(&name))?;
    let (new, _) = EdgeConfig::load(&after, &name)?;
    if !new.hub.enable {
        return Err(UpdateError::HubOff);
    }
    change::run_hook(&flags.pre_run)?;
    let mut done = Updated {
        file: path.clone(),
        changed: after != before,
        restarted: false,
        on_trial: false,
    };
    let mode = host.files.mode(&path)?;
    if !done.changed || (old == new && waiting.is_none()) {
        // Nothing that edgecore would do otherwise.
        if done.changed {
            host.files.replace(&path, after.as_bytes(), mode)?;
        }
    } else {
        if let Some(first) = &mut waiting {
            // Both changes are one trial then, and without a session what was before the first one is back.
            first.undo(host, "another change takes its place")?;
        }
        let proof = prove(host, &path, (&after, mode), flags.timeout, known)?;
        done.restarted = proof == Proof::Proven;
        done.on_trial = proof == Proof::Waits;
    }
    Ok(done)
}

fn place(host: &Host, flags: &Flags) -> PathBuf {
    let given = flags.config.clone();
    given.unwrap_or_else(|| host.root.at(CONFIG))
}

/// There may be a token in it.
fn read(host: &Host, path: &Path) -> Result<Secret<Vec<u8>>, UpdateError> {
    let read = host.files.read(path, config::MAX_FILE);
    read.map(Secret::new)
        .map_err(|error| match error.is_not_found() {
            true => UpdateError::Absent(error),
            false => UpdateError::File(error),
        })
}

fn prove(
    host: &Host,
    path: &Path,
    (text, mode): (&str, u32),
    timeout: Option<u64>,
    known: &mut Known,
) -> Result<Proof, UpdateError> {
    host.files
        .replace(&successor(path), text.as_bytes(), mode)?;
    let versions = ("", known.to.as_str());
    let trial = Trial::plan(host, Event::ConfigUpdate, versions, &[(path, false)])?;
    let trial = trial.within(timeout);
    trial.begin(host)?;
    known.is_on_trial = true;
    Ok(change::prove(host, &trial, known.ran)?)
}

fn version(host: &Host) -> String {
    let target = change::program(host);
    let target = target.unwrap_or_else(|_| PathBuf::from("/"));
    upgrade::present(&target).tag()
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    file: PathBuf,
    /// False when the file said all that already.
    changed: bool,
    /// Whether the edgecore that runs has a session with it.
    restarted: bool,
    /// Whether nobody has proved it yet: the next start of edgecore does.
    on_trial: bool,
}

impl out::Report for Updated {
    fn text(&self) -> String {
        let file = self.file.display();
        match (self.changed, self.restarted) {
            (false, _) => format!("{file} says that already: nothing was changed.\n"),
            _ if self.on_trial => {
                format!("{file} is changed. The trial begins with the next start of edgecore.\n")
            }
            (_, true) => format!("{file} is changed, and edgecore has a session with it.\n"),
            (_, false) => format!("{file} is changed; edgecore did not have to start anew.\n"),
        }
    }
}

/// Why nothing is changed.
#[derive(Debug)]
enum UpdateError {
    Nothing,
    HubOff,
    /// This device has no configuration.
    Absent(FileError),
    Change(ChangeError),
    Config(ConfigError),
    File(FileError),
    Hook(HookError),
}

impl UpdateError {
    fn code(&self) -> u8 {
        match self {
            UpdateError::Nothing => exit::USAGE,
            UpdateError::HubOff | UpdateError::Absent(_) | UpdateError::Config(_) => exit::CONFIG,
            UpdateError::Change(error) => error.code(),
            UpdateError::File(error) if error.is_denied() => exit::DENIED,
            UpdateError::File(_) | UpdateError::Hook(_) => exit::FAILURE,
        }
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateError::Nothing => f.write_str(
                "what is to be changed? Give --set, such as --set modules.edgeHub.heartbeat=30",
            ),
            UpdateError::HubOff => {
                f.write_str("modules.edgeHub.enable can't be false: without it nothing runs here")
            }
            UpdateError::Absent(error) => {
                write!(
                    f,
                    "{error}, or join a cloud first: see `kubeedge join --help`"
                )
            }
            UpdateError::Change(error) => error.fmt(f),
            UpdateError::Config(error) => error.fmt(f),
            UpdateError::File(error) => error.fmt(f),
            UpdateError::Hook(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UpdateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UpdateError::Nothing | UpdateError::HubOff => None,
            UpdateError::Change(error) => Some(error),
            UpdateError::Config(error) => Some(error),
            UpdateError::File(error) | UpdateError::Absent(error) => Some(error),
            UpdateError::Hook(error) => Some(error),
        }
    }
}

macro_rules! from {
    ($($variant:ident($error:ty)),* $(,)?) => {$(
        impl From<$error> for UpdateError {
            fn from(error: $error) -> UpdateError {
                UpdateError::$variant(error)
            }
        }
    )*};
}

from!(
    Change(ChangeError),
    Config(ConfigError),
    File(FileError),
    Hook(HookError),
);

impl From<TrialError> for UpdateError {
    fn from(error: TrialError) -> UpdateError {
        UpdateError::Change(error.into())
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge config-update",
    about: "Changes values in edgecore.yaml, comments and all else kept. The whole file is checked first; \
            a running edgecore starts its work anew when the change is one for it, and without a session \
            with the cloud within 120 s the file is as before. Exit code: 69 it was taken back; 75 \
            another change goes on; 78 a value is wrong.",
    examples: &["kubeedge config-update --set modules.edgeHub.heartbeat=30"],
    spellings: &[],
    ignored: &[],
};
