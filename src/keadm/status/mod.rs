//! `status`: where this device stands, on one screen, whether edgecore runs or not.

mod gather;
mod judge;

use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::out::{self, Format, Report};
use super::span::span;
use super::{Command, Group};
use crate::protocol::control::{Counts, Failures};
use crate::protocol::transport::Transport;
use crate::system::args::{self, Spec};
use crate::system::clock::Timestamp;
use crate::system::counted::counted;
use crate::system::host::Host;
use gather::Answer;

pub static COMMAND: Command = Command {
    name: "status",
    group: Group::Edge,
    summary: "tell whether this device is connected, and what it lacks",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to show
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
    /// edgecore's configuration; default: /etc/kubeedge/config/edgecore.yaml
    #[argh(option, arg_name = "file")]
    config: Option<String>,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let (status, code) = status(host, given.flags.config.as_deref());
    out::show(&status, given.flags.output);
    code
}

/// All that can be found out, and the exit code that says it in short.
pub fn status(host: &Host, config: Option<&str>) -> (Status, u8) {
    let found = gather::gather(host, config);
    let verdict = judge::judge(&found);
    let code = verdict.code;
    let (now, clock_shows) = match &found.edgecore {
        Answer::Status(status) => (status.now, status.clock_shows),
        _ => (None, None),
    };
    let status = Status {
        connected: verdict.connected,
        verdict: verdict.sentence,
        advice: verdict.advice,
        now: now.unwrap_or_else(|| host.clock.now()),
        clock_shows,
        node: found.node,
        cloud: found.cloud,
        executable: found.executable,
        service: found.service,
        edgecore: found.edgecore.into_facts(),
        certificate: found.certificate,
    };
    (status, code)
}

/// What `--output json` shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub connected: bool,
    /// The one sentence to read when there is time for one.
    pub verdict: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// By the device's clock, or by the cloud's when that is known to be wrong.
    pub now: Timestamp,
    /// What the device's clock shows, when that is known to be wrong.
    pub clock_shows: Option<Timestamp>,
    pub node: Option<String>,
    pub cloud: Option<String>,
    pub executable: Executable,
    pub service: ServiceFacts,
    /// What edgecore itself says; none when it does not run or does not answer.
    pub edgecore: Option<Edgecore>,
    pub certificate: Option<CertificateFacts>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Executable {
    pub path: String,
    pub installed: bool,
    /// The names that lead to it.
    pub links: Vec<&'static str>,
    pub missing_links: Vec<&'static str>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFacts {
    /// systemd or none.
    pub init: &'static str,
    pub installed: bool,
    pub starts_at_boot: bool,
    pub running: bool,
    pub pid: Option<u32>,
    /// Why less is known than usual.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edgecore {
    pub version: String,
    pub pid: u32,
    /// The process below it that does the work; none without a supervisor.
    pub hub_pid: Option<u32>,
    /// What the process that works has given up.
    pub sandbox: Vec<String>,
    /// Where the cloud's objects are kept; none from an older edgecore.
    pub objects_in: Option<String>,
    pub state: String,
    pub since: Timestamp,
    pub last_error: Option<Problem>,
    pub session: Option<Session>,
    pub next_rotation: Option<Timestamp>,
    /// The device as a node; none where it is none, or before the cloud was asked.
    pub registration: Option<Registration>,
    /// What came of the cloud's messages since edgecore started; none from an older edgecore.
    pub messages: Option<Counts>,
    /// How often what failed since then; none from an older edgecore.
    pub failures: Option<Failures>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// When the cloud's present Node was made; none while there is none.
    pub since: Option<Timestamp>,
    /// The condition `Ready`, as the cloud said last.
    pub ready: Option<String>,
    pub lease_renewed: Option<Timestamp>,
    pub address: Option<String>,
    pub problem: Option<Problem>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    pub at: Timestamp,
    pub message: String,
    /// False: waiting does not help.
    pub retryable: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub generation: u64,
    pub since: Timestamp,
    pub peer: String,
    /// Of the certificate that it was opened with.
    pub serial: String,
    pub tunnel: Transport,
    /// Why the tunnel is not over QUIC, where that is wanted.
    pub no_quic: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Report for Status {
    fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.verdict);
        for (title, value) in self.rows() {
            text.push_str(&format!("  {title:<14}{value}\n"));
        }
        if let Some(advice) = &self.advice {
            text.push_str(&format!(
                "\n{}",
                args::wrap(&format!("What to do: {advice}"), 0)
            ));
        }
        text
    }
}

impl Status {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let unknown = || "unknown".to_owned();
        let mut rows = vec![
            ("node", self.node.clone().unwrap_or_else(unknown)),
            ("cloud", self.cloud.clone().unwrap_or_else(unknown)),
            ("executable", self.executable.words()),
            ("service", self.service.words()),
        ];
        match &self.edgecore {
            Some(edgecore) => {
                let since = self.ago(edgecore.since);
                let Edgecore { version, state, .. } = edgecore;
                rows.push((
                    "edgecore",
                    format!("{state} since {since}, version {version}"),
                ));
                rows.push(("sandbox", edgecore.sandbox_words()));
                if let Some(place) = &edgecore.objects_in {
                    rows.push(("objects in", place.clone()));
                }
                rows.push((
                    "session",
                    edgecore.session.as_ref().map_or_else(
                        || "none".to_owned(),
                        |it| {
                            format!(
                                "number {} with {}, since {}",
                                it.generation, it.peer, it.since
                            )
                        },
                    ),
                ));
                if let Some(it) = &edgecore.session {
                    let why = it.no_quic.as_ref();
                    let why = why.map_or_else(String::new, |why| format!(", not QUIC: {why}"));
                    rows.push(("tunnel", format!("{}{why}", it.tunnel)));
                }
                if let Some(registration) = &edgecore.registration {
                    rows.extend(self.node_rows(registration));
                }
                let skipped = edgecore.messages.map_or(0, |messages| messages.skipped);
                if skipped > 0 {
                    rows.push((
                        "messages",
                        format!(
                            "{skipped} of the cloud's were skipped, since they can't be understood"
                        ),
                    ));
                }
                if let Some(failures) = edgecore.failures.filter(|it| *it != Failures::default()) {
                    rows.push(("failed so far", words_of(failures)));
                }
                rows.push((
                    "last error",
                    edgecore.last_error.as_ref().map_or_else(
                        || "none".to_owned(),
                        |it| format!("{}, {}", self.ago(it.at), it.message),
                    ),
                ));
            }
            None => rows.push(("edgecore", "gives no answer".to_owned())),
        }
        rows.push((
            "certificate",
            match &self.certificate {
                Some(it) if it.not_after <= self.now => {
                    format!("ended {}, serial {}", self.ago(it.not_after), it.serial)
                }
                Some(it) => {
                    let left = span(it.not_after.since(self.now));
                    format!("until {} ({left} left), serial {}", it.not_after, it.serial)
                }
                None => "none that can be read".to_owned(),
            },
        ));
        if let Some(next) = self
            .edgecore
            .as_ref()
            .and_then(|edgecore| edgecore.next_rotation)
        {
            let when = match next.since(self.now) {
                Duration::ZERO => "due now".to_owned(),
                left => format!("in {}", span(left)),
            };
            rows.push(("next renewal", format!("{next} ({when})")));
        }
        if let Some(shown) = self.clock_shows {
            let now = self.now;
            rows.push((
                "clock",
                format!("says {shown}, the cloud {now}: see which is wrong and set it"),
            ));
        }
        rows
    }

    fn node_rows(&self, registration: &Registration) -> Vec<(&'static str, String)> {
        let Some(since) = registration.since else {
            let why = registration.problem.as_ref();
            let why = why.map_or_else(String::new, |it| format!(": {}", it.message));
            return vec![("as a node", format!("no node yet{why}"))];
        };
        let ready = match registration.ready.as_deref() {
            Some("True") => "Ready",
            Some("False") => "not Ready",
            _ => "of unknown state",
        };
        let address = registration.address.as_deref().unwrap_or("unknown");
        let mut rows = vec![(
            "as a node",
            format!("{ready}, address {address}, a node since {since}"),
        )];
        if let Some(renewed) = registration.lease_renewed {
            rows.push(("lease", format!("renewed {}", self.ago(renewed))));
        }
        if let Some(problem) = &registration.problem {
            let at = self.ago(problem.at);
            rows.push(("node problem", format!("{at}, {}", problem.message)));
        }
        rows
    }

    fn ago(&self, then: Timestamp) -> String {
        format!("{then} ({} ago)", span(self.now.since(then)))
    }
}

/// What failed, and how often.
fn words_of(failures: Failures) -> String {
    let all = [
        (failures.enrolments, "attempt", " to get a certificate"),
        (failures.renewals, "renewal", ""),
        (failures.tunnels, "attempt", " at a tunnel"),
        (failures.sessions, "session", " that broke off"),
    ];
    let some = all.into_iter().filter(|(count, ..)| *count > 0);
    let words: Vec<String> = some
        .map(|(count, thing, more)| counted(count as usize, thing) + more)
        .collect();
    words.join(", ")
}

impl Edgecore {
    fn sandbox_words(&self) -> String {
        match self.sandbox.is_empty() {
            true => "unknown".to_owned(),
            false => self.sandbox.join(", "),
        }
    }
}

impl Executable {
    fn words(&self) -> String {
        if !self.installed {
            return format!("not installed as {}", self.path);
        }
        let links = match self.links.as_slice() {
            [] => "no links".to_owned(),
            links => format!("links {}", links.join(", ")),
        };
        match self.missing_links.as_slice() {
            [] => format!("{}, {links}", self.path),
            missing => format!("{}, {links}, missing: {}", self.path, missing.join(", ")),
        }
    }
}

impl ServiceFacts {
    fn words(&self) -> String {
        if let Some(problem) = &self.problem {
            return problem.clone();
        }
        let init = match self.init {
            "none" => "no init system",
            init => init,
        };
        let boot = match (self.installed, self.starts_at_boot) {
            (false, _) => "not installed",
            (true, true) => "installed, starts at boot",
            (true, false) => "installed, does not start at boot",
        };
        match (self.running, self.pid) {
            (true, Some(pid)) => format!("{init}: {boot}, runs as process {pid}"),
            (true, None) => format!("{init}: {boot}, runs"),
            (false, _) => format!("{init}: {boot}, does not run"),
        }
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge status",
    about: "Tells on one screen whether this device is connected to its cloud, since when, with \
            which certificate and until when; and if it is not, why, and what to do. Works when \
            edgecore does not run. Exit code: 0 connected; 75 not yet, edgecore is at work on it; \
            69 not, and somebody has to do something.",
    examples: &["kubeedge status", "kubeedge status -o json"],
    spellings: &[],
    ignored: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_failed_is_named() {
        let failures = Failures {
            renewals: 2,
            tunnels: 12,
            sessions: 1,
            ..Failures::default()
        };
        assert_eq!(
            words_of(failures),
            "2 renewals, 12 attempts at a tunnel, 1 session that broke off"
        );
    }
}
