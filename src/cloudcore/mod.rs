//! cloudcore: the cloud side. Issues certificates to edges, and holds their tunnels.

mod api;
mod cloud;
#[cfg(feature = "kubernetes")]
mod cluster;
#[cfg(not(feature = "kubernetes"))]
#[path = "clusterless.rs"]
mod cluster;
mod command;
mod ctl;
mod daemon;
mod descriptors;
mod dispatch;
mod door;
pub mod http;
mod hub;
mod jobs;
mod listener;
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code))]
mod metrics;
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code))]
mod nodes;
mod operator;
mod outbox;
mod pages;
mod places;
mod prepare;
mod prometheus;
mod quic;
mod rate;
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code))]
mod registry;
#[cfg(test)]
mod resting;
mod rotation;
mod sending;
mod session;
mod settings;
mod single;
mod strikes;
#[cfg(test)]
mod testing;
mod tokens;

use std::net::IpAddr;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

pub use cloud::Stop;
pub use command::COMMANDS as ORDERS;
pub use daemon::{DaemonError, Orders, Ports, run as serve};
pub use settings::{Overrides, Settings, SettingsError};

use crate::config::cloud::CloudConfig;
use crate::config::duration;
use crate::system::args::{self, Command, KLOG, Spec};
use crate::system::host::Host;
use crate::system::{console, exit, log, network, processes, signals};

/// Runs cloudcore until it is told to stop, or one of its commands; returns the exit code.
pub fn run(arguments: &[String], host: &Host) -> u8 {
    if let Some((command, count)) = args::longest(named(), arguments) {
        return (command.run)(&arguments[count..], host);
    }
    let is_first = |word| named().any(|(_, name)| name.split(' ').next() == Some(word));
    if !arguments.first().is_some_and(|word| is_first(word)) {
        return run_daemon(arguments, host);
    }
    match args::begun(named().map(|(_, name)| name), arguments) {
        Ok(names) => {
            let those = named().filter(|(_, name)| names.contains(name));
            args::list(those.map(|(command, name)| (name, command.summary)));
            exit::OK
        }
        Err(sentence) => {
            console::complain(SPEC.name, &sentence);
            exit::USAGE
        }
    }
}

/// The commands with their names, as they stand behind `cloudcore`.
fn named() -> impl Iterator<Item = (&'static Command, &'static str)> {
    let commands = COMMANDS.iter().chain(&ORDERS).copied();
    commands.filter_map(|command| Some((command, command.spec.name.strip_prefix("cloudcore ")?)))
}

/// The daemon, and what is done with its files.
pub static COMMANDS: [&Command; 5] = [
    &DAEMON,
    &operator::IMPORT_CA,
    &rotation::ROTATION,
    &rotation::STANDING,
    &operator::ADD_NAMES,
];

static DAEMON: Command = Command {
    summary: "the cloud side",
    spec: &SPEC,
    info: Flags::get_args_info,
    run: run_daemon,
};

fn run_daemon(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    if flags.version {
        console::line(&format!("cloudcore {}", env!("CARGO_PKG_VERSION")));
        return exit::OK;
    }
    if flags.defaultconfig || flags.minconfig {
        console::out(&sample(flags.minconfig));
        return exit::OK;
    }
    signals::hold_reload();
    let fail =
        |error: &dyn std::error::Error, code| args::fail(SPEC.name, error, given.verbosity, code);
    let verbosity = u32::from(given.verbosity.unwrap_or(0));
    match log::level(verbosity, flags.log_level.as_deref()) {
        Ok(level) => log::init(level, SPEC.name, &host.root),
        Err(error) => return fail(&error, exit::USAGE),
    }
    let overrides = match flags.overrides() {
        Ok(overrides) => overrides,
        Err(sentence) => {
            console::complain(SPEC.name, &sentence);
            return exit::USAGE;
        }
    };
    // A path that a person types is theirs; the default lies below the root prefix.
    let (path, optional) = match flags.config {
        Some(path) => (path, false),
        None => (host.root.at(CONFIG), true),
    };
    let settings = match Settings::load(&host.files, &path, optional, &overrides) {
        Ok((settings, warnings)) => {
            warnings
                .iter()
                .for_each(|warning| ::log::warn!("{warning}"));
            settings
        }
        Err(error) => return fail(&error, exit::CONFIG),
    };
    processes::leave_session();
    // Modes are always given; this is for what a library might create.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let code = match serve(host, settings, Orders::Signals, |_| {}) {
        Ok(()) => exit::OK,
        Err(error) => fail(&error, error.exit_code()),
    };
    log::flush();
    code
}

/// A configuration file to begin with, for this host.
fn sample(minimal: bool) -> String {
    let ip = network::outward_address().to_string();
    if minimal {
        CloudConfig::min_yaml(&ip)
    } else {
        CloudConfig::default_yaml(&ip)
    }
}

/// the cloud side
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// configuration file; default: /etc/kubeedge/config/cloudcore.yaml, if it is there
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,
    /// print a configuration with every key and its default
    #[argh(switch)]
    defaultconfig: bool,
    /// print a short configuration that works as it is
    #[argh(switch)]
    minconfig: bool,
    /// print the version
    #[argh(switch)]
    version: bool,
    /// address to listen on for certificates and tunnels, instead of the file's
    #[argh(option, arg_name = "address")]
    listen: Option<IpAddr>,
    /// port for certificates, instead of the file's; 0: any
    #[argh(option, arg_name = "port")]
    https_port: Option<u16>,
    /// port for tunnels, instead of the file's; 0: any
    #[argh(option, arg_name = "port")]
    hub_port: Option<u16>,
    /// one port more that serves both, such as 443; 0: any
    #[argh(option, arg_name = "port")]
    single_port: Option<u16>,
    /// port for metrics, instead of the file's; 0: any
    #[argh(option, arg_name = "port")]
    metrics_port: Option<u16>,
    /// file to write the ports to, as JSON, once all is served
    #[argh(option, arg_name = "file")]
    ports_file: Option<PathBuf>,
    /// life of the certificates for edges, such as 720h or 90s, instead of the file's
    #[argh(option, arg_name = "duration")]
    edge_cert_lifetime: Option<String>,
    /// a token does not give a node name to a second key
    #[argh(switch)]
    protect_names: bool,
    /// how long after its end a certificate may be renewed, such as 30d, instead of the file's; 0: never
    #[argh(option, arg_name = "duration")]
    renew_after_expiry: Option<String>,
    /// make a CA even where it is gone after the next boot
    #[argh(switch)]
    allow_volatile_ca: bool,
    /// on a cluster, record there what nodes acknowledge, for cloudcores of KubeEdge beside this one
    #[argh(switch)]
    object_sync: bool,
    /// keep all rights, for finding faults
    #[argh(switch)]
    no_sandbox: bool,
    /// where the state is: the kubeconfig of a cluster, in-cluster, or none for files here;
    /// default: what the file says, or the cluster of the pod, if this is one
    #[argh(option, arg_name = "file")]
    kube_config: Option<String>,
    /// off, error, warn, info or debug; default: what -v or KUBEEDGE_LOG say
    #[argh(option, arg_name = "level")]
    log_level: Option<String>,
}

impl Flags {
    fn overrides(&self) -> Result<Overrides, String> {
        let lifetime = self
            .edge_cert_lifetime
            .as_deref()
            .map(duration::parse)
            .transpose();
        let lifetime = lifetime.map_err(|error| format!("--edge-cert-lifetime: {error}"))?;
        if lifetime.is_some_and(|lifetime| lifetime.is_zero()) {
            return Err("--edge-cert-lifetime must be longer than zero".to_owned());
        }
        let grace = self.renew_after_expiry.as_deref();
        let grace = grace.map(duration::parse_with_days).transpose();
        let grace = grace.map_err(|error| format!("--renew-after-expiry: {error}"))?;
        Ok(Overrides {
            listen: self.listen,
            https_port: self.https_port,
            hub_port: self.hub_port,
            single_port: self.single_port,
            metrics_port: self.metrics_port,
            edge_cert_lifetime: lifetime,
            protect_names: self.protect_names,
            renew_after_expiry: grace,
            allow_volatile_ca: self.allow_volatile_ca,
            ports_file: self.ports_file.clone(),
            object_sync: self.object_sync,
            no_sandbox: self.no_sandbox,
            kube_config: self.kube_config.clone(),
        })
    }
}

static SPEC: Spec = Spec {
    name: "cloudcore",
    about: "Issues certificates to edges that show a join token, and holds their tunnels. \
            `cloudcore ca import` takes over a CA, `cloudcore ca rotate` replaces it while devices \
            follow, `cloudcore ca status` shows which have; `cloudcore cert add-san` adds names to \
            the serving certificate; `cloudcore ctl` sees nodes and gives them objects.",
    examples: &[
        "cloudcore",
        "cloudcore --minconfig > cloudcore.yaml",
        "cloudcore --config cloudcore.yaml",
        "cloudcore ca import --cert rootCA.crt --key rootCA.key",
        "cloudcore ca rotate --dry-run",
        "cloudcore ca status",
        "cloudcore ctl nodes",
        "cloudcore cert add-san cloud.example.org 192.0.2.7",
    ],
    spellings: &[],
    ignored: &[KLOG],
};

const CONFIG: &str = "/etc/kubeedge/config/cloudcore.yaml";
