//! `reset edge`: takes everything away that a join has made, as far as it can.

#[cfg(test)]
mod cuts;
mod report;
mod stop;
mod sweep;
mod traces;

use std::fmt;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::hooks::{self, HookError};
use super::lock::{self, LockError};
use super::out::{self, Format, NOT_CONFIRMED};
use super::{Command, Group};
use crate::system::args::{self, Ignored, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};
use report::{Kept, Outcome};
use sweep::Sweep;
use traces::Traces;

pub static EDGE: Command = Command {
    name: "reset edge",
    group: Group::Edge,
    summary: "stop edgecore, and remove what join has made",
    spec: &EDGE_SPEC,
    info: Flags::get_args_info,
    run: |args, host| run(&EDGE_SPEC, args, host),
};

/// KubeEdge's short form, which there also resets clouds.
pub static BARE: Command = Command {
    name: "reset",
    group: Group::Edge,
    summary: "the same as reset edge; never touches a cloud",
    spec: &BARE_SPEC,
    info: Flags::get_args_info,
    run: |args, host| run(&BARE_SPEC, args, host),
};

/// how to reset
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// do not ask; --yes says the same
    #[argh(switch)]
    force: bool,
    /// script to run before anything is done; reset ends when it fails
    #[argh(option, arg_name = "script", default = "String::new()")]
    pre_run: String,
    /// script to run when nothing was left
    #[argh(option, arg_name = "script", default = "String::new()")]
    post_run: String,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn run(spec: &'static Spec, args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(spec, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    match reset(host, &flags) {
        Ok(outcome) => {
            let code = outcome.code();
            if code == exit::OK
                && let Some(script) = script(&flags.post_run)
                && let Err(error) = hooks::run(&script)
            {
                console::complain(spec.name, &error.to_string());
            }
            out::show(&outcome, flags.output);
            code
        }
        Err(error) => out::fail(
            spec.name,
            &error,
            given.verbosity,
            flags.output,
            error.code(),
        ),
    }
}

fn reset(host: &Host, flags: &Flags) -> Result<Outcome, ResetError> {
    let traces = Traces::look(host);
    if traces.is_nothing() {
        return Ok(Outcome::nothing(&traces));
    }
    if !flags.force && !confirmed(&traces) {
        return Err(ResetError::NotConfirmed);
    }
    let _lock = lock::take(host).map_err(ResetError::Lock)?;
    if let Some(script) = script(&flags.pre_run) {
        hooks::run(&script).map_err(ResetError::Hook)?;
    }
    let mut stopped = stop::stop(host);
    stopped.forget_request(host);
    let mut sweep = Sweep::new(&host.files, &traces.of_cloud);
    for path in &traces.own {
        sweep.remove(path);
    }
    // Last, and while it is held: with it goes the folder, if nobody else needs that.
    sweep.remove(&traces.run_folder);
    let mut outcome = Outcome {
        node: traces.node,
        done: stopped.done,
        removed: sweep.removed,
        kept: Vec::new(),
        left: [stopped.left, sweep.left].concat(),
    };
    let mut keep = |paths: Vec<PathBuf>, why| {
        outcome
            .kept
            .extend(paths.into_iter().map(|path| Kept { path, why }));
    };
    keep(sweep.kept, OF_CLOUD);
    keep(sweep.emptied, EMPTIED);
    keep(traces.program, PROGRAM);
    let mut of_operator = traces.of_operator;
    of_operator.retain(|path| path.symlink_metadata().is_ok());
    keep(of_operator, OF_OPERATOR);
    Ok(outcome)
}

fn confirmed(traces: &Traces) -> bool {
    let node = traces.node.as_deref().unwrap_or("this device");
    console::error(&format!(
        "This ends the connection of {node} and removes its certificate, configuration and state:"
    ));
    for path in &traces.own {
        console::error(&format!("  {}", path.display()));
    }
    console::confirmed()
}

fn script(path: &str) -> Option<PathBuf> {
    Some(path)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// Why nothing was reset; nothing has been changed then.
#[derive(Debug)]
enum ResetError {
    Hook(HookError),
    Lock(LockError),
    NotConfirmed,
}

impl ResetError {
    fn code(&self) -> u8 {
        match self {
            ResetError::Lock(error) => error.code(),
            _ => exit::FAILURE,
        }
    }
}

impl fmt::Display for ResetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResetError::Hook(error) => error.fmt(f),
            ResetError::Lock(error) => error.fmt(f),
            ResetError::NotConfirmed => f.write_str(NOT_CONFIRMED),
        }
    }
}

impl std::error::Error for ResetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ResetError::Hook(error) => Some(error),
            ResetError::Lock(error) => Some(error),
            ResetError::NotConfirmed => None,
        }
    }
}

static EDGE_SPEC: Spec = Spec {
    name: "kubeedge reset edge",
    about: "Stops edgecore, takes it out of the init system, and removes its certificate, \
            configuration, state and log. Goes on after failures, says what went and what stayed, \
            and ends with 1 when something is left. The program stays, and no cloud is touched.",
    examples: &["kubeedge reset edge", "kubeedge reset edge --force"],
    spellings: &[("yes", "force")],
    ignored: &[IGNORED],
};

static BARE_SPEC: Spec = Spec {
    name: "kubeedge reset",
    about: "The same as `kubeedge reset edge`. On a machine that is no edge it does nothing.",
    examples: &["kubeedge reset --force"],
    spellings: &[("yes", "force")],
    ignored: &[IGNORED],
};

const IGNORED: &[Ignored] = &[
    Ignored {
        long: "kube-config",
        short: None,
        value: true,
        why: "no cluster is touched",
    },
    Ignored {
        long: "remote-runtime-endpoint",
        short: None,
        value: true,
        why: "no container is touched, since none was started here",
    },
];

const OF_CLOUD: &str = "belongs to the cloudcore of this machine";
const EMPTIED: &str = "empty now; a mount point, or where nothing can be removed";
const PROGRAM: &str = "the program; to join again, or to be removed by hand";
const OF_OPERATOR: &str = "written by somebody else";
