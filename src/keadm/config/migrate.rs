//! `config migrate`: an old edgecore.yaml in the version that is read now.

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::files::{FileFault, open};
use crate::config::MAX_FILE;
use crate::config::migrate::{self, Change};
use crate::config::set::Kind;
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::files::with_end;
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    name: "config migrate",
    group: Group::Edge,
    summary: "bring an old edgecore.yaml to the present version",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// which file
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the file; default: edgecore.yaml in /etc/kubeedge/config
    #[argh(option, short = 'c', arg_name = "file", default = "String::new()")]
    config: String,
    /// only say what would be changed
    #[argh(switch)]
    dry_run: bool,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let done = change(host, &given.flags);
    let (verbosity, format) = (given.verbosity, given.flags.output);
    out::finish(SPEC.name, verbosity, format, done, FileFault::code)
}

fn change(host: &Host, flags: &Flags) -> Result<Done, FileFault> {
    let file = open(host, &flags.config)?;
    let mut done = Done {
        file: file.path.display().to_string(),
        kept: None,
        changes: Vec::new(),
    };
    if file.kind == Kind::Cloud {
        // Its only version is v1alpha1.
        return Ok(done);
    }
    let migrated = migrate::edge(&file.text).map_err(|error| error.in_file(&done.file))?;
    done.changes = migrated.changes;
    if done.changes.is_empty() || flags.dry_run {
        return Ok(done);
    }
    let mode = host.files.mode(&file.path)?;
    let mut kept = with_end(&file.path, ".before-migrate");
    let mut number = 1;
    // What was kept before is what somebody wrote: it stays.
    while !host.files.create(&kept, file.text.as_bytes(), mode)? {
        let same = host.files.read(&kept, MAX_FILE);
        if same.is_ok_and(|found| found == file.text.as_bytes()) {
            break;
        }
        number += 1;
        kept = with_end(&file.path, &format!(".before-migrate-{number}"));
    }
    host.files
        .replace(&file.path, migrated.text.as_bytes(), mode)?;
    done.kept = Some(kept.display().to_string());
    Ok(done)
}

#[derive(Serialize)]
struct Done {
    file: String,
    /// Where the old one is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
    changes: Vec<Change>,
}

impl Report for Done {
    fn text(&self) -> String {
        let mut text = String::new();
        for Change { key, to, why } in &self.changes {
            let line = match to {
                Some(to) if to == key => format!("{key}: {why}\n"),
                Some(to) => format!("{key} is {to} now\n"),
                None => format!("{key} is left out: {why}\n"),
            };
            text.push_str(&line);
        }
        match (&self.kept, self.changes.is_empty()) {
            (Some(kept), _) => text.push_str(&format!(
                "{} is changed, the old one is {kept}\n",
                self.file
            )),
            (None, true) => text.push_str(&format!("{} is as it should be\n", self.file)),
            (None, false) => text.push_str(&format!("{} is not changed yet\n", self.file)),
        }
        text
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge config migrate",
    about: "Brings an edgecore.yaml of v1alpha1 (before KubeEdge 1.12), or of v1alpha2 before 1.16, to the keys of today, without \
            touching comments and order. Says of every key where it went. The old file stays beside it as .before-migrate; \
            cloudcore.yaml has one version only and is left alone.",
    examples: &[
        "kubeedge config migrate --dry-run",
        "kubeedge config migrate --config ./edgecore.yaml",
    ],
    spellings: &[],
    ignored: &[],
};
