//! `certs renew`: has edgecore get a fresh certificate now, and tells what changed.

use std::fmt;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::protocol::control::{
    self, ControlError, EDGE_SOCKET, EDGE_STATUS_SOCKET, EdgeOp, EdgeState, EdgeStatus, Reply,
    Request,
};
use crate::system::args::{self, Spec};
use crate::system::clock::Timestamp;
use crate::system::exit;
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    name: "certs renew",
    group: Group::Edge,
    summary: "get a fresh certificate now; the tunnel stays up",
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
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let format = given.flags.output;
    out::finish(
        SPEC.name,
        given.verbosity,
        format,
        renew(host),
        RenewError::code,
    )
}

/// Asks edgecore and waits until it has the new certificate safely on disk.
pub fn renew(host: &Host) -> Result<Renewed, RenewError> {
    let status = || -> Result<EdgeStatus, ControlError> {
        control::call(
            &host.root.at(EDGE_STATUS_SOCKET),
            &Request::new(EdgeOp::Status),
            PATIENCE,
        )
    };
    let before = status()?.certificate;
    let orders = host.root.at(EDGE_SOCKET);
    let reply: Reply = control::call(&orders, &Request::new(EdgeOp::Renew), RENEWAL)?;
    if let Some(why) = reply.error {
        return Err(match status().map(|it| it.state) {
            Ok(EdgeState::NeedsToken) => RenewError::Denied(why),
            _ => RenewError::Refused(why),
        });
    }
    let after = status()?.certificate.ok_or(RenewError::Unchanged)?;
    let old_serial = before.map(|facts| facts.serial);
    if old_serial.as_ref() == Some(&after.serial) {
        return Err(RenewError::Unchanged);
    }
    Ok(Renewed {
        old_serial,
        serial: after.serial,
        not_before: after.not_before,
        not_after: after.not_after,
    })
}

/// What changed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    pub old_serial: Option<String>,
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Report for Renewed {
    fn text(&self) -> String {
        let old = self.old_serial.as_deref().unwrap_or("none");
        format!(
            "Renewed: serial {old} became {}, good until {}.\n",
            self.serial, self.not_after
        )
    }
}

/// Why there is no new certificate.
#[derive(Debug)]
pub enum RenewError {
    Control(ControlError),
    /// What edgecore said.
    Refused(String),
    /// The same, and it needs a token.
    Denied(String),
    /// edgecore says it is done, and shows the same certificate.
    Unchanged,
}

impl RenewError {
    fn code(&self) -> u8 {
        match self {
            RenewError::Control(ControlError::Denied(_)) | RenewError::Denied(_) => exit::DENIED,
            RenewError::Control(_) => exit::UNAVAILABLE,
            RenewError::Refused(_) => exit::TRY_AGAIN,
            RenewError::Unchanged => exit::FAILURE,
        }
    }
}

impl fmt::Display for RenewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RenewError::Control(ControlError::NotRunning) => {
                f.write_str("edgecore does not run: start it, or see `kubeedge status`")
            }
            RenewError::Control(ControlError::Denied(_)) => {
                f.write_str("only root may have the certificate renewed: run it as root")
            }
            RenewError::Control(error) => error.fmt(f),
            RenewError::Refused(why) | RenewError::Denied(why) => {
                write!(
                    f,
                    "the certificate was not renewed, the old one stays in use: {why}"
                )
            }
            RenewError::Unchanged => f.write_str(
                "edgecore says it has renewed, but its certificate is the same: look into its log",
            ),
        }
    }
}

impl std::error::Error for RenewError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RenewError::Control(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ControlError> for RenewError {
    fn from(error: ControlError) -> RenewError {
        RenewError::Control(error)
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge certs renew",
    about: "Has the running edgecore get a new key and certificate now, and move its tunnel over; \
            prints the serial numbers. It renews by itself in time: this is for tests and for \
            keys that may be known to others. Exit code: 69 edgecore does not run; 75 the cloud \
            gave no certificate now; 77 not allowed, or this device has to join again.",
    examples: &["kubeedge certs renew"],
    spellings: &[],
    ignored: &[],
};

const PATIENCE: Duration = Duration::from_secs(5);
/// edgecore itself gives up after 90 s.
const RENEWAL: Duration = Duration::from_secs(100);
