//! Objects that programs on the device read as files: which files a folder should hold, and having them written.
//!
//! This process may write nothing outside of its own folders and start no program. So what a folder should hold is
//! laid down in a file until the next boot, and the supervisor is asked to make it so; it goes by its own reading of
//! edgecore.yaml.

pub mod hand;
pub mod spool;
mod wanted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::future::or;

use super::edge::{Edge, pause};
use super::parent;
use crate::system::blocking::{self, Kind};
use crate::system::host::Host;
use hand::Outcome;
use spool::Files;

/// Never ends.
pub async fn run(edge: &Rc<Edge>) {
    if edge.settings.meta.deliver.is_empty() {
        return std::future::pending().await;
    }
    let changed = edge.meta.news.watch();
    loop {
        let settled = all(edge).await;
        let again = async {
            match settled {
                true => std::future::pending().await,
                false => pause(AGAIN).await,
            }
        };
        let news = async {
            let _ = changed.recv().await;
        };
        or(news, again).await;
        // What belongs together often comes together.
        let mut quiet = false;
        let mut waits = 0;
        while !quiet && waits < MAX_WAITS {
            waits += 1;
            quiet = or(
                async {
                    let _ = changed.recv().await;
                    false
                },
                async {
                    Timer::after(MOMENT).await;
                    true
                },
            )
            .await;
        }
    }
}

/// Brings every folder up to date; false when there is something to be tried again.
async fn all(edge: &Rc<Edge>) -> bool {
    while !edge.meta.is_ready() {
        pause(MOMENT).await;
    }
    let folders = edge.settings.meta.deliver.iter().map(|it| &it.folder);
    let mut wanted: BTreeMap<PathBuf, Files> = folders
        .map(|folder| (folder.clone(), Files::default()))
        .collect();
    if let Err(failure) = wanted::fill(edge, &mut wanted).await {
        edge.state.problem(&failure, true);
        return false;
    }
    let mut settled = true;
    for (folder, files) in wanted {
        let (host, config) = (edge.host.clone(), edge.settings.config.clone());
        let done = move || bring(&host, &config, &folder, &files);
        match blocking::run(Kind::Disk, PATIENCE, done).await {
            Ok(Ok(())) => {}
            Ok(Err(Trouble { sentence, again })) => {
                edge.state.problem(&sentence, again);
                settled &= !again;
            }
            Err(blocked) => {
                edge.state.problem(&blocked, true);
                settled = false;
            }
        }
    }
    settled
}

struct Trouble {
    sentence: String,
    again: bool,
}

/// Has one folder written, unless that was done since the last boot.
fn bring(host: &Host, config: &Path, folder: &Path, files: &Files) -> Result<(), Trouble> {
    let trouble = |sentence: String| Trouble {
        sentence: format!("{} is not delivered: {sentence}", folder.display()),
        again: true,
    };
    let spool = spool::path(host, folder);
    let before = spool::read(host, folder).map_err(trouble)?;
    if before.as_ref() == Some(files) || (before.is_none() && files.is_empty_since(host, folder)) {
        return Ok(());
    }
    spool::write(host, folder, files).map_err(trouble)?;
    let asked = match parent::ask_to(&hand::order(folder, before.is_none())) {
        Some(answer) => Outcome::of_answer(answer),
        None => hand::deliver(host, config, folder, before.is_none()),
    };
    match asked {
        Outcome::Done => Ok(()),
        // The files are there, and running it again is no better.
        Outcome::Hook(why) => Err(Trouble {
            sentence: why,
            again: false,
        }),
        Outcome::Failed(why) => {
            let _ = host.files.remove(&spool);
            Err(trouble(why))
        }
    }
}

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(100);
const MAX_WAITS: usize = 5;
/// For the supervisor, and a hook.
const PATIENCE: Duration = Duration::from_secs(60);
