//! `batch`: one command on many devices, over OpenSSH's client. This file is the command; `gen` writes its file.

mod argv;
mod error;
mod file;
pub mod generate;
mod job;
mod packages;
mod plan;
mod record;
mod report;
mod template;
mod work;

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::out::{self, Format};
use super::{Command, Group};
use crate::config::duration;
use crate::system::args::{self, Spec};
use crate::system::exit;
use crate::system::host::Host;
use error::BatchError;
use plan::Plan;
use record::Record;
use report::{Outcome, Summary};

pub static COMMAND: Command = Command {
    name: "batch",
    group: Group::Anywhere,
    summary: "run keadm on many devices, over ssh",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// on which devices
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// which devices, and what is to be done there; see batch gen-config
    #[argh(option, short = 'c', arg_name = "file")]
    config: PathBuf,
    /// leave out what the log says is done
    #[argh(switch)]
    resume: bool,
    /// only tell what would be done
    #[argh(switch)]
    dry_run: bool,
    /// trust a device that was never seen before; a changed key is refused all the same
    #[argh(switch)]
    accept_new_host_keys: bool,
    /// a configuration for ssh instead of the user's
    #[argh(option, arg_name = "file")]
    ssh_config: Option<PathBuf>,
    /// how long each device may take, such as 90s or 2m; default: 600s
    #[argh(
        option,
        arg_name = "duration",
        from_str_fn(duration::seconds),
        default = "600"
    )]
    timeout: u64,
    /// what has become of each device; default: batch_process_log.txt
    #[argh(
        option,
        arg_name = "file",
        default = "PathBuf::from(\"batch_process_log.txt\")"
    )]
    log: PathBuf,
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
    match batch(host, &flags) {
        Ok(summary) => {
            out::show(&summary, flags.output);
            match summary.failed {
                0 => exit::OK,
                _ => exit::FAILURE,
            }
        }
        Err(error) => {
            let code = error.code();
            out::fail(SPEC.name, &error, given.verbosity, flags.output, code)
        }
    }
}

fn batch(host: &Host, flags: &Flags) -> Result<Summary, BatchError> {
    let plan = Plan::read(host, &flags.config)?;
    let done = match flags.resume {
        true => record::done(&host.files, &flags.log)?,
        false => Vec::new(),
    };
    let is_done = |node: &plan::Node| done.contains(&(node.name.clone(), node.fingerprint()));
    let (skipped, left): (Vec<_>, Vec<_>) = plan.nodes.iter().partition(|node| is_done(node));
    let mut outcomes: Vec<Outcome> = skipped.into_iter().map(Outcome::skipped).collect();
    if flags.dry_run {
        outcomes.extend(left.into_iter().map(Outcome::planned));
        return Ok(Summary::of(&plan, outcomes));
    }
    let way = argv::Way {
        config: flags.ssh_config.clone(),
        accept_new: flags.accept_new_host_keys,
    };
    let mut record = Record::open(host, &flags.log)?;
    let patience = std::time::Duration::from_secs(flags.timeout.max(1));
    let worked = work::all(&plan, left, &way, patience, |outcome, said| {
        record.note(outcome, said)
    })?;
    outcomes.extend(worked);
    Ok(Summary::of(&plan, outcomes))
}

static SPEC: Spec = Spec {
    name: "kubeedge batch",
    about: "Runs a command of keadm on many devices: brings this program to each of them over \
            OpenSSH's client, runs it there, and takes it away again. Devices are known by their \
            host keys, and this user by keys or an agent. A line in the log, and a file beside it, \
            tell what has become of each. Exit code: 0 done everywhere; 1 not everywhere; 69 \
            there is no ssh here; 78 the file can't be used.",
    examples: &[
        "kubeedge batch -c config.yaml --dry-run",
        "kubeedge batch -c config.yaml --accept-new-host-keys",
        "kubeedge batch -c config.yaml --resume -o json",
    ],
    spellings: &[],
    ignored: &[],
};
