//! What a check looks with, and what it has seen.

use serde::Serialize;

use super::Wish;
use crate::config::edge::EdgeConfig;
use crate::config::edge::network::CloudAt;
use crate::keadm::ctl::table::aligned;
use crate::keadm::device::{self, Device, DeviceError};
use crate::keadm::join::present::Identity;
use crate::keadm::out::Report;
use crate::keadm::status::{self, Status};
use crate::system::args;
use crate::system::clock::Timestamp;
use crate::system::counted::counted;
use crate::system::exit;
use crate::system::host::Host;
use crate::system::way::Way;

/// One check of a device.
pub struct Look<'a> {
    pub host: &'a Host,
    pub wish: &'a Wish,
    /// The item at hand.
    pub item: &'static str,
    pub config: Result<(EdgeConfig, Vec<String>), DeviceError>,
    pub device: Option<Device>,
    pub identity: Option<Identity>,
    pub status: Status,
    /// The way that edgecore would go, or why it can't be told.
    pub way: Result<Way, String>,
    pub clouds: Vec<CloudAt>,
    /// From where connections came about, and how much they take at a time.
    pub links: Vec<(std::net::IpAddr, u32)>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Good,
    Warning,
    Failed,
}

/// One line of the table.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub item: &'static str,
    pub what: String,
    pub state: State,
    pub found: String,
    /// What to do about it; none where it is as it should be.
    pub remedy: Option<String>,
}

/// All that was seen.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    pub good: bool,
    pub now: Timestamp,
    pub rows: Vec<Row>,
}

impl Look<'_> {
    pub fn begin<'a>(host: &'a Host, wish: &'a Wish) -> Look<'a> {
        let config = device::load(host, wish.config.as_deref());
        let loaded = config.as_ref().ok().map(|(config, _)| config);
        let device = loaded.and_then(|config| Device::of(host, config).ok());
        let way = loaded.map_or(Ok(Way::default()), |config| {
            let way = config
                .hub
                .network
                .way(host, |name| std::env::var(name).ok());
            way.map_err(|error| error.to_string())
        });
        let clouds = loaded.map_or(Vec::new(), |config| {
            let hub = &config.hub;
            hub.network.clouds(&hub.websocket.server, &hub.http_server)
        });
        Look {
            identity: device.as_ref().and_then(|it| Identity::read(host, it)),
            status: status::status(host, wish.config.as_deref()).0,
            host,
            wish,
            item: "",
            config,
            device,
            way,
            clouds,
            links: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub fn end(self) -> Checked {
        Checked {
            good: self.rows.iter().all(|row| row.state != State::Failed),
            now: self.host.clock.now(),
            rows: self.rows,
        }
    }

    pub fn good(&mut self, what: &str, found: String) {
        self.add(what, State::Good, found, None);
    }

    pub fn warning(&mut self, what: &str, found: String, remedy: &str) {
        self.add(what, State::Warning, found, Some(remedy.to_owned()));
    }

    pub fn failed(&mut self, what: &str, found: &str, remedy: String) {
        self.add(what, State::Failed, found.to_owned(), Some(remedy));
    }

    pub fn add(&mut self, what: &str, state: State, found: String, remedy: Option<String>) {
        self.rows.push(Row {
            item: self.item,
            what: what.to_owned(),
            state,
            found,
            remedy,
        });
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Warning => "warning",
            State::Failed => "FAILED",
        }
    }
}

impl Checked {
    pub fn code(&self) -> u8 {
        match self.good {
            true => exit::OK,
            false => exit::FAILURE,
        }
    }
}

impl Report for Checked {
    fn text(&self) -> String {
        let mut lines = vec![
            ["ITEM", "WHAT", "STATE", "FOUND"]
                .map(str::to_owned)
                .to_vec(),
        ];
        lines.extend(self.rows.iter().map(|row| {
            let state = row.state.word().to_owned();
            vec![
                row.item.to_owned(),
                row.what.clone(),
                state,
                row.found.clone(),
            ]
        }));
        let mut text = aligned(&lines);
        for state in [State::Failed, State::Warning] {
            for row in self.rows.iter().filter(|row| row.state == state) {
                let remedy = row.remedy.as_deref().unwrap_or_default();
                let line = format!("\n{} {}, {}: {remedy}", state.word(), row.item, row.what);
                text.push_str(&args::wrap(&line, 2));
            }
        }
        let count = |state| self.rows.iter().filter(|row| row.state == state).count();
        text.push_str(&format!(
            "\n{} checked, {} failed, {}.\n",
            self.rows.len(),
            count(State::Failed),
            counted(count(State::Warning), "warning")
        ));
        text
    }
}
