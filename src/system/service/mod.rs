//! Daemons as services: one small trait, and one file per init system.

mod call;
mod choice;
mod daemon;
mod detect;
mod error;
mod inittab;
mod none;
mod openrc;
mod procd;
mod rcs;
mod report;
mod systemd;
mod written;

use std::path::PathBuf;
use std::time::Duration;

pub use choice::{Choice, UnknownChoice};
pub use daemon::{Daemon, FOLDERS, folder_of};
pub use error::ServiceError;
pub use report::{Outcome, Report, Status, Touch};

use crate::system::host::Host;
use crate::system::processes::{self, Ended, Process};
use inittab::Inittab;
use none::NoInit;
use openrc::OpenRc;
use procd::Procd;
use rcs::Rcs;
use systemd::Systemd;

/// What an init system does for a daemon. All calls block; none needs the daemon to be in any
/// particular state, and what is done already is a success.
pub trait Service {
    /// As `--init` calls it.
    fn kind(&self) -> &'static str;

    /// What `install` would write where: the whole of each file.
    fn files(&self) -> Result<Vec<(PathBuf, String)>, ServiceError>;

    /// Whether the files are there, ours or a package's.
    fn is_installed(&self) -> bool;

    /// Whether join wrote them.
    fn is_ours(&self) -> bool;

    /// Writes the files by which the init system knows the daemon. What a package brought is used
    /// as it is.
    fn install(&self) -> Result<Report, ServiceError>;

    /// Has the daemon started at boot.
    fn enable(&self) -> Result<Report, ServiceError>;

    /// Undoes `enable`.
    fn disable(&self) -> Result<Report, ServiceError>;

    fn start(&self) -> Result<Report, ServiceError>;

    /// Returns when the daemon is gone.
    fn stop(&self) -> Result<Report, ServiceError>;

    /// Starts it anew, or at all. Wherever that is cut short, the daemon starts at the next boot as
    /// it would have before. What is `left` besides, since the init system does not know of it, is ended.
    fn restart(&self, left: Option<&Process>) -> Result<Report, ServiceError> {
        let mut report = self.stop()?;
        report.add(end_what_is_left(left)?);
        let started = self.start()?;
        if started.outcome != Outcome::Already {
            report.outcome = started.outcome;
        }
        report.touched.extend(started.touched);
        Ok(report)
    }

    fn status(&self) -> Result<Status, ServiceError>;

    /// Whether the daemon is started when the machine boots.
    fn starts_at_boot(&self) -> Result<bool, ServiceError>;

    /// Undoes `enable` and `install`; a daemon that runs is not stopped.
    fn remove(&self) -> Result<Report, ServiceError>;
}

/// The service of a daemon on this machine, by the init system that was chosen or is found.
pub fn detect(host: &Host, daemon: Daemon, choice: Choice) -> Box<dyn Service> {
    match choice {
        Choice::Auto => found(host, daemon),
        Choice::BusyBox => Box::new(Inittab::new(host, daemon)),
        Choice::None => Box::new(NoInit::new(host, daemon)),
        Choice::OpenRc => Box::new(OpenRc::new(host, daemon)),
        Choice::Procd => Box::new(Procd::new(host, daemon)),
        Choice::Rcs => Box::new(Rcs::new(host, daemon)),
        Choice::Systemd => Box::new(Systemd::new(host, daemon)),
    }
}

fn found(host: &Host, daemon: Daemon) -> Box<dyn Service> {
    let running = detect::running(&host.root);
    let service = detect(host, daemon.clone(), running);
    let script = Rcs::new(host, daemon);
    // A script that is there does on BusyBox, and a line in inittab would start a second one.
    match running == Choice::BusyBox && !service.is_installed() && script.is_installed() {
        true => Box::new(script),
        false => service,
    }
}

/// Stops and removes what other init systems than this one have of the daemon: what an earlier
/// choice has left. `None` means all of them.
pub fn give_up(
    host: &Host,
    daemon: &Daemon,
    kept: Option<&dyn Service>,
) -> Vec<Result<Report, ServiceError>> {
    let running = detect(host, daemon.clone(), detect::running(&host.root)).kind();
    let mut results = Vec::new();
    let mut all: Vec<_> = Choice::ALL
        .iter()
        .map(|choice| detect(host, daemon.clone(), *choice))
        .filter(|service| kept.is_none_or(|it| it.kind() != service.kind()))
        .collect();
    // What a power cut has left half written is no service's.
    // In one that can't be used nothing was ever written.
    for (path, _) in all.iter().filter_map(|it| it.files().ok()).flatten() {
        results.extend(written::sweep(host, &path).err().map(Err));
    }
    all.retain(|service| service.is_installed());
    // The one that runs goes first: it would start the daemon again.
    all.sort_by_key(|service| service.kind() != running);
    for service in all {
        let kind = service.kind();
        // One that does not run has started nothing, and can't be asked.
        if kind == running || ["none", "rcs"].contains(&kind) || host.root.prefix().is_some() {
            results.extend(end(&*service));
        }
        results.push(service.remove());
    }
    results
}

/// Stops the daemon for good.
fn end(service: &dyn Service) -> Vec<Result<Report, ServiceError>> {
    let mut results = Vec::new();
    // procd starts what UCI has enabled whenever an uplink comes up, in the midst of this too.
    if service.kind() == "procd" {
        results.push(service.disable());
    }
    results.push(service.stop());
    results
}

/// Ends what an init system has not.
fn end_what_is_left(process: Option<&Process>) -> Result<Option<Touch>, ServiceError> {
    let Some(process) = process else {
        return Ok(None);
    };
    let ended = processes::terminate(process, GRACE)?;
    Ok((ended != Ended::AlreadyGone).then_some(Touch::Ended(process.pid)))
}

/// Whether any init system has something of the daemon that join has written.
pub fn is_any_ours(host: &Host, daemon: &Daemon) -> bool {
    let mut all = Choice::ALL
        .iter()
        .map(|choice| detect(host, daemon.clone(), *choice));
    all.any(|service| service.is_ours())
}

/// Where to read what a daemon has to say, by what started it.
pub fn log_of(host: &Host, kind: &str) -> String {
    let place = match kind {
        "systemd" => "`journalctl -u edgecore`",
        "procd" => "`logread -e edgecore`",
        "none" => return host.root.at(LOG).display().to_string(),
        "busybox" => "/var/log/messages (without a syslogd: the console)",
        "rcs" => "/var/log/messages (without a syslogd: /var/log/kubeedge/edgecore.log)",
        _ => "/var/log/messages",
    };
    place.to_owned()
}

/// Of an edgecore that runs in the background.
const LOG: &str = "/var/log/kubeedge/edgecore.log";

/// A daemon stops within 5 s.
const GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod cuts;
#[cfg(test)]
mod tests;
