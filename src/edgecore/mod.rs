//! edgecore: the edge side. Enrols, holds the tunnel to the hub, and renews its certificate.

mod api;
mod backoff;
mod clouds;
mod confinement;
mod control;
mod daemon;
mod deliver;
mod edge;
mod enroll;
mod first_boot;
mod follow;
mod hub;
mod identity;
#[cfg(feature = "upgrade")]
mod jobs;
#[cfg(not(feature = "upgrade"))]
#[path = "jobless.rs"]
mod jobs;
mod life;
mod meta;
mod no_tunnel;
mod node;
mod parent;
mod pending;
mod probe;
mod pushes;
mod quic;
mod requests;
mod rhythm;
mod roaming;
mod rotate;
mod secured;
mod session;
mod settings;
mod state;
mod storage;
mod supervisor;
#[cfg(test)]
mod tests;
mod timekeeping;
mod token;
mod watchdog;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};

use crate::config::first_boot::Prepare;
use crate::config::{self, edge::EdgeConfig};
use crate::system::args::{self, Info, KLOG, Spec};
use crate::system::files::{FileError, Lock};
use crate::system::host::Host;
use crate::system::uplink::{Interface, Uplink};
use crate::system::{console, exit, facts, log, network, processes, sandbox, signals};
use first_boot::FirstBoot;
use parent::{NoParent, Parent};
use settings::Source;
use supervisor::HUB;

/// Runs edgecore until it is told to stop; returns the exit code.
///
/// `prepare` does what a join does to files, for a device that is asked to at its first boot.
pub fn run(arguments: &[String], host: &Host, prepare: Prepare) -> u8 {
    let is_hub = arguments.first().is_some_and(|word| word == HUB);
    let arguments = &arguments[usize::from(is_hub)..];
    let given = match args::enter::<Flags>(&SPEC, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    if flags.version {
        console::line(&format!("edgecore {}", env!("CARGO_PKG_VERSION")));
        return exit::OK;
    }
    if flags.defaultconfig || flags.minconfig {
        console::out(&sample(flags.minconfig));
        return exit::OK;
    }
    signals::hold_reload();
    let verbosity = u32::from(given.verbosity.unwrap_or(0));
    match log::level(verbosity, flags.log_level.as_deref()) {
        Ok(level) => {
            let level = match flags.log_level {
                None if verbosity == 0 => {
                    log::or_named(level, config::first_boot::log_level(host).as_deref())
                }
                _ => level,
            };
            log::init(level, SPEC.name, &host.root);
            log::remember(is_hub);
        }
        Err(error) => return args::fail(SPEC.name, &error, given.verbosity, exit::USAGE),
    }
    if flags.probe {
        return probe::run(host, &source(host, &flags));
    }
    let parent = match is_hub.then(Parent::meet).transpose() {
        Ok(parent) => parent,
        Err(NoParent::Gone) => {
            console::complain(SPEC.name, SUPERVISOR_GONE);
            return exit::FAILURE;
        }
        Err(NoParent::NoConnection) => {
            console::complain(SPEC.name, ONLY_FROM_SUPERVISOR);
            return exit::USAGE;
        }
    };
    if parent.is_none() {
        processes::leave_session();
    }
    // Modes are always given; this is for what a library might create.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let source = source(host, &flags);
    let code = match parent {
        Some(parent) => daemon::run(host, &source, Some(parent), !flags.no_sandbox),
        None => service(host, &source, arguments, &flags, prepare),
    };
    log::flush();
    code
}

/// Where its settings are from.
fn source(host: &Host, flags: &Flags) -> Source {
    // A path that a person types is theirs; the default lies below the root prefix.
    let config = flags
        .config
        .clone()
        .unwrap_or_else(|| host.root.at(settings::CONFIG));
    Source {
        config,
        uplink: Uplink {
            address: flags.bind_address,
            interface: flags.bind_interface.clone(),
        },
        node_address: flags.node_ip,
        state: flags.state_dir.as_deref().map(absolute),
    }
}

/// The hub is another process, and may stand elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What the init system sees: the supervisor, or the hub alone where that is wanted or where no
/// second process can be had.
fn service(
    host: &Host,
    source: &Source,
    arguments: &[String],
    flags: &Flags,
    prepare: Prepare,
) -> u8 {
    let _lock = match lock(host) {
        Ok(lock) => lock,
        Err(code) => return code,
    };
    let first = FirstBoot::begin(host, source.config.clone(), prepare);
    let alone = || daemon::run(host, source, None, !flags.no_sandbox);
    if flags.no_supervisor {
        return alone();
    }
    if !flags.no_sandbox {
        let missing = sandbox::limit_to_supervision().missing;
        if !missing.is_empty() {
            let missing = missing.join(", ");
            ::log::warn!(
                "the supervisor keeps rights that it does not use: this system has no {missing}"
            );
        }
    }
    match supervisor::run(host, &source.config, first, arguments) {
        Ok(code) => code,
        Err(error) => {
            ::log::warn!("cannot start a second process ({error}): going on without a supervisor");
            alone()
        }
    }
}

/// One edgecore at a time works on the device's files.
fn lock(host: &Host) -> Result<Lock, u8> {
    let lock = host.root.at(LOCK);
    let held = lock
        .parent()
        .map_or(Ok(true), |folder| host.files.make_dir(folder, 0o755));
    held.and_then(|_| host.files.lock(&lock)).map_err(|error| {
        match error {
            FileError::Locked { holder, .. } => {
                let who = holder.map_or(String::new(), |pid| format!(" (process {pid})"));
                ::log::error!("another edgecore runs already{who}: stop it first");
            }
            error => ::log::error!("{error}"),
        }
        exit::FAILURE
    })
}

/// A configuration file to begin with, for this host.
fn sample(minimal: bool) -> String {
    let name = facts::default_node_name().map_or_else(|_| "edge".to_owned(), |n| n.to_string());
    let local = network::local_addresses()
        .into_iter()
        .find(|a| a.is_ipv4() && !a.is_loopback());
    let address = local.map_or_else(|| "127.0.0.1".to_owned(), |a| a.to_string());
    if minimal {
        EdgeConfig::min_yaml(&name, &address)
    } else {
        EdgeConfig::default_yaml(&name, &address)
    }
}

/// The flags, for tables.
pub fn flags() -> Info {
    Flags::get_args_info()
}

/// the edge side of KubeEdge
#[derive(ArgsInfo, FromArgs)]
struct Flags {
    /// configuration file (default /etc/kubeedge/config/edgecore.yaml)
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,
    /// print a configuration file with every default, and end
    #[argh(switch)]
    defaultconfig: bool,
    /// print a short configuration file that works as it is, and end
    #[argh(switch)]
    minconfig: bool,
    /// address of this device to connect from, instead of the file's
    #[argh(option, arg_name = "address")]
    bind_address: Option<IpAddr>,
    /// interface to connect from, such as wg0, instead of the file's
    #[argh(option, arg_name = "name")]
    bind_interface: Option<Interface>,
    /// address of this device as a node, instead of the file's (default: the one that it connects
    /// from)
    #[argh(option, arg_name = "address")]
    node_ip: Option<IpAddr>,
    /// folder for the cloud's objects (default /var/lib/kubeedge/edgecore; /etc/kubeedge/state where that
    /// is in memory)
    #[argh(option, arg_name = "folder")]
    state_dir: Option<PathBuf>,
    /// off, error, warn, info or debug; default: info
    #[argh(option, arg_name = "level")]
    log_level: Option<String>,
    /// run as one process, which nobody starts again; for finding faults
    #[argh(switch)]
    no_supervisor: bool,
    /// keep all rights, for finding faults
    #[argh(switch)]
    no_sandbox: bool,
    /// see whether the cloud lets this device in, beside an edgecore that runs, and end
    #[argh(switch)]
    probe: bool,
    /// print the version, and end
    #[argh(switch)]
    version: bool,
}

pub static SPEC: Spec = Spec {
    name: "edgecore",
    about: "Gets this device its certificate, holds the tunnel to the cloud, and renews the \
            certificate before it ends. SIGHUP reads the configuration again, SIGTERM stops.",
    examples: &[
        "edgecore",
        "edgecore --config /etc/kubeedge/config/edgecore.yaml -v 1",
    ],
    spellings: &[],
    ignored: &[KLOG],
};

/// Held by the supervisor, or by a hub without one.
const LOCK: &str = "/run/kubeedge/edgecore.lock";
const SUPERVISOR_GONE: &str =
    "the supervisor has ended while it started its hub: start edgecore again";
const ONLY_FROM_SUPERVISOR: &str =
    "only edgecore itself starts its hub: start edgecore, or edgecore --no-supervisor";
