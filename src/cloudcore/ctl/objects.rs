//! Orders about nodes and objects: list, label, apply, get, delete.

use std::io;

use smol::io::AsyncWriteExt;
use smol::net::unix::UnixStream;

use super::{in_time, send};
use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::nodes::{self, LabelChange, Order, Selector};
use crate::protocol::control::{ObjectLine, Request, VERSION};
use crate::protocol::resource::{Kind, ObjectPath};
use crate::system::names::{NameError, NodeName};

pub async fn apply(cloud: &Cloud, request: &Request, body: &[u8]) -> Result<String, String> {
    let nodes: Result<Vec<NodeName>, _> = request.names.iter().map(|it| it.parse()).collect();
    let selector = request.selector.as_deref().map(str::parse::<Selector>);
    let order = Order {
        namespace: request.namespace.clone(),
        nodes: nodes.map_err(|error: NameError| error.to_string())?,
        selector: selector.transpose().map_err(|error| error.to_string())?,
        force: false,
    };
    nodes::apply(cloud, body, order).await
}

pub async fn delete(cloud: &Cloud, request: &Request) -> Result<String, String> {
    let (kind, name) = (kind(request)?, request.name.as_deref());
    let (Some(kind), Some(name)) = (kind, name) else {
        return Err("say which object, by its type and its name".to_owned());
    };
    let namespace = request.namespace.as_deref().unwrap_or("default");
    let path = ObjectPath::new(namespace, kind, name).map_err(|error| error.to_string())?;
    let order = Order {
        force: request.force,
        ..Order::default()
    };
    nodes::delete(cloud, &path, order).await
}

pub async fn delete_node(cloud: &Cloud, request: &Request) -> Result<String, String> {
    nodes::delete_node(cloud, &node(request)?).await
}

pub async fn label(cloud: &Cloud, request: &Request) -> Result<String, String> {
    let changes: Result<Vec<LabelChange>, _> = request.names.iter().map(|it| it.parse()).collect();
    let changes = changes.map_err(|error: nodes::NoLabel| error.to_string())?;
    if changes.is_empty() {
        return Err("say which labels, as KEY=VALUE or KEY-".to_owned());
    }
    nodes::label(cloud, &node(request)?, &changes).await
}

fn node(request: &Request) -> Result<NodeName, String> {
    let name = request.name.as_deref().ok_or("say which node")?;
    name.parse().map_err(|error: NameError| error.to_string())
}

pub async fn get(cloud: &Cloud, request: &Request, stream: &mut UnixStream) -> io::Result<()> {
    let kind = match kind(request) {
        Ok(kind) => kind,
        Err(error) => {
            let line = ObjectLine {
                v: VERSION,
                error: Some(error),
                ..ObjectLine::default()
            };
            return send(stream, &line).await;
        }
    };
    let namespace = request.namespace.as_deref();
    for (path, given, text) in nodes::get(cloud, kind, namespace, &request.names) {
        let selector = given.selector.as_ref();
        let line = ObjectLine {
            v: VERSION,
            resource: Some(path.to_string()),
            // As many as fit in a line.
            nodes: given
                .nodes
                .iter()
                .map(NodeName::to_string)
                .take(MAX_NODES)
                .collect(),
            selector: selector.map(|it| format!("{}={}", it.key, it.value)),
            body: Some(text.len() as u64),
            ..ObjectLine::default()
        };
        send(stream, &line).await?;
        in_time(stream.write_all(text.as_bytes())).await?;
    }
    let whole = ObjectLine {
        v: VERSION,
        message: Some("these are all".to_owned()),
        ..ObjectLine::default()
    };
    send(stream, &whole).await
}

fn kind(request: &Request) -> Result<Option<Kind>, String> {
    let kind = request.kind.as_deref().map(str::parse::<Kind>);
    kind.transpose()
        .map_err(|_| "there is no such type".to_owned())
}

const MAX_NODES: usize = 200;
