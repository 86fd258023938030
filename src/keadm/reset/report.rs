//! What a reset has come to, for people and for programs.

use std::path::PathBuf;

use serde::Serialize;

use super::traces::Traces;
use crate::keadm::out::Report;
use crate::system::exit;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub node: Option<String>,
    /// What was done besides removing files, a sentence each.
    pub done: Vec<String>,
    pub removed: Vec<PathBuf>,
    pub kept: Vec<Kept>,
    /// What should have gone and did not, a sentence each.
    pub left: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    pub path: PathBuf,
    pub why: &'static str,
}

impl Outcome {
    /// For a machine without an edge.
    pub fn nothing(traces: &Traces) -> Outcome {
        let kept = traces.of_cloud.iter().map(|path| Kept {
            path: path.clone(),
            why: super::OF_CLOUD,
        });
        Outcome {
            node: None,
            done: Vec::new(),
            removed: Vec::new(),
            kept: kept.collect(),
            left: Vec::new(),
        }
    }

    pub fn code(&self) -> u8 {
        match self.left.is_empty() {
            true => exit::OK,
            false => exit::FAILURE,
        }
    }

    fn headline(&self) -> String {
        let node = self.node.as_deref().unwrap_or("this device");
        let did_nothing = self.done.is_empty() && self.removed.is_empty();
        match (self.left.is_empty(), did_nothing) {
            (true, true) => "there is no edge on this machine: nothing to do".to_owned(),
            (true, false) => format!("{node} is reset"),
            (false, _) => format!("{node} is reset in part: see what is left, and run it again"),
        }
    }
}

impl Report for Outcome {
    fn text(&self) -> String {
        let mut text = self.headline() + "\n";
        let mut row = |name: &str, value: &str| text.push_str(&format!("  {name:<10}{value}\n"));
        for sentence in &self.done {
            row("did", sentence);
        }
        for path in &self.removed {
            row("removed", &path.display().to_string());
        }
        for kept in &self.kept {
            row("kept", &format!("{}: {}", kept.path.display(), kept.why));
        }
        for sentence in &self.left {
            row("left", sentence);
        }
        if let Some(node) = &self.node {
            text.push_str(&format!(
                "The cloud still knows {node}. To join again as {node}: --force here, or `keadm certs revoke \
                 {node}` on the cloud.\nTo take it off the list: `cloudcore ctl delete node {node}`, on \
                 Kubernetes `kubectl delete node {node}`.\n"
            ));
        }
        text
    }
}
