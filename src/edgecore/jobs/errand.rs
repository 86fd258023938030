//! What the hub has its supervisor do for a job: one line there, one line back, and the arguments of a program.

use super::super::parent::DONE;
use crate::protocol::jobs::{Digest, Image, Version, Wish};

/// One step of a job that changes the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    BackUp,
    Upgrade {
        version: Version,
        image: Option<Image>,
        digest: Option<Digest>,
        /// Seconds that each start of the new version may take to get a session.
        patience: Option<u64>,
    },
    Config(Vec<Wish>),
    RollBack,
}

/// What the hub wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Whether the operator lets a job do it, and it could be done.
    May(Errand),
    Run(Errand),
    /// How what runs is getting on.
    Look,
}

/// How an errand is getting on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Runs,
    /// Nothing runs here, and nothing has been said of an end; but there may be one.
    Unknown,
    /// Nothing goes on any more, and nothing was said of an end: as after a power cut.
    Lost,
    Over(Outcome),
}

/// What came of an errand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the words of the report file; empty when there was none.
    pub event: String,
    pub from: String,
    pub to: String,
    /// Why it failed.
    pub failed: Option<String>,
}

impl Errand {
    /// Of `keadm`, after its name. No word of it is ever read by a shell.
    pub fn arguments(&self) -> Vec<String> {
        let fixed = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect();
        match self {
            Errand::BackUp => fixed(&["backup", "edge"]),
            Errand::RollBack => fixed(&["rollback", "edge"]),
            Errand::Config(wishes) => fixed(&["config-update", "--set", &joined(wishes)]),
            Errand::Upgrade {
                version,
                image,
                digest,
                patience,
            } => {
                let mut words = fixed(&[
                    "upgrade",
                    "edge",
                    "--force",
                    "--toVersion",
                    version.as_str(),
                ]);
                let patience = patience.map(|seconds| seconds.to_string());
                let image = image.as_ref().map_or(DEFAULT_IMAGE, Image::as_str);
                for (flag, word) in [
                    ("--image", Some(image)),
                    ("--image-digest", digest.as_ref().map(Digest::as_str)),
                    ("--timeout", patience.as_deref()),
                ] {
                    words.extend(
                        word.into_iter()
                            .flat_map(|it| [flag.to_owned(), it.to_owned()]),
                    );
                }
                words
            }
        }
    }

    fn line(&self) -> String {
        match self {
            Errand::BackUp => "backup".to_owned(),
            Errand::RollBack => "rollback".to_owned(),
            Errand::Config(wishes) => format!("config {}", joined(wishes)),
            Errand::Upgrade {
                version,
                image,
                digest,
                patience,
            } => {
                let image = image.as_ref().map_or(NONE, Image::as_str);
                let digest = digest.as_ref().map_or(NONE, Digest::as_str);
                let patience = patience.map_or(NONE.to_owned(), |it| it.to_string());
                format!("upgrade {} {image} {digest} {patience}", version.as_str())
            }
        }
    }

    fn read(line: &str) -> Option<Errand> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "backup" => Some(Errand::BackUp),
            "rollback" => Some(Errand::RollBack),
            "config" => {
                let wishes: Result<Vec<Wish>, _> = rest.split(',').map(str::parse).collect();
                Some(Errand::Config(wishes.ok()?))
            }
            "upgrade" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let [version, image, digest, patience] = words[..] else {
                    return None;
                };
                let given = |word: &'static str| move |it: &&str| *it != word;
                let image = Some(image).filter(given(NONE)).map(str::parse).transpose();
                let digest = Some(digest).filter(given(NONE)).map(str::parse).transpose();
                let patience = Some(patience).filter(given(NONE)).map(str::parse);
                let patience = patience.transpose();
                Some(Errand::Upgrade {
                    version: version.parse().ok()?,
                    image: image.ok()?,
                    digest: digest.ok()?,
                    patience: patience.ok()?,
                })
            }
            _ => None,
        }
    }
}

impl Asked {
    /// None when it does not fit in a line.
    pub fn line(&self) -> Option<String> {
        let line = match self {
            Asked::May(errand) => format!("{MAY}{}", errand.line()),
            Asked::Run(errand) => format!("{RUN}{}", errand.line()),
            Asked::Look => LOOK.to_owned(),
        };
        (line.len() <= MAX_LINE).then_some(line)
    }

    /// What a line of the hub asks for; an inner none when that is nothing that a job can be.
    pub fn read(line: &str) -> Option<Option<Asked>> {
        if line == LOOK {
            return Some(Some(Asked::Look));
        }
        let may = line.strip_prefix(MAY);
        let run = line.strip_prefix(RUN);
        let may = may.map(|rest| Errand::read(rest).map(Asked::May));
        may.or_else(|| run.map(|rest| Errand::read(rest).map(Asked::Run)))
    }
}

impl Standing {
    /// As a line to the hub.
    pub fn line(&self) -> String {
        match self {
            Standing::Runs => RUNS.to_owned(),
            Standing::Unknown => UNKNOWN.to_owned(),
            Standing::Lost => LOST.to_owned(),
            Standing::Over(outcome) => {
                let word = |text: &str| match text.is_empty() || text.contains(char::is_whitespace)
                {
                    true => NONE.to_owned(),
                    false => text.chars().take(MAX_WORD).collect(),
                };
                let Outcome {
                    event,
                    from,
                    to,
                    failed,
                } = outcome;
                let why = failed.as_deref().unwrap_or_default().replace('\n', " ");
                let why: String = why.chars().take(MAX_WHY).collect();
                let end = if failed.is_some() { FAILED } else { DONE };
                format!(
                    "{OVER}{end} {} {} {} {why}",
                    word(event),
                    word(from),
                    word(to)
                )
            }
        }
    }

    /// None for a line that says something else, such as why nothing can be said.
    pub fn read(line: &str) -> Option<Standing> {
        match line {
            RUNS => return Some(Standing::Runs),
            UNKNOWN => return Some(Standing::Unknown),
            LOST => return Some(Standing::Lost),
            _ => {}
        }
        let mut words = line.strip_prefix(OVER)?.splitn(5, ' ');
        let end = words.next()?;
        let mut word = || {
            words
                .next()
                .map(|it| if it == NONE { "" } else { it }.to_owned())
        };
        let (event, from, to) = (word()?, word()?, word()?);
        let why = words.next().unwrap_or_default().to_owned();
        Some(Standing::Over(Outcome {
            event,
            from,
            to,
            failed: (end != DONE).then_some(why),
        }))
    }
}

fn joined(wishes: &[Wish]) -> String {
    let wishes: Vec<String> = wishes.iter().map(Wish::to_string).collect();
    wishes.join(",")
}

const MAY: &str = "order job-may ";
const RUN: &str = "order job-run ";
const LOOK: &str = "order job-look";
const RUNS: &str = "job runs";
const UNKNOWN: &str = "job unknown";
const LOST: &str = "job lost";
const OVER: &str = "job over ";
const FAILED: &str = "failed";
/// What is taken when the job names none, as KubeEdge's keadm does.
pub const DEFAULT_IMAGE: &str = "kubeedge/installation-package";
/// In the place of a word that there is not.
const NONE: &str = "-";
/// Bytes of a line; what is longer would be cut on the way.
const MAX_LINE: usize = 1000;
/// Characters; of four bytes each they still fit.
const MAX_WHY: usize = 180;
const MAX_WORD: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn errands() -> Vec<Errand> {
        let digest = format!("sha256:{}", "0".repeat(64));
        vec![
            Errand::BackUp,
            Errand::RollBack,
            Errand::Upgrade {
                version: "v1.23.1".parse().unwrap(),
                image: None,
                digest: None,
                patience: None,
            },
            Errand::Upgrade {
                version: "v1.23.1-rc.1".parse().unwrap(),
                image: Some("r.example:5000/k/i".parse().unwrap()),
                digest: Some(digest.parse().unwrap()),
                patience: Some(50),
            },
            Errand::Config(vec![
                Wish::new("modules.edgeHub.messageQPS", "31").unwrap(),
                Wish::new("modules.edged.x", "a b=c").unwrap(),
            ]),
        ]
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        for errand in errands() {
            for asked in [Asked::May(errand.clone()), Asked::Run(errand)] {
                let line = asked.line().unwrap();
                assert_eq!(Asked::read(&line), Some(Some(asked)), "{line}");
            }
        }
        assert_eq!(Asked::read("order erase-token"), None);
        for wrong in [
            "order job-run ",
            "order job-run sh -c id",
            "order job-run upgrade v1.23.1",
            "order job-run upgrade v1.23.1 - - - --force",
            "order job-run upgrade v1.23.1 -x - -",
            "order job-run upgrade v1.23.1 - - --force",
            "order job-run config modules.taskManager.enable=true",
            "order job-run config ",
        ] {
            assert_eq!(Asked::read(wrong), Some(None), "{wrong}");
        }
        let long = Wish::new("modules.edged.x", &"y".repeat(500)).unwrap();
        assert_eq!(
            Asked::Run(Errand::Config(vec![long.clone(), long])).line(),
            None
        );
    }

    #[test]
    fn outcomes_are_read_as_they_were_written() {
        let good = Outcome {
            event: "Upgrade".to_owned(),
            from: "v1.23.0".to_owned(),
            to: "v1.23.1".to_owned(),
            failed: None,
        };
        let bad = Outcome {
            failed: Some("no room: remove something".to_owned()),
            ..Outcome::default()
        };
        for standing in [
            Standing::Runs,
            Standing::Unknown,
            Standing::Lost,
            Standing::Over(good),
            Standing::Over(bad),
        ] {
            assert_eq!(Standing::read(&standing.line()), Some(standing));
        }
        let long = Outcome {
            event: "x y".to_owned(),
            failed: Some("ü\n".repeat(4000)),
            ..Outcome::default()
        };
        assert!(Standing::Over(long).line().len() < 1000);
        assert_eq!(Standing::read("the supervisor gives no answer"), None);
    }

    #[test]
    fn arguments_are_words_and_nothing_else() {
        let words = errands().into_iter();
        let words = words.map(|it| it.arguments().join(" "));
        let digest = "0".repeat(64);
        assert_eq!(
            words.collect::<Vec<_>>(),
            [
                "backup edge",
                "rollback edge",
                "upgrade edge --force --toVersion v1.23.1 --image kubeedge/installation-package",
                &format!(
                    "upgrade edge --force --toVersion v1.23.1-rc.1 --image r.example:5000/k/i \
                     --image-digest sha256:{digest} --timeout 50"
                ),
                "config-update --set modules.edgeHub.messageQPS=31,modules.edged.x=a b=c",
            ]
        );
    }
}
