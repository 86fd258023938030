//! `gettoken`: mints a join token, by the running cloudcore or, when none runs, from its files.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::out::{self, Format, Report};
use super::{Command, Group};
use crate::authority::tokens::TokenKey;
use crate::config::duration;
use crate::pki::certificate::Certificate;
use crate::protocol::control::{self, CLOUD_SOCKET, ControlError, Reply, Request};
use crate::protocol::token::{JoinToken, TokenError};
use crate::store::file::{FileStore, Options};
use crate::store::{Store, StoreError};
use crate::system::args::{self, Spec};
use crate::system::clock::Timestamp;
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "gettoken",
    group: Group::Cloud,
    summary: "print a fresh token with which devices join",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what token to make
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// how long the token lets devices join, such as 24h or 1h30m; default: 24h
    #[argh(option, arg_name = "duration", default = "String::from(\"24h\")")]
    ttl: String,
    /// text (the token alone) or json (token and expires)
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
    /// for clusters: not supported yet
    #[argh(option, arg_name = "file")]
    kube_config: Option<String>,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let outcome = match flags.kube_config {
        Some(_) => Err(MintError::Kubernetes),
        None => lifetime(&flags.ttl).and_then(|ttl| mint(host, ttl)),
    };
    match outcome {
        Ok(minted) => hand_out(&minted, flags.output),
        Err(error) => out::fail(
            SPEC.name,
            &error,
            given.verbosity,
            flags.output,
            error.code(),
        ),
    }
}

/// A token that was good when it was made.
#[derive(Debug, Serialize)]
pub struct Minted {
    #[serde(serialize_with = "reveal")]
    pub token: JoinToken,
    pub expires: Timestamp,
}

/// Makes a token. Never makes a CA: there has to be one.
pub fn mint(host: &Host, ttl: Duration) -> Result<Minted, MintError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask_cloudcore(host, ttl) {
            Err(MintError::Control(ControlError::NotRunning)) => {}
            outcome => return outcome,
        }
        match mint_from_files(host, ttl) {
            // A cloudcore that is about to start or to end has the lock and no socket.
            Err(MintError::Store(StoreError::Locked { .. })) if Instant::now() < end => {
                sleep(RETRY);
            }
            outcome => return outcome,
        }
    }
}

fn ask_cloudcore(host: &Host, ttl: Duration) -> Result<Minted, MintError> {
    let mut request = Request::new("gettoken");
    request.ttl = Some(ttl.as_secs());
    let reply: Reply = control::call(&host.root.at(CLOUD_SOCKET), &request, PATIENCE)?;
    match (reply.token, reply.error) {
        (Some(token), None) => judge(&token, host.clock.now()),
        (_, why) => Err(MintError::Refused(
            why.unwrap_or_else(|| "no reason given".to_owned()),
        )),
    }
}

fn mint_from_files(host: &Host, ttl: Duration) -> Result<Minted, MintError> {
    // Opening the store would make its folders, on a machine that may have no cloud at all.
    if !FileStore::has_ca(&host.files, &host.root)? {
        return Err(MintError::NoCa);
    }
    let store = FileStore::open(&host.files, &host.root, Options::default())?;
    let pair = smol::block_on(store.load_ca())?.ok_or(MintError::NoCa)?;
    let now = host.clock.now();
    check_ca(pair.certificate(), now, ttl)?;
    let token = TokenKey::new(pair.certificate(), pair.key()).mint(now.plus(ttl));
    judge(&token, now)
}

/// No device can use a token once the CA has ended.
fn check_ca(ca: &Certificate, now: Timestamp, ttl: Duration) -> Result<(), MintError> {
    match ca.not_after() {
        end if end <= now => Err(MintError::CaEnded(end)),
        end if end <= now.plus(ttl) => Err(MintError::CaEnds(end)),
        _ => Ok(()),
    }
}

/// Whoever made it: what is handed out is whole and has not expired.
fn judge(token: &str, now: Timestamp) -> Result<Minted, MintError> {
    let token: JoinToken = token.parse().map_err(MintError::Malformed)?;
    match token.expires() {
        Some(expires) if expires > now => Ok(Minted { token, expires }),
        expires => Err(MintError::Expired(expires)),
    }
}

fn lifetime(text: &str) -> Result<Duration, MintError> {
    let ttl = duration::parse(text).map_err(|error| MintError::Ttl(error.to_string()))?;
    if ttl < Duration::from_secs(1) {
        return Err(MintError::Ttl(
            "a token lives for a second at least".to_owned(),
        ));
    }
    if ttl > LONGEST {
        return Err(MintError::Ttl(
            "a token lives for ten years at most".to_owned(),
        ));
    }
    Ok(ttl)
}

/// Prints the token on stdout and nothing else there, so that scripts can take it as it comes.
fn hand_out(minted: &Minted, format: Format) -> u8 {
    let text = match format {
        Format::Text => minted.text(),
        Format::Json => out::json(minted),
    };
    if !console::out(&text) {
        console::complain(SPEC.name, "nobody read the token: nothing was printed");
        return exit::FAILURE;
    }
    console::error(&format!("The token is good until {}.", minted.expires));
    exit::OK
}

impl Report for Minted {
    fn text(&self) -> String {
        format!("{}\n", self.token.secret_string())
    }
}

fn reveal<S: serde::Serializer>(token: &JoinToken, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&token.secret_string())
}

/// Why there is no token.
#[derive(Debug)]
pub enum MintError {
    CaEnded(Timestamp),
    /// Before the token would.
    CaEnds(Timestamp),
    Control(ControlError),
    /// What was made is good for nothing any more.
    Expired(Option<Timestamp>),
    Kubernetes,
    Malformed(TokenError),
    NoCa,
    /// What cloudcore said.
    Refused(String),
    Store(StoreError),
    /// What is wrong with the lifetime.
    Ttl(String),
}

impl MintError {
    /// The exit code that says it best.
    pub fn code(&self) -> u8 {
        match self {
            MintError::Control(ControlError::Denied(_)) => exit::DENIED,
            MintError::Control(_) | MintError::NoCa => exit::UNAVAILABLE,
            MintError::Kubernetes => exit::CONFIG,
            MintError::Store(error) => match error {
                StoreError::Io(error) if error.is_denied() => exit::DENIED,
                StoreError::Busy | StoreError::Locked { .. } => exit::TRY_AGAIN,
                _ => exit::FAILURE,
            },
            MintError::Ttl(_) => exit::USAGE,
            _ => exit::FAILURE,
        }
    }
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MintError::CaEnded(end) => {
                write!(
                    f,
                    "the CA ended at {end}, no device can join it: give the cloud another"
                )
            }
            MintError::CaEnds(end) => {
                write!(
                    f,
                    "the CA ends at {end}, before this token would: use a shorter --ttl"
                )
            }
            MintError::Control(ControlError::Io(_) | ControlError::Unreadable(_)) => f.write_str(
                "cloudcore runs but gives no answer on its socket: look into its log, restart it",
            ),
            MintError::Control(error) => error.fmt(f),
            MintError::Expired(Some(end)) => write!(
                f,
                "the token that was made expired at {end} already: see that the clocks are right"
            ),
            MintError::Expired(None) => {
                f.write_str("the token that was made has no end: is cloudcore of another version?")
            }
            MintError::Kubernetes => f.write_str(
                "--kube-config comes with the support for Kubernetes, which is not there yet: \
                 leave it out to get a token from the cloudcore of this machine",
            ),
            MintError::Malformed(fault) => {
                write!(
                    f,
                    "cloudcore made a token that is none ({fault}): restart cloudcore"
                )
            }
            MintError::NoCa => f.write_str(
                "this machine has no CA to make tokens with: start cloudcore first, it makes one",
            ),
            MintError::Refused(why) => write!(f, "cloudcore made no token: {why}"),
            MintError::Store(error) => error.fmt(f),
            MintError::Ttl(why) => write!(f, "--ttl: {why}"),
        }
    }
}

impl std::error::Error for MintError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MintError::Control(error) => Some(error),
            MintError::Malformed(error) => Some(error),
            MintError::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ControlError> for MintError {
    fn from(error: ControlError) -> MintError {
        MintError::Control(error)
    }
}

impl From<StoreError> for MintError {
    fn from(error: StoreError) -> MintError {
        MintError::Store(error)
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge gettoken",
    about: "Prints a fresh token with which devices can join this cloud. It is a secret: whoever \
            has it can join until it ends. Asks the cloudcore of this machine; when none runs, \
            uses its files. Only the token goes to stdout, its end to stderr.",
    examples: &[
        "kubeedge gettoken --ttl 1h > token",
        "kubeedge gettoken -o json",
    ],
    spellings: &[],
    ignored: &[],
};

/// How long to wait for cloudcore's answer, or for a cloudcore that starts or stops.
const PATIENCE: Duration = Duration::from_secs(5);
/// As cloudcore has it.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
const RETRY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::pki::issue::new_ca;
    use crate::store::KeyPair;
    use crate::system::clock::Clock;
    use crate::system::files::Files;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    const HOUR: Duration = Duration::from_secs(3600);

    fn host(folder: &Scratch) -> Host {
        Host::real(Root::new(Some(folder.path().to_path_buf())))
    }

    fn with_ca(host: &Host, made: Timestamp) -> Certificate {
        let store = FileStore::open(
            &host.files,
            &host.root,
            Options {
                allow_volatile: true,
            },
        );
        let (certificate, key) = new_ca(made).unwrap();
        let pair = KeyPair::new(certificate, key).unwrap();
        let stored = smol::block_on(store.unwrap().create_ca(&pair)).unwrap();
        stored.certificate().clone()
    }

    /// A cloudcore that gives one answer; none when `line` is empty.
    fn cloudcore(host: &Host, line: String) -> std::thread::JoinHandle<String> {
        let socket = host.root.at(CLOUD_SOCKET);
        host.files
            .make_dir(socket.parent().unwrap(), 0o755)
            .unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut asked)
                .unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            asked
        })
    }

    #[test]
    fn without_a_ca_nothing_is_made() {
        let folder = Scratch::new();
        let error = mint(&host(&folder), HOUR).unwrap_err();
        assert!(
            error.to_string().contains("start cloudcore first"),
            "{error}"
        );
        assert_eq!(error.code(), exit::UNAVAILABLE);
        assert_eq!(Files::real().list(folder.path(), 10).unwrap(), [""; 0]);
    }

    #[test]
    fn a_stopped_clouds_files_are_enough() {
        let folder = Scratch::new();
        let host = host(&folder);
        let ca = with_ca(&host, host.clock.now());
        let minted = mint(&host, HOUR).unwrap();
        assert_eq!(*minted.token.ca_hash(), ca.hash());
        let left = minted.expires.since(host.clock.now());
        assert!(left <= HOUR && left > HOUR - Duration::from_secs(60));
        assert_eq!(minted.text(), minted.token.secret_string() + "\n");
        let json: serde_json::Value = serde_json::from_str(&out::json(&minted)).unwrap();
        assert_eq!(json["token"], minted.token.secret_string());
        assert_eq!(json["expires"], minted.expires.to_string());
    }

    #[test]
    fn a_ca_that_has_ended_makes_no_tokens() {
        let folder = Scratch::new();
        let mut host = host(&folder);
        let ca = with_ca(&host, host.clock.now());
        host.clock = Clock::manual(ca.not_after()).0;
        assert!(matches!(mint(&host, HOUR), Err(MintError::CaEnded(_))));
        host.clock = Clock::manual(ca.not_after().minus(HOUR)).0;
        assert!(matches!(mint(&host, HOUR), Err(MintError::CaEnds(_))));
        assert!(mint(&host, HOUR / 2).is_ok());
    }

    #[test]
    fn a_running_cloudcore_is_asked() {
        let folder = Scratch::new();
        let host = host(&folder);
        let (ca, key) = new_ca(host.clock.now()).unwrap();
        let token = TokenKey::new(&ca, &key).mint(host.clock.now().plus(HOUR));
        let cloud = cloudcore(&host, format!("{{\"v\":1,\"token\":\"{token}\"}}\n"));
        let minted = mint(&host, HOUR).unwrap();
        assert_eq!(minted.token.secret_string(), token);
        let asked: Request = serde_json::from_str(&cloud.join().unwrap()).unwrap();
        assert_eq!((asked.op.as_str(), asked.ttl), ("gettoken", Some(3600)));
    }

    #[test]
    fn bad_answers_of_cloudcore_are_no_tokens() {
        let now = Clock::system().now();
        let (ca, key) = new_ca(now).unwrap();
        let expired = TokenKey::new(&ca, &key).mint(now.minus(HOUR));
        for (answer, code, part) in [
            (String::new(), exit::UNAVAILABLE, "gives no answer"),
            (
                "{\"v\":1,\"error\":\"busy\"}\n".to_owned(),
                exit::FAILURE,
                "busy",
            ),
            (
                "{\"v\":1,\"token\":\"a.b\"}\n".to_owned(),
                exit::FAILURE,
                "2 parts",
            ),
            (
                format!("{{\"v\":1,\"token\":\"{expired}\"}}\n"),
                exit::FAILURE,
                "expired at",
            ),
            ("rubbish\n".to_owned(), exit::UNAVAILABLE, "gives no answer"),
        ] {
            let folder = Scratch::new();
            let host = host(&folder);
            let cloud = cloudcore(&host, answer);
            let error = mint(&host, HOUR).map(drop).unwrap_err();
            cloud.join().unwrap();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn lifetimes() {
        assert_eq!(lifetime("24h").unwrap(), 24 * HOUR);
        assert_eq!(lifetime("1h30m").unwrap(), HOUR * 3 / 2);
        for wrong in ["", "0", "-1h", "1d", "500ms", "soon", "99999h"] {
            let error = lifetime(wrong).unwrap_err();
            assert_eq!(error.code(), exit::USAGE, "{wrong}");
        }
    }
}
