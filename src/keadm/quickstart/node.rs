//! The step in which the edge is a node: the cloud knows it, and what it hands over becomes a file.

use serde_json::json;

use super::step::Step;
use super::steps::{FOLDER, NODE, SESSION, until};
use super::tour::{Fault, Outcome, Tour};
use super::views;
use crate::pki::MAX_INPUT;

impl Tour {
    pub(super) async fn look_at_node(&mut self) -> Outcome {
        self.strike(Step::Node)?;
        let node = until(SESSION, || {
            let row = views::node(&self.cloud, NODE)?;
            let says = |status: &Option<String>| status.as_deref() == Some("True");
            let ready = row.filter(|row| row.ready && row.registered && says(&row.condition));
            Ok(ready.ok_or_else(|| "the cloud has no node that is ready".to_owned()))
        });
        let node = node.await?;
        let object = json!({
            "kind": "ConfigMap", "apiVersion": "v1", "data": {"greeting": GREETING},
            "metadata": {"name": "quickstart", "annotations": {"kubeedge.io/deliver": FOLDER}},
        });
        let reply = views::apply(&self.cloud, &object, NODE)?;
        let said = match (reply.error, reply.message) {
            (Some(error), _) => return Err(Fault(error)),
            (None, said) => said.unwrap_or_default(),
        };
        let host = &self.edge.host;
        let path = host.root.at(format!("{FOLDER}/greeting"));
        until(SESSION, || {
            let found = host.files.read_opt(&path, MAX_INPUT)?;
            let arrived = found.filter(|found| found == GREETING.as_bytes());
            Ok(arrived.ok_or_else(|| "the edge has not written what it was handed".to_owned()))
        })
        .await?;
        Ok(vec![
            format!(
                "node:  ready, {}, {}",
                node.version.unwrap_or_default(),
                node.addresses.join(", ")
            ),
            format!("cloud: {said}"),
            format!("edge:  {GREETING:?} in {}", path.display()),
        ])
    }
}

const GREETING: &str = "hello from the cloud";
