//! `backup edge`: the executable, the configuration and the identity of this device, to go back to.

mod error;
mod kept;

use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::change::{self, Frame, Known};
use super::device::{self, CONFIG, Device};
use super::out::{self, Format};
use super::upgrade::{self, Version};
use super::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::trial::Event;
pub use error::BackupError;
pub use kept::{Entry, Kept, Kind, all, read};
use kept::{Wanted, prune, write};

pub static COMMAND: Command = Command {
    name: "backup edge",
    group: Group::Edge,
    summary: "keep executable, configuration and identity",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to keep
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// show the backups that there are, and make none
    #[argh(switch)]
    list: bool,
    /// so many backups stay, the newest ones; default: all
    #[argh(option, arg_name = "number")]
    keep: Option<usize>,
    /// configuration file (default /etc/kubeedge/config/edgecore.yaml)
    #[argh(option, arg_name = "file", from_str_fn(args::whole))]
    config: Option<String>,
    /// script to run before; no backup is made when it fails
    #[argh(option, arg_name = "script", default = "String::new()")]
    pre_run: String,
    /// script to run when the backup is made
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
    if flags.list {
        let listed = all(host, &host.root.at(FOLDER)).map(|backups| Listed { backups });
        let code = BackupError::code;
        return out::finish(SPEC.name, given.verbosity, flags.output, listed, code);
    }
    let frame = Frame {
        host,
        name: SPEC.name,
        event: Event::Backup,
        post_run: &flags.post_run,
        verbosity: given.verbosity,
        output: flags.output,
    };
    // Nothing is written on a machine that has not joined.
    if let Err(error) = device::load(host, flags.config.as_deref()) {
        let error = BackupError::from(error);
        return frame.fail(&error, error.code());
    }
    let work = |known: &mut Known| backup(host, &flags, known);
    frame.run(Known::default(), BackupError::code, work)
}

fn backup(host: &Host, flags: &Flags, known: &mut Known) -> Result<Made, BackupError> {
    let target = change::program(host)?;
    let present = upgrade::present(&target);
    known.to = present.tag();
    change::run_hook(&flags.pre_run)?;
    let folder = make(host, FOLDER, flags.config.as_deref(), &present)?;
    let removed = match flags.keep {
        Some(count) => prune(host, &host.root.at(FOLDER), count, &folder)?,
        None => Vec::new(),
    };
    known.kept = folder.display().to_string();
    Ok(Made {
        version: present.tag(),
        folder,
        removed,
    })
}

/// Keeps what is here below `top`, in a folder named after the version; gives that folder.
pub fn make(
    host: &Host,
    top: &str,
    config: Option<&str>,
    present: &Version,
) -> Result<PathBuf, BackupError> {
    let target = change::program(host)?;
    let (read, _) = device::load(host, config)?;
    let device = Device::of(host, &read)?;
    let config = config.map_or_else(|| host.root.at(CONFIG), PathBuf::from);
    let wanted = [
        (Kind::Program, target.as_path(), true),
        (Kind::Config, &config, true),
        // A device that has not been let in yet has none.
        (Kind::Identity, &device.key, false),
        (Kind::Identity, &device.certificate, false),
        (Kind::Identity, &device.ca, false),
    ];
    let wanted: Vec<Wanted<'_>> = wanted
        .into_iter()
        .filter(|(_, path, must)| *must || host.files.exists(path))
        .map(|(kind, path, _)| Wanted { kind, path })
        .collect();
    let folder = host.root.at(Path::new(top).join(present.tag()));
    write(host, &folder, &present.tag(), device.node.as_str(), &wanted)?;
    Ok(folder)
}

/// What was made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    version: String,
    folder: PathBuf,
    /// Versions whose backups were removed.
    removed: Vec<String>,
}

impl out::Report for Made {
    fn text(&self) -> String {
        let mut text = format!("{} is kept in {}.\n", self.version, self.folder.display());
        for version in &self.removed {
            text += &format!("Removed the backup of {version}.\n");
        }
        text
    }
}

/// What there is, the newest first.
#[derive(Debug, Serialize)]
struct Listed {
    backups: Vec<Kept>,
}

impl out::Report for Listed {
    fn text(&self) -> String {
        if self.backups.is_empty() {
            return "There are no backups.\n".to_owned();
        }
        let line = |kept: &Kept| format!("{}  {}  {}\n", kept.version, kept.created, kept.node);
        self.backups.iter().map(line).collect()
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge backup edge",
    about: "Keeps the executable, edgecore.yaml and the identity with their modes and digests in \
            /etc/kubeedge/backup/VERSION, for `kubeedge rollback edge`. A second backup of the same \
            version takes the place of the first one, and writes only what has changed.",
    examples: &[
        "kubeedge backup edge",
        "kubeedge backup edge --keep 2",
        "kubeedge backup edge --list",
    ],
    spellings: &[],
    ignored: &[],
};

pub const FOLDER: &str = "/etc/kubeedge/backup";
/// Until the next boot, where flash has no room.
pub const IN_MEMORY: &str = "/run/kubeedge/backup";
