//! `certs check`: whether the certificates of this machine are whole, valid and well kept.

use std::fmt;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::sides::{self, Row};
use crate::keadm::device::{Device, DeviceError};
use crate::keadm::out::{self, Format, Report};
use crate::keadm::span::span;
use crate::keadm::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::clock::Timestamp;
use crate::system::exit;
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    name: "certs check",
    group: Group::Anywhere,
    summary: "check expiry, chain, keys and modes of what is here",
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
    match check(host, given.flags.config.as_deref()) {
        Ok(checked) => {
            out::show(&checked, given.flags.output);
            checked.code()
        }
        Err(error) => {
            let (code, flags) = (error.code(), given.flags);
            out::fail(SPEC.name, &error, given.verbosity, flags.output, code)
        }
    }
}

/// Looks at the device's files and at the cloud's, whichever there are.
pub fn check(host: &Host, config: Option<&str>) -> Result<Checked, CheckError> {
    let mut rows = match Device::read(host, config) {
        Ok(device) => sides::edge(host, &device),
        Err(DeviceError::Absent(_)) if config.is_none() => Vec::new(),
        Err(error) => return Err(CheckError::Device(error)),
    };
    if sides::has_cloud(host) {
        rows.extend(sides::cloud(host));
    }
    if rows.is_empty() {
        return Err(CheckError::Nothing);
    }
    let good = rows.iter().all(|row| row.faults.is_empty());
    Ok(Checked {
        good,
        now: host.clock.now(),
        rows,
    })
}

/// What was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    pub good: bool,
    pub now: Timestamp,
    pub rows: Vec<Row>,
}

impl Checked {
    pub fn code(&self) -> u8 {
        match self.good {
            true => exit::OK,
            false if self.rows.iter().any(|row| row.denied) => exit::DENIED,
            false => exit::FAILURE,
        }
    }

    /// Every fault, with the row that it stands in.
    pub fn faults(&self) -> impl Iterator<Item = (&Row, &str)> {
        let of_row = |row| Row::faults_of(row);
        self.rows.iter().flat_map(of_row)
    }
}

impl Row {
    fn faults_of(row: &Row) -> impl Iterator<Item = (&Row, &str)> {
        row.faults.iter().map(move |fault| (row, fault.as_str()))
    }
}

impl Report for Checked {
    fn text(&self) -> String {
        let mut text = format!(
            "{:<22} {:<20} {:<12} {}\n",
            "WHAT", "UNTIL", "LEFT", "STATE"
        );
        for row in &self.rows {
            let what = format!("{} {}", row.side, row.what);
            let state = match row.faults.len() {
                0 => "good".to_owned(),
                1 => "1 fault".to_owned(),
                count => format!("{count} faults"),
            };
            let (until, left) = match &row.certificate {
                Some(it) if it.seconds_left == 0 => (it.not_after.to_string(), "none".to_owned()),
                Some(it) => (
                    it.not_after.to_string(),
                    span(Duration::from_secs(it.seconds_left)),
                ),
                None => ("-".to_owned(), "-".to_owned()),
            };
            text.push_str(&format!("{what:<22} {until:<20} {left:<12} {state}\n"));
        }
        if !self.good {
            text.push('\n');
        }
        for (row, fault) in self.faults() {
            text.push_str(&args::wrap(
                &format!("{} {}: {fault}", row.side, row.what),
                4,
            ));
        }
        text
    }
}

/// Why nothing could be checked.
#[derive(Debug)]
pub enum CheckError {
    Device(DeviceError),
    /// Neither a device's files nor a cloud's.
    Nothing,
}

impl CheckError {
    pub fn code(&self) -> u8 {
        match self {
            CheckError::Device(DeviceError::File(error)) if error.is_denied() => exit::DENIED,
            CheckError::Device(DeviceError::Config(_) | DeviceError::Name(_)) => exit::CONFIG,
            CheckError::Device(DeviceError::File(_)) => exit::FAILURE,
            CheckError::Device(DeviceError::Absent(_)) | CheckError::Nothing => exit::UNAVAILABLE,
        }
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::Device(error) => error.fmt(f),
            CheckError::Nothing => f.write_str(
                "there are no certificates here: this machine has joined no cloud, and no \
                 cloudcore has run on it",
            ),
        }
    }
}

impl std::error::Error for CheckError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CheckError::Device(error) => Some(error),
            CheckError::Nothing => None,
        }
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge certs check",
    about: "Checks the certificates and keys of this machine, a device's or a cloud's: that they \
            are valid now and were renewed in time, were issued by the CA beside them, that keys \
            match, copies are equal, and modes keep others away. Changes nothing. Exit code: 0 \
            all is good; 1 something is wrong, each fault is told with its remedy; 69 there is \
            nothing to check; 77 files can't be read by this user.",
    examples: &["kubeedge certs check", "kubeedge certs check -o json"],
    spellings: &[],
    ignored: &[],
};
