//! Objects that programs on the device read as files: which files a folder should hold, and having them written.
//!
//! This process may write nothing outside of its own folders and start no program. So what a folder should hold is
//! laid down in a file until the next boot, and the supervisor is asked to make it so; it goes by its own reading of
//! edgecore.yaml.

mod chosen;
pub mod folder;
pub mod hand;
pub mod hook;
pub mod spool;
mod wanted;

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::or;

use super::edge::{Edge, pause};
use super::parent;
use crate::system::blocking::{self, Kind};
use crate::system::host::Host;
use hand::Answer;
use hook::Hook;
use spool::{Files, Known};
use wanted::Looker;

/// Never ends.
pub async fn run(edge: &Rc<Edge>) {
    if edge.settings.meta.deliver.is_empty() {
        return std::future::pending().await;
    }
    let changed = edge.meta.news.watch();
    let mut looker = Looker::default();
    let mut session = (0, Instant::now());
    loop {
        let settled = all(edge, &mut looker, &mut session).await;
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
async fn all(edge: &Rc<Edge>, looker: &mut Looker, session: &mut (u64, Instant)) -> bool {
    while !edge.meta.is_ready() {
        pause(MOMENT).await;
    }
    let folders = edge.settings.meta.deliver.iter().map(|it| &it.folder);
    let wanted = match looker.look(edge, folders).await {
        Ok(wanted) => wanted,
        Err(failure) => {
            edge.state.problem(&failure, true);
            return false;
        }
    };
    if !wanted.keys().any(|it| spool::was_delivered(&edge.host, it)) {
        // There is nothing that could go.
        edge.meta.lacks_since.set(None);
    }
    let lacks = lacks(edge, session);
    let mut settled = !lacks;
    for (folder, mut files) in wanted {
        files.keep_others = lacks;
        if let Err(sentence) = bring(edge, &folder, files).await {
            edge.state.problem(&sentence, true);
            settled = false;
        }
    }
    settled
}

/// Whether the cloud may want more here than is known: until a session that began after the store was read has lasted
/// for a while. `session`: the last one that may be that, and since when.
fn lacks(edge: &Edge, session: &mut (u64, Instant)) -> bool {
    let Some(before) = edge.meta.lacks_since.get() else {
        return false;
    };
    let number = edge.state.sessions();
    if number == before || number != session.0 || edge.sessions.get() == 0 {
        *session = (number, Instant::now());
    }
    if session.1.elapsed() < LASTS {
        return true;
    }
    edge.meta.lacks_since.set(None);
    false
}

/// What was done for a folder.
enum Step {
    /// It is as it should be, and was.
    Nothing,
    /// It is written, and the hook has run if there is one; or it failed, which it would do again.
    Over(Result<(), String>),
    /// The supervisor runs the hook.
    Runs,
}

/// Has one folder written and its hook run, unless that was done since the last boot. The error is a sentence.
async fn bring(edge: &Rc<Edge>, folder: &Path, files: Files) -> Result<(), String> {
    let failed = |sentence: String| format!("{} is not delivered: {sentence}", folder.display());
    let hash = files.hash();
    parent::forget_news();
    let (host, config) = (edge.host.clone(), edge.settings.config.clone());
    let (place, wanted) = (folder.to_owned(), hash.clone());
    let work = move || step(&host, &config, &place, &files, &wanted);
    let step = blocking::run(Kind::Disk, PATIENCE, work).await;
    let outcome = match step.map_err(|blocked| failed(blocked.to_string()))? {
        Ok(Step::Nothing) => return Ok(()),
        Ok(Step::Over(outcome)) => outcome,
        Ok(Step::Runs) => ended(folder).await?,
        Err(sentence) => return Err(failed(sentence)),
    };
    if let Err(why) = outcome {
        // The files are there, and running it again is no better.
        edge.state.problem(&why, false);
    }
    let (host, place) = (edge.host.clone(), folder.to_owned());
    let mark = move || spool::done(&host, &place, &hash);
    let marked = blocking::run(Kind::Disk, PATIENCE, mark).await;
    marked
        .map_err(|blocked| failed(blocked.to_string()))?
        .map_err(failed)
}

fn step(
    host: &Host,
    config: &Path,
    folder: &Path,
    files: &Files,
    hash: &str,
) -> Result<Step, String> {
    let known = spool::known(host, folder)?;
    let anew = match known {
        Known::Done(done) if done == hash => return Ok(Step::Nothing),
        Known::Nothing if files.is_empty_since(host, folder) => return Ok(Step::Nothing),
        Known::Done(_) => false,
        Known::Nothing | Known::Begun => true,
    };
    spool::write(host, folder, files)?;
    let Some(answer) = parent::ask_to(&hand::order(folder, anew)) else {
        let due = hand::put(host, config, folder, anew)?;
        let hook = due.map(|due| Hook::start(&due.delivery).and_then(Hook::finish));
        return Ok(Step::Over(hook.unwrap_or(Ok(()))));
    };
    match Answer::of_answer(answer) {
        Answer::Done => Ok(Step::Over(Ok(()))),
        Answer::Begun => Ok(Step::Runs),
        Answer::Failed(why) => Err(why),
    }
}

/// Waits for the end of a hook that the supervisor runs.
async fn ended(folder: &Path) -> Result<Result<(), String>, String> {
    let told = async {
        loop {
            if let Some(outcome) = hand::ended(&parent::news().await, folder) {
                return Ok(outcome);
            }
        }
    };
    let late = async {
        pause(HOOK_PATIENCE).await;
        Err(format!(
            "the supervisor does not say what came of the hook of {}: it is run again",
            folder.display()
        ))
    };
    or(told, late).await
}

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(30);
/// By then a cloud has sent all that it has for this device.
const LASTS: Duration = Duration::from_secs(60);
/// So long nothing must come for what came to be acted upon, but not more often than so.
const MOMENT: Duration = Duration::from_millis(30);
const MAX_WAITS: usize = 10;
/// For the disk and the supervisor.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a hook that the supervisor may run after another one.
const HOOK_PATIENCE: Duration = Duration::from_secs(100);
