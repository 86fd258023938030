//! `rollback edge`: the executable and the configuration of a backup again, if they prove themselves.

use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::backup::{self, BackupError, Kept, Kind};
use super::change::{self, Frame, Known, Proof};
use super::out::{self, Format};
use super::{Command, Group, links, running, upgrade};
use crate::config::duration;
use crate::system::args::{self, Ignored, Spec};
use crate::system::host::Host;
use crate::trial::{Event, Trial, digest, successor};

pub static COMMAND: Command = Command {
    name: "rollback edge",
    group: Group::Edge,
    summary: "go back to the executable and configuration of a backup",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to go back to
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// version whose backup to take; default: the newest backup
    #[argh(option, arg_name = "version", default = "String::new()")]
    historical_version: String,
    /// folder of a backup in another place, such as another partition
    #[argh(option, arg_name = "folder")]
    from: Option<PathBuf>,
    /// restore key and certificates too, on a device that has none, as after a factory reset
    #[argh(switch)]
    keep_identity: bool,
    /// configuration file (default /etc/kubeedge/config/edgecore.yaml)
    #[argh(option, arg_name = "file", from_str_fn(args::whole))]
    config: Option<PathBuf>,
    /// how long each start may take to get a session, such as 90s or 2m; default: 300s
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
    let known = Known {
        to: flags.historical_version.clone(),
        ..Known::default()
    };
    let frame = Frame {
        host,
        name: SPEC.name,
        event: Event::Rollback,
        post_run: &flags.post_run,
        verbosity: given.verbosity,
        output: flags.output,
    };
    // Nothing is written on a machine that has nothing to go back to.
    if let Err(error) = choose(host, &flags) {
        return frame.fail(&error, error.code());
    }
    frame.run(known, BackupError::code, |known| {
        rollback(host, &flags, known)
    })
}

fn rollback(host: &Host, flags: &Flags, known: &mut Known) -> Result<Back, BackupError> {
    change::refuse_a_second(host)?;
    let kept = choose(host, flags)?;
    known.to = kept.version.clone();
    known.kept = kept.folder.display().to_string();
    let program = kept.file(Kind::Program)?;
    let config = kept.file(Kind::Config)?;
    let identity = match flags.keep_identity {
        true => identity(host, &kept)?,
        false => Vec::new(),
    };
    change::run_hook(&flags.pre_run)?;
    // The executable is where one is; on an empty partition, where it was.
    let target = change::program(host);
    let mut places: Vec<(&backup::Entry, PathBuf, bool)> = Vec::new();
    if let Some(entry) = config {
        let default = || host.root.at(&entry.path);
        let default = flags.config.clone().unwrap_or_else(default);
        places.push((entry, default, false));
    }
    if let Some(entry) = program {
        let place = target
            .as_ref()
            .map_or_else(|_| host.root.at(&entry.path), PathBuf::clone);
        places.push((entry, place, true));
    }
    if let Ok(target) = &target {
        known.from = upgrade::present(target).tag();
    }
    // What is there already is not changed.
    places.retain(|(entry, path, _)| !digest(path).is_ok_and(|found| found == entry.sha256));
    let mut done = Back {
        from: known.from.clone(),
        to: kept.version.clone(),
        backup: kept.folder.clone(),
        changed: !places.is_empty() || !identity.is_empty(),
        proven: true,
    };
    let all_there = places.iter().all(|(_, path, _)| host.files.exists(path));
    // What is on a card for another machine can't be asked here.
    let is_here = target.is_ok_and(|it| upgrade::machine(&it).is_ok());
    stage(host, &kept, &places, is_here, &mut known.to)?;
    for (entry, path) in &identity {
        put(host, &kept, entry, path)?;
    }
    if places.is_empty() || !all_there || running::process(host).is_none() {
        // Nothing runs that could prove it, or that could be disturbed.
        for (_, path, is_program) in &places {
            host.files.rename(&successor(path), path)?;
            if let (true, Some(folder)) = (*is_program, path.parent()) {
                links::make(&host.files, folder, path, false)?;
            }
        }
        done.proven = !done.changed;
    } else {
        let files: Vec<(&Path, bool)> = places
            .iter()
            .map(|(_, path, it)| (path.as_path(), *it))
            .collect();
        let versions = (done.from.as_str(), done.to.as_str());
        let trial = Trial::plan(host, Event::Rollback, versions, &files)?;
        let mut trial = trial.within(flags.timeout);
        trial.kept.clone_from(&known.kept);
        trial.begin(host)?;
        known.is_on_trial = true;
        done.proven = change::prove(host, &trial, known.ran)? == Proof::Proven;
    }
    Ok(done)
}

/// What of the backup's identity is not there yet, the key last, since it is what counts.
///
/// No trial takes an identity back. So none takes the place of another, which may be a fresher one, and none is
/// put below an edgecore that runs.
fn identity<'a>(
    host: &Host,
    kept: &'a Kept,
) -> Result<Vec<(&'a backup::Entry, PathBuf)>, BackupError> {
    let mut missing = Vec::new();
    for entry in kept.files.iter().filter(|it| it.kind == Kind::Identity) {
        kept.check(entry)?;
        let path = host.root.at(&entry.path);
        if path.symlink_metadata().is_err() {
            missing.push((entry, path));
        } else if !digest(&path).is_ok_and(|found| found == entry.sha256) {
            return Err(BackupError::HasIdentity(path));
        }
    }
    if !missing.is_empty()
        && let Some(process) = running::process(host)
    {
        return Err(BackupError::Runs(process.pid));
    }
    missing.reverse();
    Ok(missing)
}

/// Puts what is to come beside what is there, or nothing: a program that would end no trial is refused.
fn stage(
    host: &Host,
    kept: &Kept,
    places: &[(&backup::Entry, PathBuf, bool)],
    is_here: bool,
    tag: &mut String,
) -> Result<(), BackupError> {
    let staged = places.iter().try_for_each(|(entry, path, is_program)| {
        put(host, kept, entry, &successor(path))?;
        let wrong = match *is_program && is_here {
            true => upgrade::examine(&successor(path), tag).err(),
            false => None,
        };
        wrong.map_or(Ok(()), |error| {
            Err(BackupError::Unfit {
                path: kept.folder.join(&entry.name),
                why: error.to_string(),
            })
        })
    });
    if staged.is_err() {
        for (_, path, _) in places {
            let _ = host.files.remove(&successor(path));
        }
    }
    staged
}

fn put(host: &Host, kept: &Kept, entry: &backup::Entry, path: &Path) -> Result<(), BackupError> {
    if let Some(folder) = path.parent() {
        let mode = if entry.kind == Kind::Identity {
            0o700
        } else {
            0o755
        };
        host.files.make_dir(folder, mode)?;
    }
    Ok(host
        .files
        .copy(&kept.folder.join(&entry.name), path, entry.mode)?)
}

/// The backup that is meant, whether on flash or in memory.
fn choose(host: &Host, flags: &Flags) -> Result<Kept, BackupError> {
    if let Some(folder) = &flags.from {
        return backup::read(host, folder);
    }
    let tops = [backup::FOLDER, backup::IN_MEMORY].map(|top| host.root.at(top));
    let mut found = Vec::new();
    for top in &tops {
        found.extend(backup::all(host, top)?);
    }
    let wanted = flags.historical_version.trim_start_matches('v');
    found.retain(|kept| wanted.is_empty() || kept.version.trim_start_matches('v') == wanted);
    found.sort_by_key(|kept| std::cmp::Reverse(kept.created));
    let none = || {
        let [flash, _] = &tops;
        BackupError::None(match wanted {
            "" => flash.clone(),
            _ => flash.join(&flags.historical_version),
        })
    };
    found.into_iter().next().ok_or_else(none)
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Back {
    from: String,
    to: String,
    backup: PathBuf,
    /// False when all was as in the backup.
    changed: bool,
    /// False when there is no edgecore that could prove it yet.
    proven: bool,
}

impl out::Report for Back {
    fn text(&self) -> String {
        let Back { to, backup, .. } = self;
        let backup = backup.display();
        match (self.changed, self.proven) {
            (false, _) => format!("All is as in {backup}: nothing was changed.\n"),
            (_, true) => format!("{to} of {backup} is back.\n"),
            (_, false) => format!("{to} of {backup} is back. No edgecore runs: start it.\n"),
        }
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge rollback edge",
    about: "Puts the executable and the configuration of a backup in place, and has a running edgecore go \
            on with them. Without a session with the cloud what was there before comes back. An identity \
            is never replaced: --keep-identity is for a device that has none. Exit code: \
            69 it was taken back; 75 another change goes on.",
    examples: &[
        "kubeedge rollback edge",
        "kubeedge rollback edge --historical-version v0.1.0",
        "kubeedge rollback edge --from /mnt/etc/kubeedge/backup/v0.1.0 --keep-identity",
    ],
    spellings: &[],
    ignored: &[IGNORED],
};

/// KubeEdge's edgecore gives them to a keadm that does not know them any more.
const IGNORED: &[Ignored] = &[ignored("name"), ignored("history")];

const fn ignored(long: &'static str) -> Ignored {
    Ignored {
        long,
        short: None,
        value: true,
        why: "the newest backup is taken",
    }
}
