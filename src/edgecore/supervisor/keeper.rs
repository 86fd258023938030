//! What the supervisor does to files for a hub that has given up the right to.

use std::path::PathBuf;
use std::time::Duration;

use super::errands::Errands;
use super::hooks::Hooks;
use crate::edgecore::confinement::{self, USER};
use crate::edgecore::deliver::hand::{self, Answer};
use crate::edgecore::first_boot::FirstBoot;
use crate::edgecore::parent::{DONE, Order};
use crate::edgecore::settings::BOOTSTRAP;
use crate::edgecore::token::TokenSource;
use crate::system::host::Host;
use crate::system::sandbox::User;

/// Knows nothing from the hub but which of a few things to do, and what a folder should hold that
/// edgecore.yaml lets be written.
pub struct Keeper {
    pub host: Host,
    /// edgecore.yaml, a real path.
    pub config: PathBuf,
    pub hooks: Hooks,
    pub errands: Errands,
    pub first: FirstBoot,
}

impl Keeper {
    /// The answer to a line of the hub; none when it is no order.
    pub fn answer(&mut self, line: &str) -> Option<String> {
        if let Some((folder, anew)) = hand::ordered(line) {
            let answer = match hand::put(&self.host, &self.config, &folder, anew) {
                Ok(None) => Answer::Done,
                Ok(Some(due)) => {
                    self.hooks.want(due);
                    Answer::Begun
                }
                Err(why) => Answer::Failed(why),
            };
            return Some(answer.line());
        }
        if let Some(answer) = self.errands.answer(&self.host, &self.config, line) {
            return Some(answer);
        }
        let order = Order::ALL.into_iter().find(|order| order.word() == line)?;
        let done = match order {
            Order::EraseToken => self.erase().and_then(|()| self.let_read()),
            Order::LetRead => self.let_read(),
        };
        let answer = done.map_or_else(|why| why.replace('\n', " "), |()| DONE.to_owned());
        Some(answer)
    }

    /// How long until something is to be looked at, if no event comes before.
    pub fn rest(&self) -> Duration {
        self.hooks.rest().min(self.first.rest())
    }

    fn erase(&mut self) -> Result<(), String> {
        // The identity is safe.
        self.first.end();
        let tokens = TokenSource {
            host: self.host.clone(),
            bootstrap: self.host.root.at(BOOTSTRAP),
            config: self.config.clone(),
        };
        tokens.erase().map_err(|error| error.to_string())
    }

    fn let_read(&self) -> Result<(), String> {
        let Host { root, files, .. } = &self.host;
        match User::find(files, root, USER) {
            Some(user) => confinement::let_read(&self.host, &self.config, &user)
                .map_err(|error| format!("cannot let {USER} read its files: {error}")),
            None => Ok(()),
        }
    }
}
