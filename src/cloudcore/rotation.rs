//! `cloudcore ca rotate` and `cloudcore ca status`, the orders behind them, and what edges are told.

use std::sync::Arc;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use hyper::header::HeaderMap;
use serde_json::json;
use smol::Timer;

use super::cloud::Cloud;
use super::outbox::Ending;
use crate::authority::rotation::{self as steps, Outcome, RotationError, Step, View, Wish};
use crate::pki::certificate::Certificate;
use crate::protocol::control::{
    self, BehindNode, CLOUD_SOCKET, CaReport, CloudOp, ControlError, Request, VERSION,
};
use crate::protocol::message::{Message, Route};
use crate::protocol::trust::{CHANGE, CloudCas, TRUST_HEADER, read_trusted};
use crate::store::StoreError;
use crate::store::file::{FileStore, Options};
use crate::system::args::{self, Command, Spec};
use crate::system::clock::Timestamp;
use crate::system::counted::counted;
use crate::system::host::Host;
use crate::system::{console, exit};

/// What every edge is told with its tunnel.
pub fn cas(cloud: &Cloud) -> CloudCas {
    let (all, signer) = cloud.authority.standing().hashes();
    CloudCas { all, signer }
}

/// The CA that an edge says its token pins; else the announced one.
pub fn asked(cloud: &Cloud, headers: &HeaderMap) -> Certificate {
    let standing = cloud.authority.standing();
    let pinned = headers.get(TRUST_HEADER).and_then(|it| it.to_str().ok());
    let pinned = read_trusted(pinned.unwrap_or_default());
    let named = pinned.iter().find_map(|hash| standing.named(hash));
    named.unwrap_or(&standing.announced).clone()
}

/// Does a step on the order of an operator, and tells edges that follow.
pub async fn order(cloud: &Arc<Cloud>, request: &Request) -> CaReport {
    let wish = match wish(request) {
        Ok(wish) => wish,
        Err(sentence) => return failed(sentence, exit::USAGE),
    };
    match cloud.authority.rotate(wish).await {
        Ok(outcome) => {
            if outcome.done {
                for behind in &outcome.left {
                    cloud.registry.end(&behind.node, Ending::CaRetired);
                }
                if outcome.step == Step::Finish {
                    retire(cloud);
                }
                cloud.spawn(tell(cloud.clone()));
            }
            told(&outcome)
        }
        Err(error) => failed(error.to_string(), code(&error)),
    }
}

fn wish(request: &Request) -> Result<Wish, String> {
    let step = request.step.as_deref().map(str::parse::<Step>).transpose();
    Ok(Wish {
        step: step?,
        force: request.force,
        dry_run: request.dry_run,
    })
}

pub async fn report(cloud: &Cloud) -> CaReport {
    match cloud.authority.ca_view().await {
        Ok(view) => shown(&view),
        Err(error) => failed(error.to_string(), code(&error)),
    }
}

/// Ends the sessions that were opened with a certificate of a CA that counts no more; their number.
pub(super) fn retire(cloud: &Cloud) -> usize {
    let is_bad = |credential: &_| !cloud.authority.trusts(credential);
    cloud.registry.end_where(is_bad, Ending::CaRetired)
}

/// Tells edges one after another, since each comes with a new connection soon.
pub(super) async fn tell(cloud: Arc<Cloud>) {
    let word = cas(&cloud).to_string();
    for outbox in cloud.registry.following() {
        let route = Route {
            source: "cloudhub".to_owned(),
            group: "resource".to_owned(),
            operation: CHANGE.to_owned(),
            resource: "null/ca/bundle".to_owned(),
            ..Route::default()
        };
        outbox.push(Message::new(cloud.clock.now(), route, &word));
        Timer::after(PAUSE).await;
    }
}

fn told(outcome: &Outcome) -> CaReport {
    CaReport {
        step: Some(outcome.step.to_string()),
        done: outcome.done,
        already: outcome.already,
        ..shown(&outcome.view)
    }
}

fn shown(view: &View) -> CaReport {
    let behind = view.behind.iter().take(MAX_SHOWN);
    CaReport {
        v: VERSION,
        phase: view.phase.map(|phase| phase.word().to_owned()),
        ca: view.ca.hash().to_string(),
        next: view.next.as_ref().map(|next| next.hash().to_string()),
        nodes: view.nodes,
        behind_count: view.behind.len(),
        behind: behind
            .map(|it| BehindNode {
                node: it.node.to_string(),
                trusts: it.trusts,
                renewed: it.renewed,
                until: it.until,
            })
            .collect(),
        ..CaReport::default()
    }
}

fn failed(sentence: String, code: u8) -> CaReport {
    CaReport {
        v: VERSION,
        error: Some(sentence),
        exit_code: Some(code),
        ..CaReport::default()
    }
}

fn code(error: &RotationError) -> u8 {
    match error {
        RotationError::NoCa => exit::UNAVAILABLE,
        RotationError::Order { .. } => exit::USAGE,
        error if error.is_retryable() => exit::TRY_AGAIN,
        RotationError::Unfit(_) => exit::CONFIG,
        _ => exit::FAILURE,
    }
}

pub static ROTATION: Command = Command {
    summary: "replace the CA, step by step",
    spec: &ROTATE,
    info: RotateFlags::get_args_info,
    run: rotate,
};

pub static STANDING: Command = Command {
    summary: "which CA counts, and who has followed",
    spec: &STATUS,
    info: StatusFlags::get_args_info,
    run: status,
};

/// `cloudcore ca rotate`.
fn rotate(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<RotateFlags>(&ROTATE, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let request = Request {
        step: flags.step,
        force: flags.force,
        dry_run: flags.dry_run,
        ..Request::new(CloudOp::CaRotate)
    };
    let report = reach(host, &request, &|store, now| match wish(&request) {
        Ok(wish) => read(steps::rotate(store, wish, now), told),
        Err(sentence) => failed(sentence, exit::USAGE),
    });
    let json = flags.json || flags.is_json;
    finish(&ROTATE, &report, json, |report| {
        said(report, request.dry_run)
    })
}

/// `cloudcore ca status`.
fn status(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<StatusFlags>(&STATUS, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let report = reach(host, &Request::new(CloudOp::CaStatus), &|store, now| {
        read(steps::view(store, now), shown)
    });
    let json = given.flags.json || given.flags.is_json;
    finish(&STATUS, &report, json, standing)
}

/// Asks the cloudcore that runs; without one, does the work on its files.
fn reach(host: &Host, request: &Request, work: Work) -> CaReport {
    match control::call(&host.root.at(CLOUD_SOCKET), request, PATIENCE) {
        Ok(report) => report,
        Err(ControlError::NotRunning) => in_files(host, work),
        Err(error @ ControlError::Denied(_)) => failed(error.to_string(), exit::DENIED),
        Err(error) => failed(error.to_string(), exit::TRY_AGAIN),
    }
}

fn in_files(host: &Host, work: Work) -> CaReport {
    // Opening the store would make its folders, on a machine that may have no cloud at all.
    match FileStore::has_ca(&host.files, &host.root) {
        Ok(true) => {}
        Ok(false) => return failed(RotationError::NoCa.to_string(), exit::UNAVAILABLE),
        Err(error) => return failed(error.to_string(), store_code(&error)),
    }
    let store = match FileStore::open(&host.files, &host.root, Options::default()) {
        Ok(store) => store,
        Err(error) => return failed(error.to_string(), store_code(&error)),
    };
    work(&store, host.clock.now())
}

/// What an order does where no cloudcore runs.
type Work<'a> = &'a dyn Fn(&FileStore, Timestamp) -> CaReport;

fn read<T>(
    work: impl Future<Output = Result<T, RotationError>>,
    text: impl Fn(&T) -> CaReport,
) -> CaReport {
    match smol::block_on(work) {
        Ok(outcome) => text(&outcome),
        Err(error) => failed(error.to_string(), code(&error)),
    }
}

fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::Io(error) if error.is_denied() => exit::DENIED,
        error if error.is_retryable() => exit::TRY_AGAIN,
        _ => exit::FAILURE,
    }
}

/// Prints a report; the exit code.
fn finish(spec: &Spec, report: &CaReport, json: bool, text: impl Fn(&CaReport) -> String) -> u8 {
    let code = report.exit_code.unwrap_or(exit::FAILURE);
    if json {
        console::line(&match &report.error {
            Some(sentence) => json!({"error": sentence, "exitCode": code}).to_string(),
            None => serde_json::to_string(report).unwrap_or_default(),
        });
    }
    match &report.error {
        Some(sentence) => {
            console::complain(spec.name, sentence);
            code
        }
        None => {
            if !json {
                console::out(&text(report));
            }
            exit::OK
        }
    }
}

/// What a step did, or would do, and what comes next.
fn said(report: &CaReport, dry_run: bool) -> String {
    let step = report.step.as_deref().unwrap_or_default();
    let nodes = counted(report.nodes, "device");
    let behind = counted(report.behind_count, "device");
    let what = match step {
        "prepare" => "the next CA is made, and devices fetch it".to_owned(),
        "switch" => format!(
            "certificates are signed by the next CA; {nodes} to get one, those of KubeEdge when \
             they renew"
        ),
        "announce" => {
            "new tokens and /ca.crt name the next CA; devices of KubeEdge that join now pin it"
                .to_owned()
        }
        _ => format!(
            "the old CA counts no more, nor do tokens made before announce; that cuts off {behind}"
        ),
    };
    let head = match (report.already, dry_run) {
        (true, _) if report.phase.is_none() => "No rotation is under way.\n".to_owned(),
        (true, _) => format!("{step} was done before.\n"),
        (false, true) => format!("{step} would be done: {what}.\n"),
        (false, false) => format!("{step} is done: {what}.\n"),
    };
    head + &standing(report)
}

fn standing(report: &CaReport) -> String {
    let (nodes, behind) = (report.nodes, report.behind_count);
    let devices = counted(nodes, "device");
    let Some(next) = &report.next else {
        return format!("CA {}; {devices}.\n", report.ca);
    };
    let phase = report.phase.as_deref().unwrap_or_default();
    let after = match phase {
        "prepared" => "switch",
        "switched" => "announce, when tokens made before are used up or expired",
        _ => "finish, when all have followed and tokens made before announce have expired",
    };
    let mut text = format!(
        "old CA  {}\nnext CA {next}\n{phase}; followed: {} of {devices}. Next: {after}.\n",
        report.ca,
        nodes - behind.min(nodes),
    );
    if behind > 0 {
        text.push_str(&format!(
            "\n{:<32} {:<10} {:<12} {}\n",
            "BEHIND", "KNOWS IT", "CERTIFICATE", "UNTIL"
        ));
    }
    for it in &report.behind {
        let knows = if it.trusts { "yes" } else { "no" };
        let renewed = if it.renewed { "new" } else { "old" };
        let row = format!("{:<32} {knows:<10} {renewed:<12} {}\n", it.node, it.until);
        text.push_str(&row);
    }
    if behind > report.behind.len() {
        text.push_str(&format!("and {} more\n", behind - report.behind.len()));
    }
    let waits = |it: &BehindNode| it.trusts && !it.renewed;
    if phase != "prepared" && report.behind.iter().any(waits) {
        text.push_str(NOT_RENEWED);
    }
    text
}

/// replace the CA, step by step
#[derive(FromArgs, ArgsInfo)]
struct RotateFlags {
    /// prepare, switch, announce or finish; default: the one that comes next
    #[argh(positional, arg_name = "step")]
    step: Option<String>,
    /// say what would happen, and change nothing
    #[argh(switch)]
    dry_run: bool,
    /// finish though some devices have not followed: they have to join again
    #[argh(switch)]
    force: bool,
    /// text or json; default: text
    #[argh(
        option,
        short = 'o',
        long = "output",
        arg_name = "format",
        from_str_fn(is_json),
        default = "false"
    )]
    is_json: bool,
    /// the same as --output json
    #[argh(switch)]
    json: bool,
}

/// The value of `--output`.
fn is_json(text: &str) -> Result<bool, String> {
    match text {
        "text" => Ok(false),
        "json" => Ok(true),
        _ => Err("the formats are text and json".to_owned()),
    }
}

/// how a rotation stands
#[derive(FromArgs, ArgsInfo)]
struct StatusFlags {
    /// text or json; default: text
    #[argh(
        option,
        short = 'o',
        long = "output",
        arg_name = "format",
        from_str_fn(is_json),
        default = "false"
    )]
    is_json: bool,
    /// the same as --output json
    #[argh(switch)]
    json: bool,
}

static ROTATE: Spec = Spec {
    name: "cloudcore ca rotate",
    about: "Replaces the CA while devices go on. prepare makes the next CA, for which the old one \
            vouches; switch has it sign; announce puts it into new tokens; finish retires the old \
            one. Each step may be repeated, also after a power cut. Devices of ours follow by \
            themselves; those of KubeEdge renew, and join again between announce and finish. finish \
            is refused while a device has not followed.",
    examples: &[
        "cloudcore ca rotate --dry-run",
        "cloudcore ca rotate prepare",
        "cloudcore ca rotate finish --force",
    ],
    spellings: &[],
    ignored: &[],
};

static STATUS: Spec = Spec {
    name: "cloudcore ca status",
    about: "Shows the CA and, during a rotation, which devices have not followed.",
    examples: &["cloudcore ca status", "cloudcore ca status --output json"],
    spellings: &[],
    ignored: &[],
};

/// Finish takes the certificates of the old CA away, so that such a device has really not followed.
const NOT_RENEWED: &str = "\nWho knows the next CA and has an old certificate is renewing at this moment, or has \
    rotateCertificates: false: then `keadm certs renew` on the device gets it a new one.\n";
/// Between two edges that are told: each comes with a request or two.
const PAUSE: Duration = Duration::from_millis(20);
/// Devices listed; the answer has to fit in a line.
const MAX_SHOWN: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
