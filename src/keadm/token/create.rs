//! `token create`: makes a token with bounds of its own, and the command to join with it.

use std::fmt::Display;
use std::str::FromStr;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{Cloud, Minted, TokenFault, lifetime};
use crate::authority::tokens::Wish;
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::protocol::control::Dial;
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::pattern::NodePattern;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "token create",
    group: Group::Cloud,
    summary: "make a token with bounds: life, nodes, number of uses",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what token to make
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// how long the token lets devices join, such as 1h or 30m; default: 24h
    #[argh(option, arg_name = "duration", default = "String::from(\"24h\")")]
    ttl: String,
    /// the node that may use it, or a pattern such as rack1-*; default: all nodes
    #[argh(option, arg_name = "pattern", default = "String::new()")]
    node_name: String,
    /// for how many devices it is good, 1 to 1000; default: any number
    #[argh(option, arg_name = "number", default = "String::new()")]
    uses: String,
    /// what it is for, to tell it from others in the list
    #[argh(option, arg_name = "text", default = "String::new()")]
    description: String,
    /// print the command with which a device joins, instead of the token alone
    #[argh(switch)]
    print_join_command: bool,
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
    let flags = given.flags;
    let created = wish(&flags).and_then(|wish| {
        let minted = Cloud::of(host, flags.kube_config.as_deref())?.create(&wish)?;
        Ok(Created::new(minted, wish, flags.print_join_command))
    });
    match created {
        Ok(created) => hand_out(&created, flags.output),
        Err(error) => out::fail(
            SPEC.name,
            &error,
            given.verbosity,
            flags.output,
            error.code(),
        ),
    }
}

fn wish(flags: &Flags) -> Result<Wish, TokenFault> {
    let wish = Wish {
        nodes: parsed("--node-name", &flags.node_name)?,
        uses: parsed("--uses", &flags.uses)?,
        description: flags.description.trim().to_owned(),
        ..Wish::plain(lifetime(&flags.ttl)?)
    };
    wish.check()?;
    Ok(wish)
}

/// An empty value is none: scripts write `--uses "$USES"`.
fn parsed<T: FromStr<Err: Display>>(
    flag: &'static str,
    text: &str,
) -> Result<Option<T>, TokenFault> {
    let text = Some(text.trim()).filter(|text| !text.is_empty());
    let value = text.map(str::parse).transpose();
    value.map_err(|fault: T::Err| TokenFault::Flag {
        flag,
        fault: args::plain(&fault.to_string(), flag).to_owned(),
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    #[serde(flatten)]
    minted: Minted,
    node: Option<NodePattern>,
    uses: Option<u32>,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_command: Option<String>,
}

impl Created {
    fn new(minted: Minted, wish: Wish, with_command: bool) -> Created {
        let node = wish.nodes.as_ref().and_then(NodePattern::exact);
        let name = node.map(|name| format!(" --edgenode-name {name}"));
        let command = with_command.then(|| {
            join_command(
                minted.dial.as_ref(),
                &name.unwrap_or_default(),
                &minted.token.secret_string(),
            )
        });
        Created {
            minted,
            node: wish.nodes,
            uses: wish.uses,
            description: wish.description,
            join_command: command,
        }
    }

    /// For stderr: what the token is good for.
    fn sentence(&self) -> String {
        let mut text = match &self.minted.id {
            Some(id) => format!("Token {id} is good until {}", self.minted.expires),
            None => format!("The token is good until {}", self.minted.expires),
        };
        match &self.node {
            Some(pattern) if pattern.exact().is_some() => {
                text += &format!(", for the node {pattern}");
            }
            Some(pattern) => text += &format!(", for nodes matching {pattern}"),
            None => {}
        }
        match self.uses {
            Some(1) => text += ", for one device",
            Some(uses) => text += &format!(", for {uses} devices"),
            None => {}
        }
        text + "."
    }
}

impl Report for Created {
    fn text(&self) -> String {
        match &self.join_command {
            Some(command) => command.clone(),
            None => self.minted.text(),
        }
    }
}

/// For a shell on the device. The token goes through standard input, so that it stands in no list
/// of processes and in no file.
fn join_command(dial: Option<&Dial>, name: &str, token: &str) -> String {
    let to = match dial {
        Some(dial) => {
            let is_v6 = dial.host.contains(':');
            let host = match is_v6 {
                true => format!("[{}]", dial.host),
                false => dial.host.clone(),
            };
            let port = match dial.certificate_port {
                API_PORT => String::new(),
                port => format!(" --certport {port}"),
            };
            format!("{host}:{}{port}", dial.hub_port)
        }
        None => "CLOUD:10000".to_owned(),
    };
    format!("kubeedge join --cloudcore-ipport {to}{name} --token-file - <<'END'\n{token}\nEND\n")
}

/// Prints the result on stdout and nothing else there, so that scripts can take it as it comes.
fn hand_out(created: &Created, format: Format) -> u8 {
    let text = match format {
        Format::Text => created.text(),
        Format::Json => out::json(created),
    };
    if !console::out(&text) {
        console::complain(SPEC.name, "nobody read the token: nothing was printed");
        return exit::FAILURE;
    }
    console::error(&created.sentence());
    if created.join_command.is_some() && created.minted.dial.is_none() {
        console::error("Put the address of the cloud in the place of CLOUD.");
    }
    exit::OK
}

static SPEC: Spec = Spec {
    name: "kubeedge token create",
    about: "Makes a token with which devices join, and prints it. It is a secret: it is shown this \
            once and kept nowhere. Its id, which is none, stands in the list of tokens. A use \
            counts when a certificate was issued; the same device asking again is the same use. \
            Only the token goes to stdout, what it is good for to stderr.",
    examples: &[
        "kubeedge token create --ttl 1h --node-name 'rack1-*' --uses 20 > token",
        "kubeedge token create --node-name db-7 --uses 1 --print-join-command",
    ],
    spellings: &[],
    ignored: &[],
};

/// Which `join` dials unless it is told otherwise.
const API_PORT: u16 = 10_002;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_what_differs_from_the_defaults() {
        let mut dial = Dial {
            host: "192.0.2.1".to_owned(),
            hub_port: 10_000,
            certificate_port: 10_002,
        };
        let command = |dial: &Dial| join_command(Some(dial), "", "T");
        assert_eq!(
            command(&dial),
            "kubeedge join --cloudcore-ipport 192.0.2.1:10000 --token-file - <<'END'\nT\nEND\n"
        );
        dial.host = "2001:db8::1".to_owned();
        dial.certificate_port = 443;
        assert!(command(&dial).contains(" [2001:db8::1]:10000 --certport 443 "));
        assert!(join_command(None, " --edgenode-name a", "T").contains(" CLOUD:10000 --edgenode"));
    }
}
