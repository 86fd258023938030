//! `cloudcore ctl upgrade`, `config-update` and `jobs`: jobs for many nodes, and how they get on.

use std::thread;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde_json::{Map, Value, json};

use super::output::{self, Form};
use super::{OrderError, PATIENCE, check, order, report, said, usage};
use crate::cloudcore::jobs::{Kind, Member, Wanted, checked};
use crate::config::duration;
use crate::protocol::control::{CLOUD_SOCKET, Client, CloudOp, ObjectLine, Reply, Request};
use crate::system::args::{self, Command, Spec};
use crate::system::clock::Timestamp;
use crate::system::host::Host;
use crate::system::{console, exit};

pub static UPGRADES: Command = Command {
    summary: "upgrade nodes, a few at a time",
    spec: &UPGRADE,
    info: UpgradeFlags::get_args_info,
    run: upgrade,
};

pub static CHANGES: Command = Command {
    summary: "change the configuration of nodes, likewise",
    spec: &CONFIG_UPDATE,
    info: ConfigFlags::get_args_info,
    run: config_update,
};

pub static ALL: Command = Command {
    summary: "show upgrades and changes, go on with one, or cancel it",
    spec: &JOBS,
    info: JobsFlags::get_args_info,
    run: show,
};

fn upgrade(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<UpgradeFlags>(&UPGRADE, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let spec = || {
        let digests = pairs(&flags.digest, "amd64=sha256:…")?;
        let mut spec = json!({
            "version": flags.version, "image": flags.image.clone().unwrap_or_default(),
            "timeoutSeconds": flags.timeout, "requireConfirmation": flags.require_confirmation,
        });
        if !digests.is_empty() {
            spec["imageDigestGatter"] = digests.into();
        }
        Ok(spec)
    };
    let name = flags.name.clone();
    let name = name.unwrap_or_else(|| format!("upgrade-{}", flags.version.to_ascii_lowercase()));
    let done = spec().and_then(|spec| {
        let wanted = Wanted {
            kind: Kind::NodeUpgradeJob,
            max_unavailable: flags.max_unavailable,
            pause_on_failure: flags.pause_on_failure,
            timeout_seconds: flags.timeout,
            spec,
        };
        create(host, &name, (flags.node, flags.selector), &wanted)
    });
    follow(
        &UPGRADE,
        host,
        &name,
        done,
        (flags.detach, flags.output),
        given.verbosity,
    )
}

fn config_update(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<ConfigFlags>(&CONFIG_UPDATE, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let name = flags.name;
    let done = pairs(&flags.set, "modules.edgeHub.heartbeat=30").and_then(|fields| {
        let spec = json!({"updateFields": fields, "timeoutSeconds": flags.timeout});
        let wanted = Wanted {
            kind: Kind::ConfigUpdateJob,
            max_unavailable: flags.max_unavailable,
            pause_on_failure: flags.pause_on_failure,
            timeout_seconds: flags.timeout,
            spec,
        };
        create(host, &name, (flags.node, flags.selector), &wanted)
    });
    follow(
        &CONFIG_UPDATE,
        host,
        &name,
        done,
        (flags.detach, flags.output),
        given.verbosity,
    )
}

fn show(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<JobsFlags>(&JOBS, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    if flags.resume || flags.cancel {
        let (Some(name), false) = (&flags.name, flags.resume && flags.cancel) else {
            let usage = usage("name one job, and give --resume or --cancel");
            return args::fail(JOBS.name, &usage, given.verbosity, usage.code());
        };
        let op = if flags.resume {
            CloudOp::JobResume
        } else {
            CloudOp::JobCancel
        };
        let request = Request {
            name: Some(name.clone()),
            ..Request::new(op)
        };
        return report(JOBS.name, order(host, &request), given.verbosity);
    }
    let jobs = match ask(host, flags.name.iter().cloned().collect()) {
        Ok(jobs) => jobs,
        Err(error) => return flags.output.fail(JOBS.name, &error, given.verbosity),
    };
    if let (Some(name), true) = (&flags.name, jobs.is_empty()) {
        let missing = OrderError::Refused(format!("there is no job {name}"));
        return flags.output.fail(JOBS.name, &missing, given.verbosity);
    }
    match (flags.output, &flags.name) {
        (Form::Json, Some(_)) => output::json(&jobs[0]),
        (Form::Json, None) => output::json(&json!({"jobs": jobs})),
        (Form::Yaml, _) => output::yaml(&json!({"jobs": jobs})),
        (Form::Name, _) => jobs
            .iter()
            .for_each(|job| _ = console::line(text(job, "name"))),
        (Form::Text, Some(_)) => nodes_of(&jobs[0]),
        (Form::Text, None) if jobs.is_empty() => _ = console::line("there are no jobs"),
        (Form::Text, None) => output::table(&TITLES, jobs.iter().map(cells)),
    }
    exit::OK
}

fn create(
    host: &Host,
    name: &str,
    (nodes, selector): (Vec<String>, Option<String>),
    wanted: &Wanted,
) -> Result<String, OrderError> {
    if nodes.is_empty() && selector.is_none() {
        return Err(usage("say for which nodes, with --selector or --node"));
    }
    check(&nodes, selector.as_deref())?;
    // Which nodes it is for is cloudcore's to say; the words are the same for any.
    let any = nodes.first().map_or("node", String::as_str);
    let any = [(any.parse().map_err(usage)?, Member::default())];
    let epoch = Timestamp::from_unix(0);
    checked(&wanted.clone().job(name.to_owned(), epoch, any.into())).map_err(usage)?;
    let body = serde_json::to_string(wanted).map_err(usage)?;
    let request = Request {
        name: Some(name.to_owned()),
        names: nodes,
        selector,
        ..Request::new(CloudOp::JobCreate)
    };
    let socket = host.root.at(CLOUD_SOCKET);
    let client = Client::ask_with(&socket, &request, body.as_bytes(), PATIENCE);
    let mut client = client.map_err(OrderError::Control)?;
    let reply = client.line::<Reply>().map_err(OrderError::Control)?;
    said(reply.ok_or_else(|| OrderError::Refused("cloudcore gave no answer".to_owned()))?)
}

/// Stays with the job until it is over or paused, unless it was asked not to; the exit code says how it went.
fn follow(
    spec: &Spec,
    host: &Host,
    name: &str,
    made: Result<String, OrderError>,
    (detach, form): (bool, Form),
    verbosity: Option<u8>,
) -> u8 {
    let sentence = match made {
        Ok(sentence) => sentence,
        Err(error) => return form.fail(spec.name, &error, verbosity),
    };
    let talks = form == Form::Text;
    if talks {
        console::line(&sentence);
    }
    if talks && detach {
        return exit::OK;
    }
    let mut before = String::new();
    loop {
        let job = match ask(host, vec![name.to_owned()]) {
            Ok(mut jobs) if !jobs.is_empty() => jobs.remove(0),
            Ok(_) => return exit::FAILURE,
            Err(error) => return form.fail(spec.name, &error, verbosity),
        };
        let line = progress(&job);
        if talks && line != before {
            console::line(&line);
        }
        before = line;
        if detach || text(&job, "phase") != "Running" {
            match form {
                Form::Text => nodes_of(&job),
                Form::Yaml => output::yaml(&job),
                _ => output::json(&job),
            }
            let good = detach || text(&job, "phase") == "Completed" && count(&job, "Failure") == 0;
            return if good { exit::OK } else { exit::FAILURE };
        }
        thread::sleep(PACE);
    }
}

fn ask(host: &Host, names: Vec<String>) -> Result<Vec<Value>, OrderError> {
    let request = Request {
        names,
        ..Request::new(CloudOp::Jobs)
    };
    let client = Client::ask(&host.root.at(CLOUD_SOCKET), &request, PATIENCE);
    let mut client = client.map_err(OrderError::Control)?;
    let broken = || OrderError::Refused("the list ends before its end: ask again".to_owned());
    let mut jobs = Vec::new();
    loop {
        let line = client.line::<ObjectLine>().map_err(OrderError::Control)?;
        let line = line.ok_or_else(broken)?;
        if let Some(error) = line.error {
            return Err(OrderError::Refused(error));
        }
        let Some(length) = line.body else {
            return Ok(jobs);
        };
        let body = client.body(length).map_err(OrderError::Control)?;
        jobs.push(serde_json::from_slice(&body).map_err(|_| broken())?);
    }
}

fn pairs(words: &[String], like: &str) -> Result<Map<String, Value>, OrderError> {
    let pair = |word: &String| {
        let pair = word.split_once('=');
        let (key, value) =
            pair.ok_or_else(|| usage(format!("{word:?} is no pair: write it like {like}")))?;
        Ok((key.to_owned(), Value::from(value)))
    };
    words.iter().map(pair).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn members(job: &Value) -> impl Iterator<Item = (&String, &Value)> {
    job.get("nodes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn count(job: &Value, phase: &str) -> usize {
    members(job)
        .filter(|(_, it)| text(it, "phase") == phase)
        .count()
}

fn cells(job: &Value) -> Vec<String> {
    let counts = ["Successful", "Failure", "InProgress", "Waiting"];
    let counts = counts.map(|phase| (count(job, phase), phase.to_ascii_lowercase()));
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    vec![
        text(job, "name").to_owned(),
        text(job, "kind").to_owned(),
        text(job, "phase").to_owned(),
        counts.join(", "),
        text(job, "reason").to_owned(),
    ]
}

/// A line for who watches; a reason, which comes last, is seldom there.
fn progress(job: &Value) -> String {
    cells(job)[2..].join("  ").trim_end().to_owned()
}

fn nodes_of(job: &Value) {
    let rows = members(job).map(|(node, member)| {
        let last = member.get("actions").and_then(Value::as_array);
        let last = last
            .and_then(|it| it.last())
            .map_or("-", |it| text(it, "action"));
        let cells = [node, text(member, "phase"), last, text(member, "reason")];
        cells.map(str::to_owned).to_vec()
    });
    output::table(&["NODE", "PHASE", "LAST STEP", "REASON"], rows);
}

/// upgrade nodes
#[derive(FromArgs, ArgsInfo)]
struct UpgradeFlags {
    /// to which version, such as v1.23.1
    #[argh(option, arg_name = "version")]
    version: String,
    /// from which image; default: the one that the nodes know
    #[argh(option, arg_name = "name")]
    image: Option<String>,
    /// what the image must be, such as arm64=sha256:…; once for each kind of machine
    #[argh(option, arg_name = "machine=digest")]
    digest: Vec<String>,
    /// somebody on each device must agree first
    #[argh(switch)]
    require_confirmation: bool,
    /// nodes with this label
    #[argh(option, short = 'l', arg_name = "key=value")]
    selector: Option<String>,
    /// a node
    #[argh(option, arg_name = "name")]
    node: Vec<String>,
    /// nodes that may be at it at the same time; default: 1
    #[argh(option, arg_name = "number", default = "1")]
    max_unavailable: usize,
    /// begin with no other node when one has failed
    #[argh(switch)]
    pause_on_failure: bool,
    /// how long one node may take, such as 90s or 2m; default: 1800s
    #[argh(
        option,
        arg_name = "duration",
        from_str_fn(duration::seconds),
        default = "1800"
    )]
    timeout: u64,
    /// what the job is called; default: upgrade-VERSION
    #[argh(option, arg_name = "name")]
    name: Option<String>,
    /// end at once; cloudcore goes on
    #[argh(switch)]
    detach: bool,
    /// text, json or yaml; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Form::Text")]
    output: Form,
}

/// change the configuration of nodes
#[derive(FromArgs, ArgsInfo)]
struct ConfigFlags {
    /// what the job is called
    #[argh(option, arg_name = "name")]
    name: String,
    /// a key of edgecore.yaml and its value
    #[argh(option, arg_name = "key=value")]
    set: Vec<String>,
    /// nodes with this label
    #[argh(option, short = 'l', arg_name = "key=value")]
    selector: Option<String>,
    /// a node
    #[argh(option, arg_name = "name")]
    node: Vec<String>,
    /// nodes that may be at it at the same time; default: 1
    #[argh(option, arg_name = "number", default = "1")]
    max_unavailable: usize,
    /// begin with no other node when one has failed
    #[argh(switch)]
    pause_on_failure: bool,
    /// how long one node may take, such as 90s or 2m; default: 600s
    #[argh(
        option,
        arg_name = "duration",
        from_str_fn(duration::seconds),
        default = "600"
    )]
    timeout: u64,
    /// end at once; cloudcore goes on
    #[argh(switch)]
    detach: bool,
    /// text, json or yaml; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Form::Text")]
    output: Form,
}

/// which jobs to show
#[derive(FromArgs, ArgsInfo)]
struct JobsFlags {
    /// this one, with its nodes; default: all
    #[argh(positional)]
    name: Option<String>,
    /// go on after a failure has paused it
    #[argh(switch)]
    resume: bool,
    /// begin with no other node any more
    #[argh(switch)]
    cancel: bool,
    /// text, json, yaml or name; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Form::Text")]
    output: Form,
}

static UPGRADE: Spec = Spec {
    name: "cloudcore ctl upgrade",
    about: "Has nodes upgrade themselves, a few at a time, and shows how it goes. The job goes on when this \
            command or cloudcore ends; `cloudcore ctl jobs` shows it. Devices take only what their own \
            configuration allows.",
    examples: &[
        "cloudcore ctl upgrade --version v1.23.2 --selector role=router --max-unavailable 5 --pause-on-failure",
        "cloudcore ctl upgrade --version v1.23.2 --image registry.example/kubeedge/installation-package \
         --digest arm64=sha256:… --node router-17",
    ],
    spellings: &[],
    ignored: &[],
};

static CONFIG_UPDATE: Spec = Spec {
    name: "cloudcore ctl config-update",
    about: "Changes edgecore.yaml of nodes, a few at a time, and shows how it goes. A node that does not come \
            back with the change takes it back itself.",
    examples: &[
        "cloudcore ctl config-update --name beat --set modules.edgeHub.heartbeat=30 --selector role=router",
    ],
    spellings: &[],
    ignored: &[],
};

static JOBS: Spec = Spec {
    name: "cloudcore ctl jobs",
    about: "Shows the jobs that this cloud has given to nodes: how far each is, or how each node of one is.",
    examples: &[
        "cloudcore ctl jobs",
        "cloudcore ctl jobs upgrade-v1.23.2 --output json",
        "cloudcore ctl jobs upgrade-v1.23.2 --resume",
    ],
    spellings: &[],
    ignored: &[],
};

const TITLES: [&str; 5] = ["NAME", "KIND", "PHASE", "NODES", "REASON"];
const PACE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_a_word() {
        let mut job = json!({"phase": "Running", "nodes": {"a": {"phase": "InProgress"}}});
        assert_eq!(progress(&job), "Running  1 inprogress");
        job["reason"] = "a failed".into();
        assert_eq!(progress(&job), "Running  1 inprogress  a failed");
    }
}
