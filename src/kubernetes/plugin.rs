//! Credential plugins: programs that hand out a token or a certificate, run with a bound on what they
//! say and on how long they take.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroize;

use super::access::{Access, Material, Pair, Program};
use crate::system::cause;
use crate::system::clock::Timestamp;
use crate::system::secret::Secret;

/// What a plugin has handed out.
#[derive(Debug)]
pub struct Credential {
    pub token: Option<Secret<String>>,
    pub certificate: Option<Pair>,
    /// When a new one has to be had; none: when this one is refused.
    pub expires: Option<Timestamp>,
}

/// Runs the plugin and reads what it says. Blocks, for `patience` at most. What it writes to stderr
/// people see.
pub fn ask(
    program: &Program,
    access: &Access,
    patience: Duration,
) -> Result<Credential, PluginError> {
    let until = Instant::now() + patience;
    let name = program.command.display().to_string();
    let mut command = Command::new(&program.command);
    command
        .args(&program.arguments)
        .env(INFO, info(program, access).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // So that what it starts can be ended with it.
        .process_group(0);
    for (key, value) in &program.environment {
        command.env(key, value.as_str());
    }
    let started = command.spawn();
    let mut child = started.map_err(|source| PluginError::Start {
        name: name.clone(),
        source,
        hint: program.install_hint.clone(),
    })?;
    let said = child.stdout.take().map_or_else(
        || Err(End::Cut(io::ErrorKind::BrokenPipe.into())),
        |stdout| listen(stdout, until),
    );
    let ended = said.and_then(|said| wait(&mut child, until).map(|status| (said, status)));
    if ended.is_err() {
        if let Ok(group) = i32::try_from(child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = child.kill();
        // It is dead; only its number is left to be taken back.
        let _ = child.wait();
    }
    let (said, status) = ended.map_err(|end| match end {
        End::Late => PluginError::Late {
            name: name.clone(),
            patience,
        },
        End::Long => PluginError::Long { name: name.clone() },
        End::Cut(source) => PluginError::Start {
            name: name.clone(),
            source,
            hint: String::new(),
        },
    })?;
    if !status.success() {
        return Err(PluginError::Failed {
            name,
            status: status.to_string(),
        });
    }
    read(&said, program.api_version).map_err(|what| PluginError::Strange { name, what })
}

/// What a plugin has printed, as a credential.
pub fn read(said: &[u8], api_version: &str) -> Result<Credential, &'static str> {
    let said: Said = serde_json::from_slice(said).map_err(|_| "no ExecCredential in JSON")?;
    if said.kind != "ExecCredential" || said.api_version != api_version {
        return Err("no ExecCredential of the version that the kubeconfig names");
    }
    let status = said.status.ok_or("no status in it")?;
    let token = status.token.filter(|token| !token.is_empty());
    let given = |text: Option<String>| text.filter(|it| !it.is_empty()).map(String::into_bytes);
    let certificate = match (
        given(status.client_certificate_data),
        given(status.client_key_data),
    ) {
        (Some(certificate), Some(key)) => Some((Secret::new(certificate), Secret::new(key))),
        (None, None) => None,
        _ => return Err("a certificate without its key, or a key without its certificate"),
    };
    if token.is_none() && certificate.is_none() {
        return Err("neither a token nor a certificate in it");
    }
    let expires = status.expiration_timestamp.map(|time| time.parse());
    let expires = expires.transpose();
    Ok(Credential {
        token: token.map(Secret::new),
        certificate,
        expires: expires.map_err(|_| "an expirationTimestamp that is no time")?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    kind: String,
    api_version: String,
    status: Option<Handed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handed {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// What it gets to know: that nobody answers questions, and the cluster if it wants to.
fn info(program: &Program, access: &Access) -> Value {
    let mut spec = Map::new();
    spec.insert("interactive".into(), Value::Bool(false));
    if program.tell_cluster {
        let mut cluster = Map::new();
        cluster.insert("server".into(), access.server.to_string().into());
        if let Some(name) = &access.tls_server_name {
            cluster.insert("tls-server-name".into(), name.to_string().into());
        }
        if let Some(Material::Inline(ca)) = &access.authorities {
            let ca = STANDARD.encode(ca.as_slice());
            cluster.insert("certificate-authority-data".into(), ca.into());
        }
        if let Some(proxy) = &access.proxy {
            cluster.insert("proxy-url".into(), proxy.url().into());
        }
        if let Some(config) = &program.cluster_config {
            cluster.insert("config".into(), config.clone());
        }
        spec.insert("cluster".into(), cluster.into());
    }
    json!({"apiVersion": program.api_version, "kind": "ExecCredential", "spec": spec})
}

enum End {
    Cut(io::Error),
    Late,
    Long,
}

fn listen(mut stdout: ChildStdout, until: Instant) -> Result<Secret<Vec<u8>>, End> {
    // Of its whole size at once: see `Secret`.
    let mut said = Vec::with_capacity(MAX_SAID);
    let mut chunk = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(End::Late);
        }
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, left) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(End::Cut(error.into())),
        }
        let length = match stdout.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) if said.len() + length > MAX_SAID => {
                said.zeroize();
                return Err(End::Long);
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(End::Cut(error)),
        };
        said.extend_from_slice(&chunk[..length]);
        chunk.zeroize();
    }
    Ok(Secret::new(said))
}

fn wait(child: &mut Child, until: Instant) -> Result<std::process::ExitStatus, End> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < until => sleep(POLL),
            Ok(None) => return Err(End::Late),
            Err(error) => return Err(End::Cut(error)),
        }
    }
}

/// Why a plugin has handed out nothing. Nothing of what it said is shown.
#[derive(Debug)]
pub enum PluginError {
    Failed {
        name: String,
        status: String,
    },
    Late {
        name: String,
        patience: Duration,
    },
    Long {
        name: String,
    },
    Start {
        name: String,
        source: io::Error,
        hint: String,
    },
    Strange {
        name: String,
        what: &'static str,
    },
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PluginError::Failed { name, status } => write!(
                f,
                "the credential plugin {name} failed ({status}): see what it printed, and log in with \
                 it again"
            ),
            PluginError::Late { name, patience } => write!(
                f,
                "the credential plugin {name} gave nothing within {} s: run it by hand to see why",
                patience.as_secs()
            ),
            PluginError::Long { name } => write!(
                f,
                "the credential plugin {name} prints more than {MAX_SAID} bytes: correct it"
            ),
            PluginError::Start { name, source, hint } => {
                let cause = cause::of(source);
                write!(f, "the credential plugin {name} can't be run: {cause}: ")?;
                match hint.lines().map(str::trim).find(|line| !line.is_empty()) {
                    Some(hint) => {
                        let hint: String = hint.chars().take(MAX_HINT).collect();
                        f.write_str(&hint)
                    }
                    None => f.write_str("install it, or correct `exec` in the kubeconfig"),
                }
            }
            PluginError::Strange { name, what } => write!(
                f,
                "the credential plugin {name} prints {what}: update it, or correct `exec` in the \
                 kubeconfig"
            ),
        }
    }
}

impl std::error::Error for PluginError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PluginError::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// How a plugin learns what it is for.
const INFO: &str = "KUBERNETES_EXEC_INFO";
const MAX_SAID: usize = 128 * 1024;
/// Characters of what a kubeconfig says about how to get it.
const MAX_HINT: usize = 300;
/// Between two looks whether it has ended, once it has nothing more to say.
const POLL: Duration = Duration::from_millis(10);
