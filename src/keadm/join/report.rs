//! What a join has come to, for people and for programs.

use serde::Serialize;

use crate::keadm::out::Report;
use crate::keadm::span::span;
use crate::protocol::control::EdgeStatus;
use crate::system::clock::Timestamp;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    pub node: String,
    /// host:port of the hub.
    pub cloud: String,
    /// Whether there was nothing to do.
    pub already_connected: bool,
    /// Whether this only tells what would be done.
    pub dry_run: bool,
    /// What was changed, or would be, a sentence each.
    pub changes: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    pub certificate: Option<Certificate>,
    pub session: Option<Session>,
    /// `systemd` or `none`.
    pub init: &'static str,
    pub starts_at_boot: bool,
    /// Why not, as far as the init system tells.
    #[serde(skip)]
    pub not_at_boot: Option<&'static str>,
    pub seconds: f64,
    #[serde(skip)]
    pub now: Timestamp,
    /// How this program is called from now on.
    #[serde(skip)]
    pub program: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    pub serial: String,
    pub not_after: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub since: Timestamp,
    pub peer: String,
}

impl Joined {
    /// With what edgecore says of itself.
    pub fn connected(mut self, status: EdgeStatus) -> Joined {
        self.cloud = status.hub().to_owned();
        self.node = status.node;
        self.certificate = status.certificate.map(|facts| Certificate {
            serial: facts.serial,
            not_after: facts.not_after,
        });
        self.session = status.session.map(|facts| Session {
            since: facts.since,
            peer: facts.peer,
        });
        self
    }

    fn headline(&self) -> String {
        let (node, cloud) = (&self.node, &self.cloud);
        match (self.dry_run, self.already_connected) {
            (_, true) => format!("{node} is connected to {cloud} already: nothing was changed"),
            (true, _) => format!("{node} would join {cloud}; nothing was changed"),
            (false, _) => format!(
                "{node} is connected to {cloud}, {:.2} s after the start",
                self.seconds
            ),
        }
    }
}

impl Report for Joined {
    fn text(&self) -> String {
        let mut text = self.headline() + "\n";
        let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<13}{value}\n"));
        if let Some(certificate) = &self.certificate {
            let left = span(certificate.not_after.since(self.now));
            let until = certificate.not_after;
            row(
                "certificate",
                format!("until {until} ({left}); it renews by itself"),
            );
        }
        if let Some(session) = &self.session {
            row(
                "session",
                format!("since {} with {}", session.since, session.peer),
            );
        }
        for change in self.changes.iter().filter(|_| self.dry_run) {
            row("would have", change.clone());
        }
        match self.starts_at_boot {
            true => row("at boot", format!("{} starts edgecore", self.init)),
            false => row(
                "at boot",
                self.not_at_boot.unwrap_or(NOT_AT_BOOT).to_owned(),
            ),
        }
        for note in &self.notes {
            row("note", note.clone());
        }
        if !self.dry_run {
            row("see also", format!("{} status", self.program));
        }
        text
    }
}

const NOT_AT_BOOT: &str = "nothing starts edgecore: have your boot scripts start it";
