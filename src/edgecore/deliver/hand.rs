//! What the supervisor does for a folder: it may write it and run its hook, and believes edgecore.yaml alone.

use std::path::{Path, PathBuf};

use super::folder;
use super::spool;
use crate::config::MAX_FILE;
use crate::config::edge::EdgeConfig;
use crate::config::edge::meta::Delivery;
use crate::edgecore::parent::DONE;
use crate::system::host::Host;
use crate::system::secret::Secret;

/// The answer to an order.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is written, and there is no hook to run.
    Done,
    /// It is written, and the hook runs or will: its end is told.
    Begun,
    /// It may go better another time.
    Failed(String),
}

impl Answer {
    /// As a line to the hub.
    pub fn line(&self) -> String {
        match self {
            Answer::Done => DONE.to_owned(),
            Answer::Begun => BEGUN.to_owned(),
            Answer::Failed(why) => why.replace('\n', " "),
        }
    }

    pub fn of_answer(answer: Result<(), String>) -> Answer {
        match answer {
            Ok(()) => Answer::Done,
            Err(word) if word == BEGUN => Answer::Begun,
            Err(why) => Answer::Failed(why),
        }
    }
}

/// The line by which the hub asks; `anew` when it is not known that the last change came to its end.
pub fn order(folder: &Path, anew: bool) -> String {
    let word = if anew { ANEW } else { CHANGED };
    format!("{word}{}", folder.display())
}

/// The folder of such a line, and whether its hook runs in any case.
pub fn ordered(line: &str) -> Option<(PathBuf, bool)> {
    let anew = line.strip_prefix(ANEW).map(|folder| (folder, true));
    let changed = line.strip_prefix(CHANGED).map(|folder| (folder, false));
    anew.or(changed)
        .map(|(folder, anew)| (PathBuf::from(folder), anew))
}

/// The news to the hub that a hook has ended.
pub fn end(folder: &Path, outcome: &Result<(), String>) -> String {
    let why = outcome.as_ref().err().map_or("", String::as_str);
    format!("{} {}", spool::key(folder), why.replace('\n', " "))
}

/// What such news say, if they are of this folder.
pub fn ended(news: &str, folder: &Path) -> Option<Result<(), String>> {
    let why = news.strip_prefix(&spool::key(folder))?.trim();
    Some(match why {
        "" => Ok(()),
        why => Err(why.to_owned()),
    })
}

/// A hook that has to run.
pub struct Due {
    pub delivery: Delivery,
    /// Something was written just now.
    pub changed: bool,
}

/// Makes a folder hold what the hub has laid down for it, if it is one of those that may be written. The error is a
/// sentence.
pub fn put(host: &Host, config: &Path, folder: &Path, anew: bool) -> Result<Option<Due>, String> {
    let delivery = allowed(host, config, folder)?;
    let files = spool::read(host, folder)?;
    let files = files.ok_or("nothing was laid down for it")?;
    let changed = folder::write(&host.files, &host.root.at(folder), &files)?;
    let is_due = (changed || anew) && !delivery.hook.is_empty();
    Ok(is_due.then_some(Due { delivery, changed }))
}

fn allowed(host: &Host, config: &Path, folder: &Path) -> Result<Delivery, String> {
    let text = host.files.read(config, MAX_FILE);
    // There may be a token in it.
    let text = Secret::new(text.map_err(|error| error.to_string())?);
    let name = config.display().to_string();
    let loaded = EdgeConfig::load(&String::from_utf8_lossy(&text), &name);
    let (config, _) = loaded.map_err(|error| error.to_string())?;
    let mut known = config.meta.deliver.into_iter();
    known
        .find(|delivery| delivery.folder == folder)
        .ok_or_else(|| format!("modules.metaManager.deliver in {name} does not allow it"))
}

const ANEW: &str = "order deliver-anew ";
const CHANGED: &str = "order deliver ";
const BEGUN: &str = "begun";

#[cfg(test)]
mod tests {
    use super::super::hook::Hook;
    use super::super::spool::{File, Files};
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    #[test]
    fn only_folders_of_the_configuration_and_the_hook_once_a_change() {
        let scratch = Scratch::new();
        let host = Host::real(Root::new(Some(scratch.path().to_owned())));
        let (config, log) = (
            scratch.path().join("edgecore.yaml"),
            scratch.path().join("log"),
        );
        let yaml = format!(
            "modules:\n  metaManager:\n    deliver:\n    - folder: /etc/app\n      hook: [/bin/sh, -c, 'echo $KUBEEDGE_FOLDER >> {}']\n",
            log.display()
        );
        host.files.replace(&config, yaml.as_bytes(), 0o600).unwrap();
        let runs = || {
            std::fs::read_to_string(&log)
                .unwrap_or_default()
                .lines()
                .count()
        };
        let (app, other) = (Path::new("/etc/app"), Path::new("/etc/other"));
        let refused = put(&host, &config, other, true).err().unwrap();
        assert!(refused.contains("does not allow"), "{refused}");
        for (text, anew, expected) in [
            ("1", false, 1),
            ("1", false, 1),
            ("2", false, 2),
            ("2", true, 3),
        ] {
            let files = Files {
                by_path: [("a".to_owned(), File::new(text.as_bytes(), false))].into(),
                ..Files::default()
            };
            spool::write(&host, app, &files).unwrap();
            if let Some(due) = put(&host, &config, app, anew).unwrap() {
                Hook::start(&due.delivery).unwrap().finish().unwrap();
            }
            assert_eq!(runs(), expected, "{text} {anew}");
        }
        let failing = yaml.replace("echo", "exit 3; echo");
        host.files
            .replace(&config, failing.as_bytes(), 0o600)
            .unwrap();
        let due = put(&host, &config, app, true).unwrap().unwrap();
        let outcome = Hook::start(&due.delivery).unwrap().finish();
        let why = outcome.as_ref().unwrap_err();
        assert!(why.contains("exit status: 3"), "{why}");
        assert_eq!(ended(&end(app, &outcome), app), Some(outcome.clone()));
        assert_eq!(ended(&end(app, &Ok(())), app), Some(Ok(())));
        assert_eq!(ended(&end(app, &outcome), other), None);
    }

    #[test]
    fn lines_say_what_they_are() {
        let app = Path::new("/etc/app");
        assert_eq!(ordered(&order(app, true)), Some((app.to_owned(), true)));
        assert_eq!(ordered(&order(app, false)), Some((app.to_owned(), false)));
        assert_eq!(ordered("order erase-token"), None);
        let failed = Answer::Failed("why".to_owned());
        for answer in [Answer::Done, Answer::Begun, failed] {
            let line = answer.line();
            let heard = match line == DONE {
                true => Ok(()),
                false => Err(line),
            };
            assert_eq!(Answer::of_answer(heard), answer);
        }
    }
}
