//! `service`: edgecore or cloudcore as a service of this machine, for people who do it themselves.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::out::{self, Format, Report};
use super::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::processes::ProcessError;
use crate::system::service::Report as Done;
use crate::system::service::{self, Choice, Daemon, Outcome, Service, ServiceError, Status, Touch};
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "service",
    group: Group::Anywhere,
    summary: "a daemon as a service: install, start, stop, status …",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to do with which daemon
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// install, remove, start, stop, restart, enable, disable, status or print
    #[argh(positional)]
    action: String,
    /// edgecore or cloudcore; default: edgecore
    #[argh(option, arg_name = "name", default = "Which::default()")]
    daemon: Which,
    /// auto, systemd, procd, openrc, busybox, rcs or none; default: auto
    #[argh(option, arg_name = "system", default = "Choice::Auto")]
    init: Choice,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

/// Which daemon.
#[derive(Clone, Copy, Default)]
enum Which {
    #[default]
    Edgecore,
    Cloudcore,
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Which, &'static str> {
        match text {
            "edgecore" => Ok(Which::Edgecore),
            "cloudcore" => Ok(Which::Cloudcore),
            _ => Err("it is edgecore or cloudcore"),
        }
    }
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let action = flags.action.as_str();
    if !ACTIONS.contains(&action) {
        console::complain(SPEC.name, &unknown(action));
        return exit::USAGE;
    }
    let daemon = match flags.daemon {
        Which::Edgecore => Daemon::edgecore(&host.root),
        Which::Cloudcore => Daemon::cloudcore(&host.root),
    };
    let (name, executable) = (daemon.name, daemon.executable.clone());
    let service = service::detect(host, daemon, flags.init);
    let fail = |error: ServiceError| {
        let code = code(&error);
        out::fail(SPEC.name, &error, given.verbosity, flags.output, code)
    };
    if action == "print" {
        let files = match service.files() {
            Ok(files) => files.into_iter(),
            Err(error) => return fail(error),
        };
        let files = files.map(|(path, content)| File { path, content });
        let init = service.kind();
        let files = files.collect();
        out::show(&Printed { init, files }, flags.output);
        return exit::OK;
    }
    let told = check(&*service, action, name, &executable)
        .and_then(|()| act(&*service, action))
        .and_then(|done| Told::of(&*service, name, done));
    match told {
        Ok(told) => {
            out::show(&told, flags.output);
            told.code(action)
        }
        Err(error) => fail(error),
    }
}

/// Whether there is something that the action can be done to.
fn check(
    service: &dyn Service,
    action: &str,
    name: &'static str,
    executable: &Path,
) -> Result<(), ServiceError> {
    let needs_executable = ["install", "start", "restart"].contains(&action);
    if needs_executable && !executable.exists() {
        return Err(ServiceError::Strange {
            path: executable.to_owned(),
            why: "not there: make it with `kubeedge --install FOLDER`, or install the package",
        });
    }
    let needs_service = ["start", "restart", "enable"].contains(&action);
    match needs_service && service.kind() != "none" && !service.is_installed() {
        true => Err(ServiceError::NotInstalled(name)),
        false => Ok(()),
    }
}

fn act(service: &dyn Service, action: &str) -> Result<Done, ServiceError> {
    let mut done = Done::nothing();
    match action {
        "install" => done = service.install()?,
        "remove" => {
            done = service.stop()?;
            done.touched.extend(service.remove()?.touched);
        }
        "start" => done = service.start()?,
        "stop" => done = service.stop()?,
        "restart" => done = service.restart(None)?,
        "enable" => done = service.enable()?,
        "disable" => done = service.disable()?,
        _ => {}
    }
    Ok(done)
}

/// How the service is, after what was done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    daemon: &'static str,
    init: &'static str,
    installed: bool,
    running: bool,
    pid: Option<u32>,
    starts_at_boot: bool,
    /// What was changed, a sentence each.
    changes: Vec<String>,
    /// What this init system can't do.
    impossible: Option<&'static str>,
}

impl Told {
    fn of(service: &dyn Service, daemon: &'static str, done: Done) -> Result<Told, ServiceError> {
        let status = service.status()?;
        Ok(Told {
            daemon,
            init: service.kind(),
            installed: match service.kind() {
                "none" => status != Status::NotInstalled,
                _ => service.is_installed(),
            },
            running: matches!(status, Status::Running(_)),
            pid: match status {
                Status::Running(pid) => pid,
                _ => None,
            },
            starts_at_boot: service.starts_at_boot()?,
            changes: done.touched.iter().map(Touch::to_string).collect(),
            impossible: match done.outcome {
                Outcome::Impossible(why) => Some(why),
                _ => None,
            },
        })
    }

    /// As `status` of init scripts has it.
    fn code(&self, action: &str) -> u8 {
        match action {
            _ if self.impossible.is_some() => exit::UNAVAILABLE,
            "status" if !self.installed => NOT_INSTALLED,
            "status" if !self.running => NOT_RUNNING,
            _ => exit::OK,
        }
    }
}

impl Report for Told {
    fn text(&self) -> String {
        let lines = self.changes.iter().map(|change| format!("{change}\n"));
        let mut text: String = lines.collect();
        if let Some(why) = self.impossible {
            text.push_str(&format!("{why}\n"));
        }
        let state = match (self.running, self.installed, self.pid) {
            (true, _, Some(pid)) => format!("runs as process {pid}"),
            (true, _, None) => "runs".to_owned(),
            (false, true, _) => "does not run".to_owned(),
            (false, false, _) => "is not installed".to_owned(),
        };
        let boot = match self.starts_at_boot {
            true => "starts at boot",
            false => "does not start at boot",
        };
        let (daemon, init) = (self.daemon, self.init);
        format!("{text}{daemon} {state}, and {boot} (init system: {init})\n")
    }
}

/// What `install` would write.
#[derive(Serialize)]
struct Printed {
    init: &'static str,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    path: PathBuf,
    content: String,
}

impl Report for Printed {
    fn text(&self) -> String {
        let only = self.files.len() == 1;
        let shown = self.files.iter().map(|file| match only {
            // Ready to become that file.
            true => file.content.clone(),
            false => format!("### {}\n{}\n", file.path.display(), file.content),
        });
        shown.collect()
    }
}

fn unknown(action: &str) -> String {
    let hint = args::nearest(action, ACTIONS.iter().copied());
    let hint = hint.map_or(String::new(), |it| format!("did you mean {it}? "));
    format!("{hint}the actions are {}", ACTIONS.join(", "))
}

fn code(error: &ServiceError) -> u8 {
    match error {
        ServiceError::Denied | ServiceError::Process(ProcessError::Denied(_)) => exit::DENIED,
        ServiceError::File(error) if error.is_denied() => exit::DENIED,
        ServiceError::CommandTimedOut { .. } | ServiceError::NotStarted(_) => exit::TRY_AGAIN,
        ServiceError::NotTheInit(_) => exit::UNAVAILABLE,
        _ => exit::FAILURE,
    }
}

/// The actions as they are typed.
const ACTIONS: &[&str] = &[
    "install", "remove", "start", "stop", "restart", "enable", "disable", "status", "print",
];

static SPEC: Spec = Spec {
    name: "kubeedge service",
    about: "Makes edgecore or cloudcore a service of this machine by the init system that runs as \
            process 1: systemd, procd, OpenRC, BusyBox's init or rcS. `keadm join` does all of it; \
            this is for people who do it themselves. `status` ends with 0 when it runs, 3 when \
            not, and 4 when it is not installed; 69: this init system can't do that.",
    examples: &[
        "kubeedge service install && kubeedge service enable && kubeedge service start",
        "kubeedge service status --daemon cloudcore",
        "kubeedge service print --init procd",
    ],
    spellings: &[],
    ignored: &[],
};

const NOT_RUNNING: u8 = 3;
const NOT_INSTALLED: u8 = 4;
