//! `token list`: the tokens that are good now, without their secret.

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{Cloud, TokenFault};
use crate::authority::tokens::TokenFacts;
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    name: "token list",
    group: Group::Cloud,
    summary: "show the tokens that are good now",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// how to show them
#[derive(FromArgs, ArgsInfo)]
struct Flags {
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
    let cloud = Cloud::of(host, given.flags.kube_config.as_deref());
    let list = cloud
        .and_then(|cloud| cloud.list())
        .map(|tokens| List { tokens });
    out::finish(SPEC.name, given.verbosity, output, list, TokenFault::code)
}

#[derive(Serialize)]
struct List {
    tokens: Vec<TokenFacts>,
}

impl Report for List {
    fn text(&self) -> String {
        if self.tokens.is_empty() {
            return "no token is good at the moment\n".to_owned();
        }
        let mut rows = vec![TITLES.map(str::to_owned)];
        rows.extend(self.tokens.iter().map(row));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0));
        let mut text = String::new();
        for row in rows {
            let [id, expires, nodes, uses, description] = row;
            let line = format!(
                "{id:0$}  {expires:1$}  {nodes:2$}  {uses:3$}  {description}",
                widths[0], widths[1], widths[2], widths[3]
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn row(token: &TokenFacts) -> [String; 5] {
    [
        token.id.clone(),
        token.expires.to_string(),
        token.node.clone().unwrap_or_else(|| "all".to_owned()),
        match token.uses {
            Some(uses) => format!("{} of {uses}", token.used),
            None => "any number".to_owned(),
        },
        token.description.clone(),
    ]
}

static SPEC: Spec = Spec {
    name: "kubeedge token list",
    about: "Shows the tokens that are good now: id, end in UTC, the nodes that may use each, how \
            often it was used, and what it is for. The tokens themselves are kept nowhere.",
    examples: &["kubeedge token list", "kubeedge token list --output json"],
    spellings: &[],
    ignored: &[],
};

const TITLES: [&str; 5] = ["ID", "EXPIRES", "NODES", "USED", "DESCRIPTION"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::Timestamp;

    #[test]
    fn columns_stand_below_each_other() {
        let mut token = TokenFacts {
            id: "001fffa009".to_owned(),
            created: Timestamp::from_unix(0),
            expires: Timestamp::from_unix(1_795_335_000),
            node: Some("rack1-*".to_owned()),
            uses: Some(20),
            used: 3,
            description: "rack 1".to_owned(),
            used_by: Vec::new(),
        };
        let first = token.clone();
        (token.node, token.uses, token.description) = (None, None, String::new());
        let list = List {
            tokens: vec![first, token],
        };
        assert_eq!(
            list.text(),
            "ID          EXPIRES               NODES    USED        DESCRIPTION\n\
             001fffa009  2026-11-22T08:10:00Z  rack1-*  3 of 20     rack 1\n\
             001fffa009  2026-11-22T08:10:00Z  all      any number\n"
        );
    }
}
