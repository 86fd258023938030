//! `join`: makes this device a node of a cloud, and returns when its session with the hub is up.

#[cfg(test)]
pub mod cuts;
mod draft;
mod error;
mod first_boot;
mod install;
mod launch;
mod network;
pub(super) mod preflight;
pub(super) mod present;
mod progress;
mod report;
mod wait;
mod wish;

use std::iter;
use std::path::Path;

use argh::{ArgsInfo, FromArgs};

use super::out::{self, Format};
use super::{Command, Group, hooks, lock};
use crate::config::first_boot as first_boot_request;
use crate::protocol::token::JoinToken;
use crate::system::args::{self, Ignored, Spec};
use crate::system::host::Host;
use crate::system::service::Choice;
use crate::system::{console, exit};
use draft::Draft;
use error::JoinError;
pub use first_boot::AT_FIRST_BOOT;
use install::Installation;
use launch::launch;
use preflight::Trust;
use present::Present;
use progress::Progress;
use report::Joined;
use wish::Wish;

pub static COMMAND: Command = Command {
    name: "join",
    group: Group::Edge,
    summary: "make this device a node of a cloud",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// where to join, and how
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// address of the cloud's hub; without a port: 10000; several with commas between
    #[argh(option, short = 'e', arg_name = "host:port,...")]
    cloudcore_ipport: String,
    /// the join token, or - to read it from stdin; other users can see what stands here
    #[argh(option, short = 't', arg_name = "token", default = "String::new()")]
    token: String,
    /// a file that holds the token, or - for stdin
    #[argh(option, arg_name = "file", default = "String::new()")]
    token_file: String,
    /// name of the node; default: the host's name, made unique if it is a common one
    #[argh(option, short = 'i', arg_name = "name", default = "String::new()")]
    edgenode_name: String,
    /// port of the cloud's certificate API; default: the hub's, if that serves it, else the one that
    /// edgecore.yaml has for this hub, else 10002
    #[argh(option, short = 's', arg_name = "port", default = "String::new()")]
    certport: String,
    /// websocket, or quic, which falls back to websocket where UDP is blocked
    #[argh(option, arg_name = "name", default = "String::new()")]
    hub_protocol: String,
    /// labels of the node, such as site=barn,floor=2
    #[argh(option, short = 'l', arg_name = "k=v,...")]
    labels: Vec<String>,
    /// a key of edgecore.yaml, such as modules.edgeHub.heartbeat=30
    #[argh(option, arg_name = "key=value")]
    set: Vec<String>,
    /// HTTP proxy to the cloud, or none; default: HTTPS_PROXY; others can see what stands here
    #[argh(option, arg_name = "url", default = "String::new()")]
    proxy: String,
    /// address of this device to connect from
    #[argh(option, arg_name = "address", default = "String::new()")]
    bind_address: String,
    /// interface to connect from, such as wg0
    #[argh(option, arg_name = "name", default = "String::new()")]
    bind_interface: String,
    /// socket of the container runtime, for the configuration only
    #[argh(option, short = 'p', arg_name = "url", default = "String::new()")]
    remote_runtime_endpoint: String,
    /// cgroupfs or systemd, for the configuration only
    #[argh(option, arg_name = "name", default = "String::new()")]
    cgroupdriver: String,
    /// script to run before anything is done; join ends when it fails
    #[argh(option, arg_name = "script", default = "String::new()")]
    pre_run: String,
    /// script to run when the device has joined
    #[argh(option, arg_name = "script", default = "String::new()")]
    post_run: String,
    /// auto, systemd, procd, openrc, busybox, rcs, or none (in the background, not at boot)
    #[argh(option, arg_name = "system", default = "Choice::Auto")]
    init: Choice,
    /// how long to wait for the session, such as 90s; default: 300s
    #[argh(option, arg_name = "duration", default = "String::new()")]
    timeout: String,
    /// take the device away from another cloud, its name from another device, and replace other
    /// programs' files
    #[argh(switch)]
    force: bool,
    /// look at everything, tell what would be done, and do nothing
    #[argh(switch)]
    dry_run: bool,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
    /// accepted for scripts of KubeEdge
    #[argh(option, hidden_help, arg_name = "path", default = "String::new()")]
    cert_path: String,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    if !["", CERT_PATH].contains(&flags.cert_path.trim_end_matches('/')) {
        console::complain(SPEC.name, CERT_PATH_IGNORED);
    }
    let progress = Progress::new(flags.output);
    let joined = Wish::read(host, &flags).and_then(|wish| {
        let joined = join(host, &wish, &progress)?;
        let script = wish
            .post_run
            .filter(|_| !joined.already_connected && !joined.dry_run);
        // The device has joined, whatever a script makes of it.
        if let Some(error) = script.and_then(|script| hooks::run(&script).err()) {
            console::complain(SPEC.name, &error.to_string());
        }
        Ok(joined)
    });
    match joined {
        Ok(joined) => {
            out::show(&joined, flags.output);
            exit::OK
        }
        Err(error) => out::fail(
            SPEC.name,
            &error,
            given.verbosity,
            flags.output,
            error.code(),
        ),
    }
}

/// All phases. Every one of them may be repeated: what is done already is found so.
fn join(host: &Host, wish: &Wish, progress: &Progress) -> Result<Joined, JoinError> {
    let _lock = match wish.dry_run {
        true => None,
        false => Some(lock::take(host)?),
    };
    let mut draft = Draft::make(host, wish, None)?;
    let mut present = Present::look(host, &draft);
    if present.is_done(&draft, wish) && !wish.force {
        return Ok(already(host, wish, &draft, present));
    }
    if let Some(script) = wish.pre_run.as_ref().filter(|_| !wish.dry_run) {
        hooks::run(script)?;
        progress.tell(&format!("ran {}", script.display()));
        // It may have written what we merge with.
        draft = Draft::make(host, wish, None)?;
        present = Present::look(host, &draft);
    }
    preflight::randomness(wish, progress)?;
    if let Some(api) = preflight::one_port(host, wish, &draft) {
        progress.tell(&format!(
            "{api} serves certificates too: no other port is used"
        ));
        draft = Draft::make(host, wish, Some(&api))?;
    }
    present.check_belonging(&draft, wish)?;
    present.check_strangers(host)?;
    let given = wish.token.as_ref().or(present.token.as_ref());
    let given = given.or(draft.token.as_ref()).map(Trust::Token);
    if let Some(trust) = given.or_else(|| present.identity.as_ref().map(Trust::Identity)) {
        preflight::time(host, &draft, &trust);
    }
    let token = token(host, wish, &draft, &present)?;
    let installation = Installation::plan(host, &wish.program)?;
    let mut notes = preflight::device(host, &draft, &installation)?;
    progress.tell("this device: folders and space are fine");
    let trust = trust(token, wish, &present).ok_or(JoinError::NoToken)?;
    let ask = || preflight::cloud(host, wish, &draft, &present, &trust);
    let (found, left) = wait::while_busy(wish.timeout, progress, ask)?;
    notes.extend(found);
    let at = &draft.clouds[0];
    let places = match (draft.clouds.len(), at.api == at.hub) {
        (1, false) => format!("{} and {} answer and are", at.api, at.hub),
        (1, true) => format!("{} answers and is", at.hub),
        (count, _) => format!("of {count} places at least one answers and is"),
    };
    progress.tell(&format!("the cloud: {places} who they should be"));
    for note in &notes {
        progress.tell(note);
    }
    let token = token.filter(|token| present.token.as_ref() != Some(*token));
    let mut joined = Joined {
        node: draft.device.node.to_string(),
        cloud: draft.device.hub.to_string(),
        already_connected: false,
        dry_run: wish.dry_run,
        changes: Vec::new(),
        notes,
        certificate: None,
        session: None,
        init: launch::service(host, wish.init).kind(),
        starts_at_boot: false,
        not_at_boot: None,
        seconds: 0.0,
        now: host.clock.now(),
        program: install::called(host, &wish.program),
    };
    if wish.dry_run {
        joined.changes = plan(&draft, &installation, &present, token, joined.init);
        joined.starts_at_boot = joined.init != "none";
        joined.seconds = progress.seconds();
        return Ok(joined);
    }
    let mut tell = |changes: Vec<String>| {
        for change in &changes {
            progress.tell(change);
        }
        joined.changes.extend(changes);
    };
    tell(installation.carry_out(host, wish.force)?);
    tell(configure(host, &draft, &present.bootstrap, token)?);
    if token.is_some() {
        // A person's word counts for more than an image's.
        match first_boot_request::erase(host) {
            Ok(true) => tell(vec![ERASED.to_owned()]),
            Ok(false) => {}
            Err(error) => progress.tell(&error.to_string()),
        }
    }
    let renew = installation.replaces() || draft.is_change() || draft.is_new_way || token.is_some();
    let launched = launch(host, wish.init, &present, renew)?;
    tell(launched.done.clone());
    let status = wait::for_session(host, &launched, left, progress)?;
    joined.init = launched.service.kind();
    joined.starts_at_boot = launched.not_at_boot.is_none();
    joined.not_at_boot = launched.not_at_boot;
    joined.seconds = progress.seconds();
    joined.now = host.clock.now();
    Ok(joined.connected(status))
}

/// The token that edgecore needs, or may need; none when the one given has ended and the device
/// can do without.
fn token<'a>(
    host: &Host,
    wish: &'a Wish,
    draft: &'a Draft,
    present: &'a Present,
) -> Result<Option<&'a JoinToken>, JoinError> {
    let now = host.clock.now();
    let waiting = present.token.as_ref().or(draft.token.as_ref());
    let token = wish.token.as_ref().or(waiting);
    let pinned = token.map(JoinToken::ca_hash);
    let identity = present.identity.as_ref();
    let can_do_without = identity.is_some_and(|it| it.serves(&draft.device, pinned, now));
    let Some(token) = token else {
        return match can_do_without {
            true => Ok(None),
            false => Err(JoinError::NoToken),
        };
    };
    let node = &draft.device.node;
    let fault = match (token.expires(), token.nodes()) {
        (Some(at), _) if at <= now => JoinError::Expired { at, now },
        (_, Some(pattern)) if !pattern.matches(node) => JoinError::Bound {
            pattern,
            node: node.clone(),
        },
        _ => return Ok(Some(token)),
    };
    match can_do_without {
        true => Ok(None),
        false => Err(fault),
    }
}

/// An ended token still tells which CA is the right one.
fn trust<'a>(
    token: Option<&'a JoinToken>,
    wish: &'a Wish,
    present: &'a Present,
) -> Option<Trust<'a>> {
    let token = token.or(wish.token.as_ref()).map(Trust::Token);
    token.or_else(|| present.identity.as_ref().map(Trust::Identity))
}

fn already(host: &Host, wish: &Wish, draft: &Draft, present: Present) -> Joined {
    let service = launch::service(host, wish.init);
    let mut notes = Vec::new();
    if draft.is_change() {
        notes.push(format!(
            "{} is not as these flags would make it, and stays as it is: `kubeedge config-update \
             --set KEY=VALUE` changes values of it, or give join --force",
            draft.path.display()
        ));
    }
    let joined = Joined {
        node: draft.device.node.to_string(),
        cloud: draft.device.hub.to_string(),
        already_connected: true,
        dry_run: wish.dry_run,
        changes: Vec::new(),
        notes,
        certificate: None,
        session: None,
        init: service.kind(),
        starts_at_boot: service.starts_at_boot().unwrap_or(false),
        not_at_boot: None,
        seconds: 0.0,
        now: host.clock.now(),
        program: install::called(host, &wish.program),
    };
    match present.edgecore {
        Some(status) => joined.connected(status),
        None => joined,
    }
}

/// Folders, edgecore.yaml and the token, in this order: the token is of use only with the rest.
fn configure(
    host: &Host,
    draft: &Draft,
    bootstrap: &Path,
    token: Option<&JoinToken>,
) -> Result<Vec<String>, JoinError> {
    let mut done = Vec::new();
    let settings = host.root.at("/etc/kubeedge/config");
    for folder in iter::once(settings).chain(preflight::of_var(&host.root)) {
        host.files.make_dir(&folder, 0o755)?;
    }
    // What an earlier attempt left half written may be a token.
    for path in [&draft.path, bootstrap] {
        if let Some(folder) = path.parent() {
            host.files.sweep(folder)?;
        }
    }
    if let Some(path) = draft.write_credentials(host)? {
        done.push(format!("changed {}", path.display()));
    }
    if draft.is_change() {
        draft.write(host)?;
        done.push(format!("wrote {}", draft.path.display()));
    }
    if let Some(token) = token {
        let secret = token.secret_string();
        host.files.replace(bootstrap, secret.as_bytes(), 0o600)?;
        done.push(format!("wrote {}", bootstrap.display()));
    }
    Ok(done)
}

fn plan(
    draft: &Draft,
    installation: &Installation,
    present: &Present,
    token: Option<&JoinToken>,
    init: &str,
) -> Vec<String> {
    let mut plan = Vec::new();
    if let Some(folder) = installation.folder_to_write() {
        plan.push(format!(
            "installed this file and its links in {}",
            folder.display()
        ));
    }
    if draft.is_change() {
        let done = if draft.is_new() { "written" } else { "changed" };
        plan.push(format!("{done} {}", draft.path.display()));
    }
    if token.is_some() {
        plan.push(format!(
            "put the token into {}",
            present.bootstrap.display()
        ));
    }
    plan.push(match init {
        "none" => "started edgecore in the background".to_owned(),
        init => format!("installed, enabled and started edgecore by {init}"),
    });
    plan
}

static SPEC: Spec = Spec {
    name: "kubeedge join",
    about: "Makes this device a node of a cloud: checks device and cloud, installs this file, \
            writes the configuration, starts edgecore as a service, and waits until the session \
            with the hub is up. May be repeated at any time: what is there is kept and completed.",
    examples: &[
        "kubeedge join -e 192.0.2.1:10000 --token-file token",
        "ssh cloud kubeedge gettoken | kubeedge join -e cloud.example:10000 --token -",
    ],
    spellings: &[("certPath", "cert-path")],
    ignored: &[IGNORED],
};

const IGNORED: &[Ignored] = &[
    ignored("image-repository", None, true, NO_IMAGE),
    ignored("kubeedge-version", None, true, OWN_VERSION),
    ignored(
        "runtimetype",
        Some('r'),
        true,
        "no container runtime is needed to join",
    ),
    ignored("tarballpath", None, true, OWN_VERSION),
    ignored("with-mqtt", None, false, "no MQTT broker is installed"),
];

const fn ignored(
    long: &'static str,
    short: Option<char>,
    value: bool,
    why: &'static str,
) -> Ignored {
    Ignored {
        long,
        short,
        value,
        why,
    }
}

pub const ERASED: &str = "erased what this device was asked at its first boot";
const NO_IMAGE: &str = "no image is pulled, this very file is installed";
const OWN_VERSION: &str = "this very file is installed, in its own version";
const CERT_PATH: &str = "/etc/kubeedge/certs";
const CERT_PATH_IGNORED: &str = "--certPath has no effect, as in KubeEdge: use --set with \
    modules.edgeHub.tlsCertFile and modules.edgeHub.tlsPrivateKeyFile";
