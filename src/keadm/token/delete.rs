//! `token delete`: makes an end of a token at once.

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{Cloud, TokenFault};
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::store::TokenId;
use crate::system::args::{self, Spec};
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    name: "token delete",
    group: Group::Cloud,
    summary: "delete a token, by its id",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// which token
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// its id, as `token list` shows it
    #[argh(positional)]
    id: String,
    /// the kubeconfig of the cluster that has the cloud, or in-cluster; default: this machine's cloud
    #[argh(option, arg_name = "file")]
    kube_config: Option<String>,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let output = given.flags.output;
    let id = given.flags.id.parse::<TokenId>().map_err(TokenFault::from);
    let deleted = id.and_then(|id| {
        Cloud::of(host, given.flags.kube_config.as_deref())?.delete(&id)?;
        Ok(Deleted { deleted: id })
    });
    out::finish(
        SPEC.name,
        given.verbosity,
        output,
        deleted,
        TokenFault::code,
    )
}

#[derive(Serialize)]
struct Deleted {
    deleted: TokenId,
}

impl Report for Deleted {
    fn text(&self) -> String {
        format!("token {} opens nothing any more\n", self.deleted)
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge token delete",
    about: "Deletes a token; nobody can join with it from now on. Devices that have joined with it stay: it is their \
            certificate that counts by then.",
    examples: &["kubeedge token delete 3f9a01c2de"],
    spellings: &[],
    ignored: &[],
};
