//! Sees to it that the cloud has the Node: asks for it, and makes it where there is none.

use std::time::Instant;

use serde_json::Value;

use super::Node;
use super::talk::{About, Failed};
use crate::edgecore::backoff::Backoff;
use crate::edgecore::edge::pause;
use crate::protocol::object::Object;

impl Node<'_> {
    /// Returns when the cloud has the Node.
    pub(super) async fn register(&self) {
        let mut backoff = Backoff::new(self.pace.retry.0, self.pace.retry.1);
        let mut silent = 0;
        while let Err(failed) = self.find_or_make(&mut silent).await {
            let hopeless = matches!(failed, Failed::NotRegistered(_));
            self.edge
                .state
                .node_problem(&format!("not registered as a node: {failed}"), !hopeless);
            if silent >= MAX_SILENT {
                self.edge.requests.give_up();
            }
            pause(backoff.next()).await;
        }
        self.well();
    }

    /// One attempt; counts questions that stayed unanswered in a row.
    async fn find_or_make(&self, silent: &mut u32) -> Result<(), Failed> {
        let query = self.counted(silent, "query", &Value::Null).await;
        match query {
            Ok(found) => return self.taken(&found),
            Err(failed) if failed.is_not_found() => {
                self.forget();
                if !self.settings.register {
                    let name = self.edge.settings.node.to_string();
                    return Err(Failed::NotRegistered(name));
                }
            }
            // Old clouds leave some questions unanswered: so it is tried without knowing.
            Err(failed) if failed.is_silence() && self.settings.register => {}
            Err(failed) => return Err(failed),
        }
        self.look().await;
        let wanted = self.wanted();
        let made = wanted.node(self.now());
        match self.counted(silent, "insert", &made).await {
            Ok(object) => {
                let name = &self.edge.settings.node;
                log::info!("registered as the node {name}");
                self.reported.set(Some(Instant::now()));
                self.taken(&object)
            }
            // It is there, but can't be seen. The answer to the first report will show it.
            Err(failed) if failed.is_already_exists() => {
                self.forget();
                Ok(())
            }
            Err(failed) => Err(failed),
        }
    }

    async fn counted(
        &self,
        silent: &mut u32,
        operation: &str,
        content: &Value,
    ) -> Result<Object, Failed> {
        let answer = self
            .ask(operation, About::Node, content, self.pace.patience)
            .await;
        match &answer {
            Err(failed) if failed.is_silence() => *silent += 1,
            _ => *silent = 0,
        }
        answer
    }

    fn taken(&self, object: &Object) -> Result<(), Failed> {
        match self.learn(object) {
            true => Ok(()),
            false => Err(Failed::Foreign),
        }
    }
}

/// So many questions unanswered in a row mean that nobody listens on this session.
pub const MAX_SILENT: u32 = 2;
