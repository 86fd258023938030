//! `cloudcore ctl nodes` and `cloudcore ctl get`: what there is.

use std::str::FromStr;

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::{OrderError, PATIENCE, kind};
use crate::protocol::control::{CLOUD_SOCKET, Client, NodeRow, ObjectLine, Request};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    #[default]
    Text,
    Json,
}

impl FromStr for Output {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Output, Self::Err> {
        match text {
            "" | "text" => Ok(Output::Text),
            "json" => Ok(Output::Json),
            _ => Err("the formats are text and json"),
        }
    }
}

pub fn nodes(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<NodesFlags>(&NODES, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let rows = ask_nodes(host);
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => return args::fail(NODES.name, &error, given.verbosity, error.code()),
    };
    match given.flags.output {
        Output::Json => show(&json!({"nodes": rows})),
        Output::Text if rows.is_empty() => _ = console::line("no node has registered"),
        Output::Text => _ = console::out(&table(&NODE_TITLES, rows.iter().map(node_cells))),
    }
    exit::OK
}

fn ask_nodes(host: &Host) -> Result<Vec<NodeRow>, OrderError> {
    let socket = host.root.at(CLOUD_SOCKET);
    let client = Client::ask(&socket, &Request::new("nodes"), PATIENCE);
    let mut client = client.map_err(OrderError::Control)?;
    let mut rows = Vec::new();
    while let Some(row) = client.line().map_err(OrderError::Control)? {
        rows.push(row);
    }
    Ok(rows)
}

pub fn get(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<GetFlags>(&GET, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let one = flags.what.len() == 2;
    let objects = match ask_objects(host, &flags) {
        Ok(objects) => objects,
        Err(error) => return args::fail(GET.name, &error, given.verbosity, error.code()),
    };
    if one && objects.is_empty() {
        console::complain(GET.name, "there is no such object");
        return exit::FAILURE;
    }
    match flags.output {
        Output::Text if objects.is_empty() => _ = console::line("there are no objects"),
        Output::Text => _ = console::out(&table(&TITLES, objects.iter().map(object_cells))),
        Output::Json if one && objects.len() == 1 => show(&objects[0].1),
        Output::Json => {
            let items: Vec<&Value> = objects.iter().map(|(_, object)| object).collect();
            show(&json!({"kind": "List", "apiVersion": "v1", "items": items}));
        }
    }
    exit::OK
}

fn ask_objects(host: &Host, flags: &GetFlags) -> Result<Vec<(ObjectLine, Value)>, OrderError> {
    let (word, name) = match &flags.what[..] {
        [] => (None, None),
        [kind] => (Some(kind), None),
        [kind, name] => (Some(kind), Some(name.clone())),
        _ => {
            return Err(OrderError::Usage(
                "give a type and a name at most".to_owned(),
            ));
        }
    };
    let kind = word.map(|word| kind(word)).transpose()?;
    let request = Request {
        kind: kind.map(|kind| kind.to_string()),
        name,
        namespace: flags.namespace.clone(),
        ..Request::new("object-get")
    };
    let client = Client::ask(&host.root.at(CLOUD_SOCKET), &request, PATIENCE);
    let mut client = client.map_err(OrderError::Control)?;
    let mut objects = Vec::new();
    let broken = || OrderError::Refused("the list ends before its end: ask again".to_owned());
    loop {
        let line = client.line::<ObjectLine>().map_err(OrderError::Control)?;
        let line = line.ok_or_else(broken)?;
        if let Some(error) = line.error {
            return Err(OrderError::Refused(error));
        }
        let Some(length) = line.body else {
            return Ok(objects);
        };
        let body = client.body(length).map_err(OrderError::Control)?;
        let object = serde_json::from_slice(&body).map_err(|_| broken())?;
        objects.push((line, object));
    }
}

fn node_cells(row: &NodeRow) -> Vec<String> {
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

fn object_cells((line, object): &(ObjectLine, Value)) -> Vec<String> {
    let resource = line.resource.clone().unwrap_or_default();
    let mut parts = resource.splitn(3, '/').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let (namespace, kind, name) = (part(), part(), part());
    let bound = object.get("spec").and_then(|it| it.get("nodeName"));
    let bound = bound.and_then(Value::as_str).map(str::to_owned);
    let selector = line.selector.clone();
    let whom: Vec<String> = line
        .nodes
        .iter()
        .cloned()
        .chain(bound)
        .chain(selector)
        .collect();
    let version = object
        .get("metadata")
        .and_then(|it| it.get("resourceVersion"));
    let version = version.and_then(Value::as_str).unwrap_or("-");
    vec![
        namespace.replace("null", "-"),
        kind,
        name,
        version.to_owned(),
        whom.join(","),
    ]
}

/// Columns below each other.
fn table(titles: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = titles.iter().map(|title| (*title).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn show(value: &Value) {
    console::line(&format!("{value:#}"));
}

/// how to show nodes
#[derive(FromArgs, ArgsInfo)]
struct NodesFlags {
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Output::Text")]
    output: Output,
}

/// which objects to show
#[derive(FromArgs, ArgsInfo)]
struct GetFlags {
    /// type (configmap, secret, pod, device, devicemodel, node), and the name of one; default: all
    #[argh(positional, arg_name = "type-name")]
    what: Vec<String>,
    /// only those in this namespace
    #[argh(option, short = 'n', arg_name = "namespace")]
    namespace: Option<String>,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Output::Text")]
    output: Output,
}

static NODES: Spec = Spec {
    name: "cloudcore ctl nodes",
    about: "Shows all nodes: whether each is ready (it has a session, or renewed its lease in the last \
            40 s), since when it is connected or gone, its addresses and version, the age of its \
            lease, and what it says of itself.",
    examples: &["cloudcore ctl nodes", "cloudcore ctl nodes --output json"],
    spellings: &[],
    ignored: &[],
};

static GET: Spec = Spec {
    name: "cloudcore ctl get",
    about: "Shows the objects that this cloud keeps, and to whom each was given. JSON has them whole, \
            Secrets too.",
    examples: &[
        "cloudcore ctl get",
        "cloudcore ctl get configmaps -n shop",
        "cloudcore ctl get node router-17 -o json",
    ],
    spellings: &[],
    ignored: &[],
};

const NODE_TITLES: [&str; 7] = [
    "NAME",
    "READY",
    "SINCE",
    "ADDRESSES",
    "VERSION",
    "LEASE",
    "SAYS",
];
const TITLES: [&str; 5] = ["NAMESPACE", "TYPE", "NAME", "VERSION", "GIVEN TO"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
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
        let gone = NodeRow {
            node: "a".to_owned(),
            ..NodeRow::default()
        };
        let text = table(&NODE_TITLES, [row, gone].iter().map(node_cells));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("router-17  yes    -      192.0.2.7,2001:db8::7  v1.32"));
        assert!(lines[1].ends_with("4 s    True (EdgeReady)"));
        assert_eq!(
            lines[2],
            "a          no     -      -                      -                          -      -"
        );
    }
}
