//! What a tour shows: each step with its time and what was seen, as text or as one JSON object.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::step::Step;
use crate::keadm::out::{self, Format};
use crate::system::console;

/// Shows text as it happens, and JSON at the end.
pub struct Reporter {
    format: Format,
    finished: bool,
    tour: Shown,
}

/// What `--output json` shows.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    verified: bool,
    folder: String,
    steps: Vec<Done>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

#[derive(Serialize)]
struct Done {
    step: &'static str,
    seconds: f64,
    seen: Vec<String>,
}

#[derive(Serialize)]
struct Failure {
    step: &'static str,
    cause: String,
    logs: Vec<String>,
}

impl Reporter {
    pub fn new(format: Format) -> Reporter {
        Reporter {
            format,
            finished: false,
            tour: Shown::default(),
        }
    }

    pub fn title(&mut self, folder: &Path) {
        self.tour.folder = folder.display().to_string();
        self.say(&format!(
            "A cloud and an edge on this machine, in {}",
            folder.display()
        ));
    }

    pub fn done(&mut self, step: Step, took: Duration, seen: Vec<String>) {
        let number = self.tour.steps.len() + 1;
        let head = format!("{number}. {step}: {}", step.title());
        let mut text = format!("\n{head:<62} {:>7.3} s", took.as_secs_f64());
        for line in &seen {
            text.push_str(format!("\n     {line}").trim_end_matches(' '));
        }
        self.say(&text);
        let seconds = took.as_secs_f64();
        self.tour.steps.push(Done {
            step: step.name(),
            seconds,
            seen,
        });
    }

    pub fn failed(&mut self, step: Step, cause: &str, logs: &[&Path]) {
        let logs: Vec<String> = logs.iter().map(|log| log.display().to_string()).collect();
        let more = match logs.is_empty() {
            true => String::new(),
            false => format!("\nSee {}", logs.join(", ")),
        };
        console::error(&format!(
            "\nStep \"{step}\" failed ({}): {cause}{more}",
            step.title()
        ));
        let cause = cause.to_owned();
        self.tour.failure = Some(Failure {
            step: step.name(),
            cause,
            logs,
        });
    }

    /// How to look around while it runs on.
    pub fn invite(&mut self, folder: &Path, executable: &Path) {
        self.finish(true);
        let (folder, executable) = (folder.display(), executable.display());
        self.say(&format!(
            "\nEverything was verified on both sides. It runs on until Ctrl-C; try meanwhile:\n\
             \n    {executable} status --root {folder}/edge\
             \n    {executable} certs check --root {folder}/edge\
             \n    {executable} certs renew --root {folder}/edge\
             \n    {executable} gettoken --root {folder}/cloud\n"
        ));
    }

    /// The one JSON object, once.
    pub fn finish(&mut self, verified: bool) {
        if self.format == Format::Json && !self.finished {
            self.tour.verified = verified;
            console::out(&out::json(&self.tour));
        }
        self.finished = true;
    }

    pub fn note(&self, sentence: &str) {
        console::error(sentence);
    }

    fn say(&self, text: &str) {
        if self.format == Format::Text {
            console::line(text);
        }
    }
}
