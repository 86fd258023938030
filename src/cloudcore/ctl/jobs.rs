//! Orders about jobs: make one, show them, go on after a pause, cancel.

use std::io;

use smol::io::AsyncWriteExt;
use smol::net::unix::UnixStream;

use super::{in_time, send};
use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::jobs::{Fleet, Member, Wanted};
use crate::cloudcore::nodes::{self, Selector};
use crate::protocol::control::{ObjectLine, Request, VERSION};
use crate::protocol::jobs;
use crate::system::cause;
use crate::system::counted::counted;
use crate::system::names::{NameError, NodeName};

pub async fn resume(cloud: &Cloud, request: &Request) -> Result<String, String> {
    let name = request.name.as_deref().unwrap_or_default();
    cloud.nodes.jobs.order(name, Fleet::resume).await?;
    Ok(format!("job {name} goes on"))
}

pub async fn cancel(cloud: &Cloud, request: &Request) -> Result<String, String> {
    let name = request.name.as_deref().unwrap_or_default();
    cloud.nodes.jobs.order(name, Fleet::cancel).await?;
    Ok(format!("job {name} is cancelled: no other node begins"))
}

pub async fn create(cloud: &Cloud, request: &Request, body: &[u8]) -> Result<String, String> {
    let wanted: Wanted = serde_json::from_slice(body).map_err(|error| cause::of_json(&error))?;
    let names: Result<Vec<NodeName>, NameError> =
        request.names.iter().map(|it| it.parse()).collect();
    let names = names.map_err(|error| error.to_string())?;
    let selector = request.selector.as_deref().map(str::parse::<Selector>);
    let selector = selector.transpose().map_err(|error| error.to_string())?;
    let nodes = nodes::chosen(cloud, &names, selector.as_ref())?;
    let count = nodes.len();
    let name = request.name.clone().unwrap_or_default();
    let members = nodes.into_iter().map(|node| {
        let version = nodes::version(cloud, &node);
        let unfit = version.and_then(|version| jobs::too_old(&version));
        (node, unfit.map_or_else(Member::default, Member::unfit))
    });
    let fleet = wanted.job(name.clone(), cloud.clock.stamp(), members.collect());
    cloud.nodes.jobs.create(fleet).await?;
    Ok(format!("job {name} begins, for {}", counted(count, "node")))
}

pub async fn show(cloud: &Cloud, request: &Request, stream: &mut UnixStream) -> io::Result<()> {
    for fleet in cloud.nodes.jobs.all(&request.names) {
        let text = serde_json::to_string(&fleet)?;
        let line = ObjectLine {
            v: VERSION,
            resource: Some(fleet.name),
            body: Some(text.len() as u64),
            ..ObjectLine::default()
        };
        send(stream, &line).await?;
        in_time(stream.write_all(text.as_bytes())).await?;
    }
    let line = ObjectLine {
        v: VERSION,
        message: Some("these are all".to_owned()),
        ..ObjectLine::default()
    };
    send(stream, &line).await
}
