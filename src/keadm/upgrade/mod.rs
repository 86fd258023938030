//! `upgrade edge`: another executable in the place of this one, if it proves itself.

mod check;
mod download;
mod error;
#[cfg(feature = "oci")]
mod image;
#[cfg(not(feature = "oci"))]
#[path = "no_images.rs"]
mod image;
mod source;
mod tell;

use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::backup;
use super::change::{self, Frame, Known, Proof};
use super::out::{self, Format};
use super::{Command, Group, device};
use crate::config::duration;
use crate::system::args::{self, Ignored, Spec};
use crate::system::host::Host;
use crate::system::{build, console};
use crate::trial::{Event, Keeping, Trial, digest, has_room};
pub use check::{Version, machine};
use check::{probe, version};
use error::UpgradeError;
use source::{ImageWish, Wanted, Where, read_digest, stage};

pub static COMMAND: Command = Command {
    name: "upgrade edge",
    group: Group::Edge,
    summary: "put a newer executable in place, if it proves itself",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to take, and how
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the new executable: a file, or an https:// address
    #[argh(option, arg_name = "where", default = "String::new()")]
    from: String,
    /// what it must be: sha256: and 64 digits; default: what SHA256SUMS beside it says
    #[argh(option, arg_name = "digest", default = "String::new()")]
    digest: String,
    /// file with its signature by /etc/kubeedge/upgrade.pub; default: FILE.minisig beside it
    #[argh(option, arg_name = "file", default = "String::new()")]
    signature: String,
    /// file with authorities that a server's certificate may be by; default: the system's
    #[argh(option, arg_name = "file")]
    ca_file: Option<PathBuf>,
    /// proxy for the download, such as http://10.0.0.1:3128; default: HTTPS_PROXY
    #[argh(option, arg_name = "url")]
    proxy: Option<String>,
    /// the version that is expected
    #[argh(option, arg_name = "version", default = "String::new()")]
    to_version: String,
    /// image to take the executable from, such as registry.example/kubeedge:v0.2.0
    #[argh(option, arg_name = "image", default = "String::new()")]
    image: String,
    /// what the image must be
    #[argh(option, arg_name = "digest", default = "String::new()")]
    image_digest: String,
    /// user and password for the registry: docker's config.json, or a line user:password
    #[argh(option, arg_name = "file")]
    auth_file: Option<PathBuf>,
    /// speak to the registry without TLS
    #[argh(switch)]
    plain_http: bool,
    /// do not ask, and take an older one too
    #[argh(switch)]
    force: bool,
    /// do not ask the cloud first whether it lets the new executable in
    #[argh(switch)]
    no_probe: bool,
    /// make no backup of what is here
    #[argh(switch)]
    disable_backup: bool,
    /// configuration file (default /etc/kubeedge/config/edgecore.yaml)
    #[argh(option, arg_name = "file", from_str_fn(args::whole))]
    config: Option<String>,
    /// how long each start may take to get a session, such as 90s or 2m; default: 300s
    #[argh(option, arg_name = "duration", from_str_fn(duration::seconds))]
    timeout: Option<u64>,
    /// script to run before anything is changed; nothing is when it fails
    #[argh(option, arg_name = "script", default = "String::new()")]
    pre_run: String,
    /// script to run when all has worked
    #[argh(option, arg_name = "script", default = "String::new()")]
    post_run: String,
    /// the job of an old cloud that this is for: nothing is asked
    #[argh(option, arg_name = "id", default = "String::new()", hidden_help)]
    upgrade_id: String,
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
    let job = match tell::Job::of(host, &flags.upgrade_id, flags.config.as_deref()) {
        Ok(job) => job,
        Err(error) => return args::fail(SPEC.name, &error, given.verbosity, error.code()),
    };
    let known = Known {
        to: flags.to_version.clone(),
        ..Known::default()
    };
    let frame = Frame {
        host,
        name: SPEC.name,
        event: Event::Upgrade,
        post_run: &flags.post_run,
        verbosity: given.verbosity,
        output: flags.output,
    };
    let code = match ready(host, &flags) {
        Ok(wanted) => frame.run(known, UpgradeError::code, |known| {
            upgrade(host, &flags, &wanted, known)
        }),
        Err(error) => frame.fail(&error, error.code()),
    };
    job.ended(host, code)
}

/// What is wanted of a device that has joined, and by somebody who means it; nothing is written so far.
fn ready<'a>(host: &Host, flags: &'a Flags) -> Result<Wanted<'a>, UpgradeError> {
    let from = match (flags.from.as_str(), flags.image.as_str()) {
        ("", "") => return Err(UpgradeError::NoSource),
        ("", _) => Where::Image(image(flags)),
        (from, _) => Where::Given(from),
    };
    let wanted = Wanted {
        from,
        digest: read_digest(&flags.digest)?,
        signature: Some(flags.signature.as_str()).filter(|path| !path.is_empty()),
        ca: flags.ca_file.as_deref(),
        proxy: flags.proxy.as_deref(),
    };
    device::load(host, flags.config.as_deref())?;
    change::program(host)?;
    if flags.force || !flags.upgrade_id.is_empty() {
        return Ok(wanted);
    }
    console::error("This replaces the executable of edgecore and keadm.");
    match console::confirmed() {
        true => Ok(wanted),
        false => Err(UpgradeError::NotConfirmed),
    }
}

fn upgrade(
    host: &Host,
    flags: &Flags,
    wanted: &Wanted<'_>,
    known: &mut Known,
) -> Result<Upgraded, UpgradeError> {
    let target = change::program(host)?;
    change::refuse_a_second(host)?;
    let present = present(&target);
    known.from = present.tag();
    change::run_hook(&flags.pre_run)?;
    console::error(&format!("fetching {}{}", flags.from, flags.image));
    let staged = stage(host, wanted, &target)?;
    let outcome = take(host, flags, (&target, &staged), &present, known);
    if outcome.is_err() && Trial::load(host).is_ok_and(|trial| trial.is_none()) {
        host.files.remove(&staged)?;
    }
    outcome
}

/// The tag is `--toVersion`, as KubeEdge has it, where the name has neither tag nor digest.
fn image(flags: &Flags) -> ImageWish {
    let last = flags.image.rsplit('/').next().unwrap_or_default();
    let is_whole = last.contains([':', '@']) || flags.to_version.is_empty();
    let text = |path: &Option<PathBuf>| {
        let path = path.as_ref().map(|path| path.display().to_string());
        path.unwrap_or_default()
    };
    ImageWish {
        name: match is_whole {
            true => flags.image.clone(),
            false => format!("{}:{}", flags.image, flags.to_version),
        },
        digest: flags.image_digest.clone(),
        auth_file: text(&flags.auth_file),
        ca_file: text(&flags.ca_file),
        proxy: flags.proxy.clone().unwrap_or_default(),
        plain_http: flags.plain_http,
    }
}

/// Tries what is staged, and puts it in place.
fn take(
    host: &Host,
    flags: &Flags,
    (target, staged): (&Path, &Path),
    present: &Version,
    known: &mut Known,
) -> Result<Upgraded, UpgradeError> {
    let found = examine(staged, &mut known.to)?;
    let wanted = flags.to_version.trim_start_matches('v');
    let names = [&found.version, &found.git_version].map(|it| it.trim_start_matches('v'));
    // A tag of an image may be anything.
    if flags.image.is_empty() && !wanted.is_empty() && !names.contains(&wanted) {
        return Err(UpgradeError::OtherVersion {
            wanted: flags.to_version.clone(),
            found: found.tag(),
        });
    }
    let mut done = Upgraded {
        from: present.tag(),
        to: found.tag(),
        changed: false,
        proven: true,
        backup: None,
    };
    if digest(target)? == digest(staged)? {
        host.files.remove(staged)?;
        return Ok(done);
    }
    if found.is_older_than(present) && !flags.force {
        return Err(UpgradeError::Older {
            present: present.tag(),
            found: found.tag(),
        });
    }
    if !flags.no_probe {
        console::error("asking the cloud whether it lets the new executable in");
        console::error(&probe(host, staged, flags.config.as_deref())?);
    }
    let size = host.files.size(target).unwrap_or(u64::MAX);
    let mut kept = "in place until the trial is over, then not at all".to_owned();
    if !flags.disable_backup {
        let folder = match has_room(target, size) {
            true => backup::FOLDER,
            // Flash has less than another copy free.
            false => backup::IN_MEMORY,
        };
        let made = backup::make(host, folder, flags.config.as_deref(), present)?;
        kept = made.display().to_string();
        done.backup = Some(made);
    }
    let mut trial = Trial::plan(
        host,
        Event::Upgrade,
        (&done.from, &done.to),
        &[(target, true)],
    )?
    .within(flags.timeout);
    if found.can_do("upgrade") {
        let keeping = Keeping::fitting(host, target);
        // The successor brings back what is packed, if anybody does.
        let is_known = keeping != Keeping::Packed || PACKING.iter().any(|it| found.can_do(it));
        if let (true, Some(sentence)) = (is_known, keeping.sentence(target)) {
            trial = trial.keeping(keeping);
            console::error(&sentence);
            kept = format!("{kept}; {sentence}");
        }
    }
    trial.kept = kept;
    trial.begin(host)?;
    known.is_on_trial = true;
    done.changed = true;
    done.proven = change::prove(host, &trial, known.ran)? == Proof::Proven;
    Ok(done)
}

/// Whether it is for this machine, starts, and would end a trial; `tag` gets its version.
pub fn examine(file: &Path, tag: &mut String) -> Result<Version, UpgradeError> {
    machine(file)?;
    let found = version(file)?;
    *tag = found.tag();
    match found.is_without_trials() {
        true => Err(UpgradeError::NoTrials),
        false => Ok(found),
    }
}

/// What is installed says of itself, or else what this program is.
pub fn present(target: &Path) -> Version {
    version(target).unwrap_or_else(|_| Version {
        version: build::VERSION.to_owned(),
        git_version: super::version::KUBEEDGE.to_owned(),
        features: None,
    })
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Upgraded {
    from: String,
    to: String,
    /// False when it was there already.
    changed: bool,
    /// False when there is no edgecore that could prove it yet.
    proven: bool,
    backup: Option<PathBuf>,
}

impl out::Report for Upgraded {
    fn text(&self) -> String {
        let Upgraded { from, to, .. } = self;
        let mut text = match (self.changed, self.proven) {
            (false, _) => return format!("{to} is here already: nothing was changed.\n"),
            (_, true) => {
                format!("Upgraded from {from} to {to}: it has a session with the cloud.\n")
            }
            (_, false) => format!(
                "{to} is in place of {from}. The trial begins with the next start of edgecore.\n"
            ),
        };
        if let Some(backup) = &self.backup {
            text += &format!("What was before is in {}.\n", backup.display());
        }
        text
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge upgrade edge",
    about: "Fetches another executable, checks its digest and signature, sees that it is for this \
            machine, starts, and is let in by the cloud, and only then puts it in the place of this one. \
            Three starts without a session bring the old one back. Exit code: 69 it was taken back, or \
            does not reach the cloud; 75 the download broke off, or another change goes on; 77 digest or \
            signature is wrong.",
    examples: &[
        "kubeedge upgrade edge --from ./kubeedge",
        "kubeedge upgrade edge --force --from https://downloads.example.com/v0.2.0/kubeedge-armv7",
        "kubeedge upgrade edge --force --image registry.example/kubeedge --toVersion v0.2.0",
    ],
    spellings: &[("toVersion", "to-version"), ("upgradeID", "upgrade-id")],
    ignored: &[IGNORED],
};

/// Of KubeEdge's old jobs.
const IGNORED: &[Ignored] = &[
    ignored("historyID", "the report says what there is to go back to"),
    ignored("fromVersion", "the executable that is here says what it is"),
    ignored("type", "it is an upgrade"),
];

const fn ignored(long: &'static str, why: &'static str) -> Ignored {
    Ignored {
        long,
        short: None,
        value: true,
        why,
    }
}

/// Features of a build that can unpack.
const PACKING: [&str; 2] = ["kubernetes", "oci"];
