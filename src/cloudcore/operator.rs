//! `cloudcore ca import` and `cloudcore cert add-san`: commands that end at once.

use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::ctl::amiss;
use crate::authority::{self, Imported, PairFiles};
use crate::protocol::control::{self, CLOUD_SOCKET, CloudOp, ControlError, Reply, Request};
use crate::store::StoreError;
use crate::store::file::{FileStore, Options};
use crate::system::args::{self, Command, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static IMPORT_CA: Command = Command {
    summary: "take over a CA",
    spec: &IMPORT,
    info: ImportFlags::get_args_info,
    run: import_ca,
};

pub static ADD_NAMES: Command = Command {
    summary: "add names to the serving certificate",
    spec: &ADD_SAN,
    info: AddSanFlags::get_args_info,
    run: add_san,
};

/// Takes over a CA, while no cloudcore runs.
fn import_ca(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<ImportFlags>(&IMPORT, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let ImportFlags {
        cert,
        key,
        force,
        allow_volatile_ca,
    } = given.flags;
    let fail =
        |error: &dyn std::error::Error, code| args::fail(IMPORT.name, error, given.verbosity, code);
    let options = Options {
        allow_volatile: allow_volatile_ca,
    };
    let store = match FileStore::open(&host.files, &host.root, options) {
        Ok(store) => store,
        Err(StoreError::Io(error)) if error.is_denied() => return fail(&*error, exit::DENIED),
        Err(error) if error.is_retryable() => return fail(&error, exit::TRY_AGAIN),
        Err(error) => return fail(&error, exit::CONFIG),
    };
    let pair = PairFiles::new(cert, key);
    let imported = smol::block_on(authority::import_ca(
        &store,
        &host.files,
        &pair,
        &host.clock,
        force,
    ));
    match imported {
        Ok(Imported::New) => console::line("the CA is taken over"),
        Ok(Imported::Replaced(old)) => console::line(&format!(
            "the CA is taken over; {old} was in use and is kept beside it"
        )),
        Ok(Imported::Same) => console::line("this CA is in use already"),
        Err(error) if error.is_retryable() => return fail(&error, exit::TRY_AGAIN),
        Err(error) => return fail(&error, exit::CONFIG),
    };
    exit::OK
}

/// Asks the cloudcore that runs for more names in its serving certificate.
fn add_san(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<AddSanFlags>(&ADD_SAN, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let names = given.flags.names;
    if let Some(sentence) = amiss(&names) {
        console::complain(ADD_SAN.name, &sentence);
        return exit::USAGE;
    }
    let request = Request {
        names,
        ..Request::new(CloudOp::AddSan)
    };
    let fail = |error: &dyn std::error::Error, code| {
        args::fail(ADD_SAN.name, error, given.verbosity, code)
    };
    match control::call::<Reply>(&host.root.at(CLOUD_SOCKET), &request, PATIENCE) {
        Ok(Reply {
            error: Some(sentence),
            ..
        }) => {
            console::complain(ADD_SAN.name, &sentence);
            exit::FAILURE
        }
        Ok(reply) => {
            console::line(&reply.message.unwrap_or_default());
            exit::OK
        }
        Err(ControlError::NotRunning) => {
            console::complain(
                ADD_SAN.name,
                "cloudcore does not run: put the names into dnsNames or advertiseAddress of \
                 cloudcore.yaml, and it has them when it starts",
            );
            exit::UNAVAILABLE
        }
        Err(error @ ControlError::Denied(_)) => fail(&error, exit::DENIED),
        Err(error) => fail(&error, exit::TRY_AGAIN),
    }
}

/// take over a CA
#[derive(FromArgs, ArgsInfo)]
struct ImportFlags {
    /// file with the CA certificate, in PEM or DER
    #[argh(option, arg_name = "file")]
    cert: PathBuf,
    /// file with its private key
    #[argh(option, arg_name = "file")]
    key: PathBuf,
    /// replace a CA that is in use: every device has to join again
    #[argh(switch)]
    force: bool,
    /// put it even where it is gone after the next boot
    #[argh(switch)]
    allow_volatile_ca: bool,
}

/// add names to the serving certificate
#[derive(FromArgs, ArgsInfo)]
struct AddSanFlags {
    /// DNS names and addresses under which edges dial this cloud
    #[argh(positional, arg_name = "name")]
    names: Vec<String>,
}

static IMPORT: Spec = Spec {
    name: "cloudcore ca import",
    about: "Takes over the CA of another cloudcore, so that its edges can stay as they are.",
    examples: &["cloudcore ca import --cert rootCA.crt --key rootCA.key"],
    spellings: &[],
    ignored: &[],
};

static ADD_SAN: Spec = Spec {
    name: "cloudcore cert add-san",
    about: "Adds names and addresses to the serving certificate of the cloudcore that runs here.",
    examples: &["cloudcore cert add-san cloud.example.org 192.0.2.7"],
    spellings: &[],
    ignored: &[],
};

const PATIENCE: Duration = Duration::from_secs(30);
