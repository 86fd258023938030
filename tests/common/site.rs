//! A device that is joined and reset as people do it: a root folder, and keadm's commands on it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use kubeedge::protocol::control::{
    CLOUD_SOCKET, Client, CloudOp, EDGE_STATUS_SOCKET, EdgeOp, EdgeState, EdgeStatus, HubSession,
    NodeRow, Request, call,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::device::CLOCK;
use super::{Folder, KUBEEDGE, LIMIT, files_below};

pub const EXECUTABLE: &str = "/usr/local/bin/kubeedge";

/// Its edgecore ends with it.
pub struct Site(Folder);

/// What a command came to.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Site {
    pub fn new() -> Site {
        Site(Folder::new())
    }

    /// On a disk, wherever temporary files are.
    pub fn lasting() -> Site {
        Site(Folder::below(Path::new("/var/tmp")))
    }

    /// The real path of a path on the device.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    pub fn read(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// A file made by the operator.
    pub fn write(&self, path: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.path(path);
        super::put(&path, content, mode);
        path
    }

    /// Everything that outlives the processes, with its content.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = files_below(self.0.path());
        let volatile = [self.path("/run"), self.path("/var/log")];
        files.retain(|(path, _)| !volatile.iter().any(|folder| path.starts_with(folder)));
        files
    }

    /// The same without what the cloud tells the device, which may come at any moment.
    pub fn own_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = self.files();
        let told = self.path("/var/lib/kubeedge/edgecore");
        files.retain(|(path, _)| !path.starts_with(&told));
        files
    }

    /// Joins with a hub and a certificate API on a port of its host.
    pub fn join(&self, hub: &str, https: u16, token_file: &str, node: &str, more: &[&str]) -> Said {
        let api = https.to_string();
        let words = [
            "join",
            "-e",
            hub,
            "-s",
            &api,
            "--token-file",
            token_file,
            "-i",
            node,
        ];
        self.run(&[&words, more].concat())
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(KUBEEDGE);
        command
            .args(words)
            .env("KUBEEDGE_ROOT", self.0.path())
            .env("KUBEEDGE_TEST_CLOCK", self.path(CLOCK))
            .env_remove("NOTIFY_SOCKET")
            .env_remove("SYSTEMCTL")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output())
    }

    /// With this on its standard input.
    pub fn run_with_input(&self, words: &[&str], input: &str) -> Said {
        feed(self.command(words), input)
    }

    pub fn status(&self) -> Option<EdgeStatus> {
        let socket = self.path(EDGE_STATUS_SOCKET);
        call(&socket, &Request::new(EdgeOp::Status), LIMIT).ok()
    }

    /// The process of a connected edgecore.
    pub fn connected(&self) -> EdgeStatus {
        let status = self.status().expect("edgecore answers");
        assert_eq!(status.state, EdgeState::Connected, "{status:?}");
        status
    }

    /// Starts a command, waits until it has told this many lines, and kills it.
    pub fn kill_after(&self, lines: usize, words: &[&str]) -> Vec<String> {
        let mut command = self.command(words);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the executable starts");
        let told = BufReader::new(child.stderr.take().expect("it was piped"));
        let told = told.lines().map_while(Result::ok).take(lines).collect();
        let _ = child.kill();
        let _ = child.wait();
        told
    }

    /// The process that runs as its edgecore.
    pub fn edgecore(&self) -> Option<Pid> {
        let note = fs::read_to_string(self.path("/run/kubeedge/edgecore.lock")).ok()?;
        let pid: i32 = note.trim().parse().ok()?;
        // The number may be another's by now.
        let file = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let ours = file.starts_with(self.0.path()) || file == Path::new(KUBEEDGE);
        ours.then_some(Pid::from_raw(pid))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.path("/var/log/kubeedge/edgecore.log");
            eprintln!("edgecore:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        if let Some(pid) = self.edgecore() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// Runs a command with this on its standard input.
fn feed(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped());
    let pipes = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = pipes.expect("the executable starts");
    // A command that does not read its input is no fault here.
    let _ = child
        .stdin
        .take()
        .expect("it was piped")
        .write_all(input.as_bytes());
    Said::of(child.wait_with_output())
}

impl Said {
    pub fn of(output: std::io::Result<Output>) -> Said {
        let output = output.expect("the executable starts");
        Said {
            code: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Said {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    /// The one object on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }

    /// The sentence of the command that failed: the only line that begins with its name.
    #[track_caller]
    pub fn fault(&self, command: &str) -> String {
        let prefix = format!("{command}: ");
        let mut faults = self
            .err
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix));
        let fault = faults
            .next()
            .unwrap_or_else(|| panic!("no fault: {}", self.err));
        assert_eq!(faults.next(), None, "more than one sentence: {}", self.err);
        fault.to_owned()
    }
}

/// Our own cloudcore, with files of its own; ended when dropped.
pub struct Cloudcore {
    folder: Folder,
    child: Child,
    pub https: u16,
    pub hub: u16,
    /// With `--single-port 0`.
    pub single: Option<u16>,
    /// With a configuration that turns it on.
    pub quic: Option<u16>,
}

impl Cloudcore {
    pub fn start(options: &[&str]) -> Cloudcore {
        Cloudcore::start_on(Folder::new(), options)
    }

    /// With this as its configuration.
    pub fn start_with(config: &str, options: &[&str]) -> Cloudcore {
        Cloudcore::start_on(configured(config), options)
    }

    /// Another place of the same cloud: it has the same CA, knows its tokens so far, and has nothing else in common.
    pub fn start_beside(other: &Cloudcore, options: &[&str]) -> Cloudcore {
        let folder = Folder::new();
        for (place, prefix) in [
            ("etc/kubeedge/cloudcore", "ca"),
            ("var/lib/kubeedge/cloudcore/tokens", ""),
        ] {
            for (path, content) in files_below(&other.folder.path().join(place)) {
                let name = path.file_name().expect("a name").to_string_lossy();
                if name.starts_with(prefix) {
                    super::put(&folder.path().join(place).join(&*name), content, 0o600);
                }
            }
        }
        Cloudcore::start_on(folder, options)
    }

    /// In another network, where these words start a command, at that address of it.
    pub fn start_within(within: &[&str], address: &str, config: &str) -> Cloudcore {
        let folder = configured(config);
        let mut command = Command::new(within[0]);
        command.args(&within[1..]).arg(KUBEEDGE);
        let served = launch(command, &folder, (address, 0, 0), &[]);
        Cloudcore::serving(folder, served)
    }

    fn start_on(folder: Folder, options: &[&str]) -> Cloudcore {
        let native = Command::new(KUBEEDGE);
        let served = launch(native, &folder, (LOOPBACK, 0, 0), options);
        Cloudcore::serving(folder, served)
    }

    fn serving(folder: Folder, (child, https, hub): (Child, u16, u16)) -> Cloudcore {
        let ports = fs::read(folder.path().join("ports")).expect("the ports are told");
        let ports: Value = serde_json::from_slice(&ports).expect("JSON");
        let optional = |key: &str| ports[key].as_u64().map(|port| port as u16);
        Cloudcore {
            folder,
            child,
            https,
            hub,
            single: optional("single"),
            quic: optional("quic"),
        }
    }

    /// The sessions, as an operator sees them.
    pub fn sessions(&self) -> Vec<HubSession> {
        self.lines(CloudOp::Sessions)
    }

    /// The nodes, as an operator sees them.
    pub fn nodes(&self) -> Vec<NodeRow> {
        self.lines(CloudOp::Nodes)
    }

    fn lines<T: DeserializeOwned>(&self, what: CloudOp) -> Vec<T> {
        let socket = self.path(CLOUD_SOCKET);
        let asked = Client::ask(&socket, &Request::new(what), LIMIT);
        let mut lines = asked.expect("cloudcore answers");
        std::iter::from_fn(|| lines.line().expect("a line")).collect()
    }

    /// By another command than the executable itself, which is given the words.
    pub fn start_as(command: impl FnOnce(&[&str]) -> Command) -> Cloudcore {
        let folder = Folder::new();
        let told = folder.path().join("ports");
        let words = words((LOOPBACK, 0, 0), told.to_str().expect("UTF-8"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (child, https, hub) = serve(command(&words), &folder);
        Cloudcore {
            folder,
            child,
            https,
            hub,
            single: None,
            quic: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The metric with this name and label.
    pub fn metric(&self, name: &str) -> u64 {
        let ports = fs::read(self.path("ports")).expect("the ports are told");
        let ports: Value = serde_json::from_slice(&ports).expect("JSON");
        let port = ports["metrics"].as_u64().expect("a port") as u16;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("metrics");
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it is asked");
        let page = std::io::read_to_string(stream).expect("a page");
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(name));
        let value = lines.find_map(|rest| rest.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {name} in {page}"));
        value.parse().expect("a number")
    }

    /// Sets the cloud's clock, off by so many seconds.
    pub fn set_clock(&self, off: i64) {
        super::put(&self.path(CLOCK), off.to_string(), 0o644);
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        let _ = kill(pid, Signal::SIGTERM);
        self.child.wait().expect("cloudcore ends");
    }

    /// Cuts it off in the middle of whatever it does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// On the same files and ports, after `stop` or `kill`.
    pub fn start_again(&mut self, options: &[&str]) {
        let (child, _, _) = launch(
            Command::new(KUBEEDGE),
            &self.folder,
            (LOOPBACK, self.https, self.hub),
            options,
        );
        self.child = child;
    }

    /// A command on this machine.
    pub fn run(&self, words: &[&str]) -> Said {
        let mut command = Command::new(KUBEEDGE);
        command
            .args(words)
            .env("KUBEEDGE_ROOT", self.folder.path())
            .stdin(Stdio::null());
        Said::of(command.output())
    }

    /// The same, with this on its standard input.
    pub fn run_with_input(&self, words: &[&str], input: &str) -> Said {
        let mut command = Command::new(KUBEEDGE);
        command.args(words).env("KUBEEDGE_ROOT", self.folder.path());
        feed(command, input)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// What it wrote so far, in every run.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn token(&self) -> String {
        self.run(&["gettoken"]).ends(0).out.trim().to_owned()
    }

    /// A file with a fresh token.
    pub fn token_file(&self) -> String {
        self.keep("token", &self.token())
    }

    /// A file with the token that a command prints.
    pub fn token_file_of(&self, words: &[&str]) -> String {
        self.keep("token", &self.run(words).ends(0).out)
    }

    /// A private file on the cloud's machine; gives its path.
    pub fn keep(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        super::put(&path, content.trim(), 0o600);
        path.display().to_string()
    }
}

/// What a cloudcore of a test is told.
/// An address, and its ports for certificates and for tunnels; 0 is any.
type Place<'a> = (&'a str, u16, u16);

const LOOPBACK: &str = "127.0.0.1";

/// A root with this as the configuration.
fn configured(config: &str) -> Folder {
    let folder = Folder::new();
    let path = folder.path().join("etc/kubeedge/config/cloudcore.yaml");
    super::put(&path, config, 0o644);
    folder
}

fn words((address, https, hub): Place, told: &str) -> Vec<String> {
    let (https, hub) = (https.to_string(), hub.to_string());
    let words = [
        "cloudcore",
        "--listen",
        address,
        "--allow-volatile-ca",
        "--https-port",
        &https,
        "--hub-port",
        &hub,
        "--metrics-port",
        "0",
        "--ports-file",
        told,
    ];
    words.map(str::to_owned).to_vec()
}

/// Starts a cloudcore and waits until it serves; 0 is any port.
fn launch(
    mut command: Command,
    folder: &Folder,
    place: Place,
    options: &[&str],
) -> (Child, u16, u16) {
    let told = folder.path().join("ports");
    let words = words(place, told.to_str().expect("UTF-8"));
    command.args(words).args(options);
    serve(command, folder)
}

/// Starts it, and returns when it serves.
fn serve(mut command: Command, folder: &Folder) -> (Child, u16, u16) {
    let told = folder.path().join("ports");
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("log"));
    let mut log = log.expect("the log is made");
    command
        .env("KUBEEDGE_ROOT", folder.path())
        .env("KUBEEDGE_TEST_CLOCK", folder.path().join(&CLOCK[1..]))
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("cloudcore starts");
    let mut said = BufReader::new(child.stderr.take().expect("it was piped"));
    let mut line = String::new();
    while !line.contains("cloudcore serves") {
        line.clear();
        let length = said.read_line(&mut line).expect("its log can be read");
        let _ = log.write_all(line.as_bytes());
        assert!(length > 0, "cloudcore ended at once");
    }
    // Somebody has to read on.
    std::thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            let _ = writeln!(log, "{line}");
        }
    });
    let ports = fs::read(&told).expect("the ports are told once it serves");
    let ports: Value = serde_json::from_slice(&ports).expect("JSON");
    let port = |key: &str| ports[key].as_u64().expect("a port") as u16;
    (child, port("https"), port("hub"))
}

impl Drop for Cloudcore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time for what must not happen: long enough to show, short enough to wait for.
pub const SHORT: Duration = Duration::from_secs(2);

/// A systemctl that notes its calls in `/calls` and starts and stops as systemd does.
pub fn stub_systemctl(site: &Site) -> PathBuf {
    let script = r#"#!/bin/sh
shift 2
root=${0%/systemctl}
echo "$*" >> "$root/calls"
pid=$(cat "$root/main" 2>/dev/null)
case "$1" in
    show)
        state=inactive; [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && state=active
        load=not-found; [ -e "$root/etc/systemd/system/edgecore.service" ] && load=loaded
        file=disabled; [ -e "$root/enabled" ] && file=enabled
        printf 'LoadState=%s\nActiveState=%s\nMainPID=%s\nUnitFileState=%s\n' \
            $load $state "${pid:-0}" $file ;;
    enable) : > "$root/enabled" ;;
    disable) rm -f "$root/enabled" ;;
    start)
        KUBEEDGE_ROOT=$root "$root/usr/local/bin/edgecore" < /dev/null > /dev/null 2>&1 &
        echo $! > "$root/main" ;;
    stop)
        kill "$pid"
        while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
        rm -f "$root/main" ;;
esac
"#;
    site.write("/systemctl", script, 0o755)
}
