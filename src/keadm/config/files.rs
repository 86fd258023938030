//! `config validate` and `config view`: what is wrong with a configuration file, and what it comes to.

use std::fmt;
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::audit::{Findings, audit};
use crate::config::cloud::CloudConfig;
use crate::config::edge::EdgeConfig;
use crate::config::set::Kind;
use crate::config::veil::Veil;
use crate::config::{ConfigError, MAX_FILE};
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::exit;
use crate::system::files::FileError;
use crate::system::host::Host;
use crate::system::secret::Secret;
use crate::system::yaml::{Document, emit};

pub static VALIDATE: Command = Command {
    name: "config validate",
    group: Group::Anywhere,
    summary: "say what is wrong with edgecore.yaml or cloudcore.yaml",
    spec: &VALIDATE_SPEC,
    info: Flags::get_args_info,
    run: validate,
};

pub static VIEW: Command = Command {
    name: "config view",
    group: Group::Anywhere,
    summary: "show edgecore.yaml or cloudcore.yaml with all defaults",
    spec: &VIEW_SPEC,
    info: Flags::get_args_info,
    run: view,
};

/// which file
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the file; default: edgecore.yaml in /etc/kubeedge/config, else cloudcore.yaml there
    #[argh(option, short = 'c', arg_name = "file", default = "String::new()")]
    config: String,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn validate(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&VALIDATE_SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let (name, format) = (VALIDATE_SPEC.name, given.flags.output);
    let checked = open(host, &given.flags.config).and_then(|file| {
        let shown = file.path.display().to_string();
        let findings = audit(&file.text, &shown, file.kind)?;
        Ok(Checked {
            file: shown,
            valid: findings.faults.is_empty(),
            findings,
        })
    });
    match checked {
        Ok(checked) => {
            out::show(&checked, format);
            match checked.valid {
                true => exit::OK,
                false => exit::CONFIG,
            }
        }
        Err(error) => out::fail(name, &error, given.verbosity, format, error.code()),
    }
}

#[derive(Serialize)]
struct Checked {
    file: String,
    valid: bool,
    #[serde(flatten)]
    findings: Findings,
}

impl Report for Checked {
    fn text(&self) -> String {
        let mut text = String::new();
        for fault in &self.findings.faults {
            let (file, line) = (&self.file, fault.line);
            let key = match fault.key.as_str() {
                "" => String::new(),
                key => format!("{key}: "),
            };
            text.push_str(&format!("{file}:{line}: {key}{}\n", fault.message));
        }
        for warning in &self.findings.warnings {
            text.push_str(&format!("{warning} (no fault)\n"));
        }
        if self.valid {
            text.push_str(&format!("{} is good\n", self.file));
        }
        text
    }
}

fn view(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&VIEW_SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let viewed = open(host, &given.flags.config).and_then(|file| file.whole().map(Viewed));
    let (name, format) = (VIEW_SPEC.name, given.flags.output);
    out::finish(name, given.verbosity, format, viewed, FileFault::code)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Viewed(Value);

impl Report for Viewed {
    fn text(&self) -> String {
        emit::document(&self.0)
    }
}

/// A configuration file as it was read.
pub struct Opened {
    pub path: PathBuf,
    pub kind: Kind,
    pub text: Secret<String>,
}

/// Opens the file that is named, or the one of this machine.
pub fn open(host: &Host, named: &str) -> Result<Opened, FileFault> {
    let read = |path: &Path| host.files.read(path, MAX_FILE).map(Secret::new);
    let (path, bytes) = match named {
        "" => {
            let at = |name: &str| host.root.at(format!("/etc/kubeedge/config/{name}"));
            let (edge, cloud) = (at("edgecore.yaml"), at("cloudcore.yaml"));
            match read(&edge) {
                Err(error) if error.is_not_found() && cloud.exists() => {
                    let bytes = read(&cloud)?;
                    (cloud, bytes)
                }
                Err(error) if error.is_not_found() => return Err(FileFault::Absent(error)),
                bytes => (edge, bytes?),
            }
        }
        path => (PathBuf::from(path), read(Path::new(path))?),
    };
    let text = bytes
        .text()
        .ok_or_else(|| FileFault::NoText(path.clone()))?;
    let text = Secret::new(text.to_owned());
    // The file says whose it is; one that does not, by its name.
    let kind = Document::parse(Veil::over(&text).text(), "").ok();
    let kind = kind.and_then(|it| it.value.get("kind")?.as_str().map(str::to_owned));
    let by_name = path.to_string_lossy().contains("cloud");
    let kind = match kind.as_deref() {
        Some("CloudCore") => Kind::Cloud,
        Some("EdgeCore") => Kind::Edge,
        _ if by_name => Kind::Cloud,
        _ => Kind::Edge,
    };
    Ok(Opened { path, kind, text })
}

impl Opened {
    /// With every default that it does not change, and without what is secret.
    fn whole(&self) -> Result<Value, FileFault> {
        let name = self.path.display().to_string();
        let veil = Veil::over(&self.text);
        let own = Document::parse(veil.text(), &name).map_err(ConfigError::from)?;
        let defaults = match self.kind {
            Kind::Edge => {
                EdgeConfig::load(&self.text, &name)?;
                EdgeConfig::default_yaml("", "127.0.0.1")
            }
            Kind::Cloud => {
                CloudConfig::load(&self.text, &name)?;
                CloudConfig::default_yaml("127.0.0.1")
            }
        };
        let mut whole = Document::parse(&defaults, "")
            .map_err(ConfigError::from)?
            .value;
        lay(&mut whole, own.value);
        hide(&mut whole);
        Ok(whole)
    }
}

/// Puts what a file says over what would be without it.
fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (under, over) => *under = over,
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => hide_in(map),
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

fn hide_in(map: &mut Map<String, Value>) {
    for (key, value) in map {
        let lower = key.to_lowercase();
        let is_secret = lower == "token" || lower.ends_with("password");
        match value.as_str() {
            Some("") => {}
            Some(_) if is_secret => *value = HIDDEN.into(),
            _ => hide(value),
        }
    }
}

/// Why a file can't be shown or checked.
#[derive(Debug)]
pub enum FileFault {
    /// This machine has none, and none was named.
    Absent(FileError),
    Config(ConfigError),
    File(FileError),
    NoText(PathBuf),
}

impl FileFault {
    pub fn code(&self) -> u8 {
        match self {
            FileFault::File(error) if error.is_denied() => exit::DENIED,
            _ => exit::CONFIG,
        }
    }
}

impl From<ConfigError> for FileFault {
    fn from(error: ConfigError) -> FileFault {
        FileFault::Config(error)
    }
}

impl From<FileError> for FileFault {
    fn from(error: FileError) -> FileFault {
        FileFault::File(error)
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileFault::Config(error) => error.fmt(f),
            FileFault::Absent(error) => write!(
                f,
                "{error}, or name another with --config: a device has one once it has joined, and what a \
                 cloud without one goes by `cloudcore --defaultconfig` prints"
            ),
            FileFault::File(error) => error.fmt(f),
            FileFault::NoText(path) => {
                write!(f, "{} is no text: check what it is", path.display())
            }
        }
    }
}

impl std::error::Error for FileFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FileFault::Config(error) => Some(error),
            FileFault::Absent(error) | FileFault::File(error) => Some(error),
            FileFault::NoText(_) => None,
        }
    }
}

const HIDDEN: &str = "***";

static VALIDATE_SPEC: Spec = Spec {
    name: "kubeedge config validate",
    about: "Says everything that is wrong with a configuration file, a line each with its place: keys that nobody knows, which \
            KubeEdge passes over in silence, values of another type, and what edgecore or cloudcore would refuse. The exit code \
            is 78 when there is a fault.",
    examples: &[
        "kubeedge config validate",
        "kubeedge config validate --config ./edgecore.yaml --output json",
    ],
    spellings: &[],
    ignored: &[],
};

static VIEW_SPEC: Spec = Spec {
    name: "kubeedge config view",
    about: "Shows a configuration file as it counts: with every key that it leaves to its default, and without tokens and \
            passwords.",
    examples: &[
        "kubeedge config view",
        "kubeedge config view --config ./cloudcore.yaml --output json",
    ],
    spellings: &[],
    ignored: &[],
};
