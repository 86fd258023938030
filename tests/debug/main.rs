//! `debug`: what it finds on a device that works, and on one that is broken in every way there is.

mod check;
mod collect;
#[path = "../common/mod.rs"]
mod common;
mod diagnose;
mod get;

use common::site::{Cloudcore, Said, Site};

/// A device that has joined a cloud of ours.
fn joined(cloud: &Cloudcore) -> Site {
    let site = Site::new();
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let token = cloud.token_file();
    site.join(&hub, cloud.https, &token, "pump-7", &["--init", "none"])
        .ends(0);
    site
}

/// The lines of a help that are examples, as words.
fn examples(site: &Site, command: &str) -> Vec<Vec<String>> {
    let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
    let help = site.run(&words).ends(0).out;
    let start = format!("kubeedge {command}");
    let lines = help.lines().map(str::trim);
    let lines = lines.filter(|line| line.starts_with(&start) && !line.contains('<'));
    let words = |line: &str| line.split(' ').skip(1).map(str::to_owned).collect();
    let found: Vec<Vec<String>> = lines.map(words).collect();
    assert!(found.len() > 1, "{help}");
    found
}

/// Each example is understood, and ends as it may on a device that has joined.
fn try_examples(site: &Site, command: &str, codes: &[i32]) -> Vec<Said> {
    let run = |words: Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = site.run(&words);
        assert!(codes.contains(&said.code), "{words:?}: {}", said.err);
        said
    };
    examples(site, command).into_iter().map(run).collect()
}
