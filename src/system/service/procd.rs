//! procd, of OpenWrt: a script, a switch in UCI, and a list of what a firmware upgrade keeps.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::call::Program;
use super::error::ServiceError;
use super::none::NoInit;
use super::report::{Report, Status, Touch};
use super::{Daemon, Service, written};
use crate::system::host::Host;
use crate::system::processes::{Process, ProcessError};
use crate::system::uci;

/// Below a root prefix only files are written, and the daemon is started as without an init
/// system.
pub struct Procd {
    host: Host,
    daemon: Daemon,
    pub(super) ubus: Option<Program>,
}

impl Procd {
    pub fn new(host: &Host, daemon: Daemon) -> Procd {
        Procd {
            ubus: Program::find(&host.root, "ubus", "UBUS"),
            host: host.clone(),
            daemon,
        }
    }

    fn script(&self) -> PathBuf {
        self.host.root.at(SCRIPTS).join(self.daemon.name)
    }

    /// As its first line has it.
    fn command(&self) -> Program {
        Program::script(&[&self.host.root.at("/etc/rc.common"), &self.script()])
    }

    /// What `enable` of rc.common makes.
    fn links(&self) -> [PathBuf; 2] {
        let folder = self.host.root.at("/etc/rc.d");
        ["S95", "K10"].map(|order| folder.join(format!("{order}{}", self.daemon.name)))
    }

    /// Whether each firmware brings executable and script anew. What is kept would lie over them.
    fn is_packaged(&self) -> bool {
        let mut lists = LISTS.iter().map(|list| self.host.root.at(list));
        self.daemon.is_packaged() && lists.any(|list| list.exists())
    }

    /// As a package has it, or with our mark.
    fn text(&self, text: &str) -> String {
        match self.is_packaged() {
            true => text.to_owned(),
            false => written::marked(text),
        }
    }

    /// Executables, scripts, and the list itself: what no package brings back.
    fn keep(&self) -> String {
        if self.is_packaged() {
            return KEEP.to_owned();
        }
        let mut text = KEEP.to_owned();
        for name in ["kubeedge", "keadm", "edgecore", "cloudcore"] {
            text.push_str(&format!("{}/{name}\n", self.daemon.folder));
        }
        for name in NAMES {
            text.push_str(&format!(
                "{SCRIPTS}/{name}\n/etc/rc.d/S95{name}\n/etc/rc.d/K10{name}\n"
            ));
        }
        format!("{text}{CONFIG}\n{KEPT}\n")
    }

    fn config(&self) -> Result<String, ServiceError> {
        let path = self.host.root.at(CONFIG);
        let bytes = self.host.files.read_opt(&path, written::MAX)?;
        let text = bytes.map(String::from_utf8).transpose();
        let text = text.map_err(|_| ServiceError::Strange {
            path,
            why: "not a text: write it anew, or remove it",
        })?;
        Ok(text.unwrap_or_else(|| SHIPPED.to_owned()))
    }

    fn switch(&self, enabled: bool) -> Result<Option<Touch>, ServiceError> {
        let (before, path) = (self.config()?, self.host.root.at(CONFIG));
        written::sweep(&self.host, &path)?;
        let after = uci::with_switch(&before, self.daemon.name, ENABLED, enabled);
        if after == before {
            return Ok(None);
        }
        if let Some(folder) = path.parent() {
            self.host.files.make_dir(folder, 0o755)?;
        }
        self.host.files.replace(&path, after.as_bytes(), 0o600)?;
        Ok(Some(Touch::Changed(path)))
    }

    /// What procd starts, and starts again.
    fn instances(&self, ubus: &Program) -> Result<Map<String, Value>, ServiceError> {
        let name = self.daemon.name;
        let asked = format!("{{\"name\":\"{name}\"}}");
        let told = ubus.output(&["call", "service", "list", &asked])?;
        // What is no JSON names no instance.
        let mut told: Value = serde_json::from_str(&told).unwrap_or_default();
        let instances = told.pointer_mut(&format!("/{name}/instances"));
        Ok(match instances.map(Value::take) {
            Some(Value::Object(instances)) => instances,
            _ => Map::new(),
        })
    }

    fn without_procd(&self) -> NoInit {
        NoInit::new(&self.host, self.daemon.clone())
    }

    fn other_is_ours(&self) -> Result<bool, ServiceError> {
        for name in NAMES.iter().filter(|name| **name != self.daemon.name) {
            let path = self.host.root.at(SCRIPTS).join(name);
            if written::has_mark(&self.host, &path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Service for Procd {
    fn kind(&self) -> &'static str {
        "procd"
    }

    fn files(&self) -> Result<Vec<(PathBuf, String)>, ServiceError> {
        let script = self.daemon.adapted(SCRIPT);
        Ok(vec![
            (self.script(), self.text(&script)),
            (self.host.root.at(CONFIG), SHIPPED.to_owned()),
            (self.host.root.at(KEPT), self.text(&self.keep())),
        ])
    }

    fn is_installed(&self) -> bool {
        let shebang = self.host.files.read(&self.script(), written::MAX);
        shebang.is_ok_and(|text| text.starts_with(SHEBANG))
    }

    fn is_ours(&self) -> bool {
        written::is_ours(&self.host, &self.script())
    }

    fn install(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        let script = (self.script(), self.daemon.adapted(SCRIPT), 0o755);
        if written::is_foreign(&self.host, &script.0)? {
            return Ok(report);
        }
        let mut files = [script, (self.host.root.at(KEPT), self.keep(), 0o644)];
        if self.is_packaged() {
            // With the script the package has its own again, should the power fail.
            files.reverse();
        }
        for (path, text, mode) in files {
            let text = self.text(&text);
            report.add(written::put_plain(&self.host, &path, &text, mode)?);
        }
        Ok(report)
    }

    fn enable(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        report.add(self.switch(true)?);
        let target = Path::new("../init.d").join(self.daemon.name);
        for link in self.links() {
            report.add(written::link(&self.host, &target, &link)?);
        }
        Ok(report)
    }

    fn disable(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        if self.host.files.exists(&self.host.root.at(CONFIG)) {
            report.add(self.switch(false)?);
        }
        if written::is_foreign(&self.host, &self.script())? {
            return Ok(report);
        }
        for link in self.links() {
            report.add(written::delete(&self.host, &link)?);
        }
        Ok(report)
    }

    fn start(&self) -> Result<Report, ServiceError> {
        if self.ubus.is_none() {
            return self.without_procd().start();
        }
        if matches!(self.status()?, Status::Running(_)) {
            return Ok(Report::nothing());
        }
        // Somebody who starts it wants it, whatever UCI says.
        let mut report = Report::nothing();
        report.add(self.switch(true)?);
        report.add(Some(self.command().run(&["start"])?));
        match self.status()? {
            Status::Running(_) => Ok(report),
            _ => Err(ServiceError::NotStarted(self.daemon.name)),
        }
    }

    fn stop(&self) -> Result<Report, ServiceError> {
        let Some(ubus) = &self.ubus else {
            return self.without_procd().stop();
        };
        if !self.is_installed() {
            return Ok(Report::nothing());
        }
        // Between two starts none runs, and procd would start the next.
        let instances = self.instances(ubus)?;
        if instances.is_empty() {
            return Ok(Report::nothing());
        }
        let process = running(&instances).flatten().and_then(Process::get);
        let ran = self.command().run(&["stop"])?;
        // procd goes on while the process ends.
        let end = Instant::now() + GRACE;
        while let Some(process) = process.as_ref().filter(|process| process.is_alive()) {
            if Instant::now() >= end {
                return Err(ProcessError::Stuck(process.pid).into());
            }
            sleep(POLL);
        }
        Ok(Report::done(ran))
    }

    fn status(&self) -> Result<Status, ServiceError> {
        let Some(ubus) = &self.ubus else {
            return self.without_procd().status();
        };
        if !self.is_installed() {
            return Ok(Status::NotInstalled);
        }
        let running = running(&self.instances(ubus)?);
        Ok(running.map_or(Status::Stopped, Status::Running))
    }

    fn starts_at_boot(&self) -> Result<bool, ServiceError> {
        let [link, _] = self.links();
        let linked = link.symlink_metadata().is_ok();
        Ok(linked && uci::is_on(&self.config()?, self.daemon.name, ENABLED))
    }

    fn remove(&self) -> Result<Report, ServiceError> {
        let mut report = Report::nothing();
        if self.is_packaged() && self.is_ours() {
            // The package has its own again, which is only switched off.
            report = self.install()?;
        }
        for touch in self.disable()?.touched {
            report.add(Some(touch));
        }
        let (script, host) = (self.script(), &self.host);
        // The script goes last: it tells whose the rest is, should the power fail.
        if written::has_mark(host, &script)? {
            if !self.other_is_ours()? {
                report.add(written::remove(host, &host.root.at(KEPT))?);
                report.add(written::delete(host, &host.root.at(CONFIG))?);
            }
            report.add(written::remove(host, &script)?);
        }
        Ok(report)
    }
}

/// The first that runs, by its process if procd tells it.
fn running(instances: &Map<String, Value>) -> Option<Option<u32>> {
    let instance = instances.values().find(|it| it["running"] == true)?;
    let pid = instance["pid"].as_u64();
    Some(pid.and_then(|pid| u32::try_from(pid).ok()))
}

const SCRIPT: &str = include_str!("../../../init-scripts/procd/edgecore");
const SHIPPED: &str = include_str!("../../../init-scripts/procd/kubeedge.config");
const KEEP: &str = include_str!("../../../init-scripts/procd/keep.d");
const SHEBANG: &[u8] = b"#!/bin/sh /etc/rc.common\n";
/// The option by which a person switches it.
const ENABLED: &str = "enabled";
const NAMES: [&str; 2] = ["edgecore", "cloudcore"];
const SCRIPTS: &str = "/etc/init.d";
const CONFIG: &str = "/etc/config/kubeedge";
const KEPT: &str = "/lib/upgrade/keep.d/kubeedge";
/// What opkg and apk have of our packages.
const LISTS: [&str; 4] = [
    "/usr/lib/opkg/info/kubeedge.list",
    "/usr/lib/opkg/info/kubeedge-edge.list",
    "/lib/apk/packages/kubeedge.list",
    "/lib/apk/packages/kubeedge-edge.list",
];
/// The script has procd kill after 20 s.
const GRACE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
