//! `cloudcore ctl nodes`: all nodes, and how they are.

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::output::{self, Form};
use super::{OrderError, PATIENCE};
use crate::protocol::control::{CLOUD_SOCKET, Client, CloudOp, NodeRow, Request};
use crate::system::args::{self, Command, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    summary: "show all nodes",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

fn run(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let form = given.flags.output;
    let rows = match ask(host) {
        Ok(rows) => rows,
        Err(error) => return form.fail(SPEC.name, &error, given.verbosity),
    };
    match form {
        Form::Json => output::json(&json!({"nodes": rows})),
        Form::Yaml => output::yaml(&json!({"nodes": rows})),
        Form::Name => rows
            .iter()
            .for_each(|row| _ = console::line(&format!("node/{}", row.node))),
        Form::Text if rows.is_empty() => _ = console::line("no node has registered"),
        Form::Text => output::table(&TITLES, rows.iter().map(cells)),
    }
    exit::OK
}

fn ask(host: &Host) -> Result<Vec<NodeRow>, OrderError> {
    let socket = host.root.at(CLOUD_SOCKET);
    let client = Client::ask(&socket, &Request::new(CloudOp::Nodes), PATIENCE);
    let mut client = client.map_err(OrderError::Control)?;
    let mut rows = Vec::new();
    while let Some(row) = client.line().map_err(OrderError::Control)? {
        rows.push(row);
    }
    Ok(rows)
}

fn cells(row: &NodeRow) -> Vec<String> {
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let condition = match (&row.condition, &row.reason) {
        (Some(status), Some(reason)) => Some(format!("{status} ({reason})")),
        (status, _) => status.clone(),
    };
    vec![
        row.node.clone(),
        if row.ready { "yes" } else { "no" }.to_owned(),
        dash(row.since.map(|since| since.to_string())),
        dash(Some(row.addresses.join(",")).filter(|it| !it.is_empty())),
        dash(row.version.clone()),
        dash(row.lease_age_ms.map(|age| format!("{} s", age / 1000))),
        dash(condition),
    ]
}

/// how to show nodes
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// text, json, yaml or name; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Form::Text")]
    output: Form,
}

static SPEC: Spec = Spec {
    name: "cloudcore ctl nodes",
    about: "Shows all nodes: whether each is ready (it has a session, or renewed its lease in the last \
            40 s), since when it is connected or gone, its addresses and version, the age of its \
            lease, and what it says of itself.",
    examples: &["cloudcore ctl nodes", "cloudcore ctl nodes --output json"],
    spellings: &[],
    ignored: &[],
};

const TITLES: [&str; 7] = [
    "NAME",
    "READY",
    "SINCE",
    "ADDRESSES",
    "VERSION",
    "LEASE",
    "SAYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let row = NodeRow {
            node: "router-17".to_owned(),
            ready: true,
            addresses: vec!["192.0.2.7".to_owned(), "2001:db8::7".to_owned()],
            version: Some("v1.32.10-kubeedge-v1.23.1".to_owned()),
            condition: Some("True".to_owned()),
            reason: Some("EdgeReady".to_owned()),
            lease_age_ms: Some(4_200),
            ..NodeRow::default()
        };
        assert_eq!(
            cells(&row),
            [
                "router-17",
                "yes",
                "-",
                "192.0.2.7,2001:db8::7",
                "v1.32.10-kubeedge-v1.23.1",
                "4 s",
                "True (EdgeReady)"
            ]
        );
        assert_eq!(
            cells(&NodeRow::default()),
            ["", "no", "-", "-", "-", "-", "-"]
        );
    }
}
