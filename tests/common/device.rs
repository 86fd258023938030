//! A device: a root folder with its configuration, and the executable that runs on it as edgecore.

use std::fs::{self, File};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kubeedge::protocol::control::{
    Client, EDGE_SOCKET, EDGE_STATUS_SOCKET, EdgeOp, EdgeState, EdgeStatus, Reply, Request, call,
};
use kubeedge::system::lifeline::{self, Anchor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cloud::Cloud;
use super::site::{Cloudcore, Said};
use super::{Folder, KUBEEDGE, LIMIT, put};

pub const CONFIG: &str = "/etc/kubeedge/config/edgecore.yaml";
pub const BOOTSTRAP: &str = "/etc/kubeedge/bootstrap-edgecore.conf";
pub const KEY: &str = "/etc/kubeedge/certs/server.key";
pub const CERTIFICATE: &str = "/etc/kubeedge/certs/server.crt";
pub const CA: &str = "/etc/kubeedge/ca/rootCA.crt";

/// By how many seconds the device's clock is wrong.
pub const CLOCK: &str = "/run/kubeedge/test-clock";

/// A root folder that outlives the processes on it.
pub struct Device {
    folder: Folder,
    /// edgecore ends when this process does, however it ends.
    anchor: Anchor,
    pub node: String,
    /// Lines below `modules.edgeHub`, such as `heartbeat: 1`.
    pub hub_keys: Vec<String>,
    /// Lines below `modules.metaManager`.
    pub meta_keys: Vec<String>,
    /// Lines below `modules.edgeHub.websocket`.
    pub websocket_keys: Vec<String>,
    /// Lines below `modules.edged`.
    pub edged_keys: Vec<String>,
    /// Lines below `modules`, such as `taskManager: {enable: true}`.
    pub module_keys: Vec<String>,
    /// For edgecore.
    pub environment: Vec<(&'static str, String)>,
    /// Shell commands in a mount namespace of edgecore's own, before it starts; `$1` is the root folder.
    pub mounts: Option<String>,
    /// What runs as edgecore, when that is another executable than the one under test.
    pub program: Option<PathBuf>,
}

impl Device {
    pub fn new(node: &str) -> Device {
        let folder = Folder::new();
        Device {
            anchor: Anchor::new(&folder.path().join("anchor")).expect("a socket"),
            folder,
            node: node.to_owned(),
            hub_keys: Vec::new(),
            meta_keys: Vec::new(),
            websocket_keys: Vec::new(),
            edged_keys: Vec::new(),
            module_keys: Vec::new(),
            environment: Vec::new(),
            mounts: None,
            program: None,
        }
    }

    /// The real path of a path on the device.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    pub fn read(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub fn write(&self, path: &str, content: &str, mode: u32) {
        put(&self.path(path), content, mode);
    }

    /// Writes edgecore.yaml for this cloud, as a person would, comments and all.
    pub fn configure(&self, cloud: &Cloud, token: &str) {
        self.write(CONFIG, &self.yaml(cloud, token), 0o640);
    }

    pub fn yaml(&self, cloud: &Cloud, token: &str) -> String {
        self.yaml_for(&cloud.dialled(), cloud.https, cloud.hub, token)
    }

    /// The same for what stands at these ports on loopback.
    pub fn configure_at(&self, https: u16, hub: u16, token: &str) {
        let yaml = self.yaml_for("127.0.0.1", https, hub, token);
        self.write(CONFIG, &yaml, 0o640);
    }

    /// The same for a cloud of our own.
    pub fn configure_for(&self, cloud: &Cloudcore, token: &str) {
        let yaml = self.yaml_for("127.0.0.1", cloud.https, cloud.hub, token);
        self.write(CONFIG, &yaml, 0o640);
    }

    /// The same for one that is at another address.
    pub fn configure_elsewhere(&self, cloud: &Cloudcore, address: &str) {
        let yaml = self.yaml_for(address, cloud.https, cloud.hub, &cloud.token());
        self.write(CONFIG, &yaml, 0o640);
    }

    fn yaml_for(&self, address: &str, https: u16, hub: u16, token: &str) -> String {
        let more = |lines: &[String], indent: &str| -> String {
            let line = |line: &String| format!("{indent}{line}\n");
            lines.iter().map(line).collect()
        };
        format!(
            "# the gateway in the barn\n\
             apiVersion: edgecore.config.kubeedge.io/v1alpha2\n\
             kind: EdgeCore\n\
             modules:\n{module_keys}{meta_keys}  edged:\n    hostnameOverride: {node}   # as on the label\n{edged_keys}  edgeHub:\n    \
             enable: true\n    \
             httpServer: \"https://{address}:{https}\"\n    \
             token: \"{token}\"   # from the office\n    \
             futureKey: [1, 2]\n{hub_keys}    \
             websocket:\n      enable: true\n      server: \"{address}:{hub}\"\n{websocket_keys}\
             # the end\n",
            node = self.node,
            edged_keys = more(&self.edged_keys, "    "),
            hub_keys = more(&self.hub_keys, "    "),
            module_keys = more(&self.module_keys, "  "),
            meta_keys = match self.meta_keys.is_empty() {
                true => String::new(),
                false => format!("  metaManager:\n{}", more(&self.meta_keys, "    ")),
            },
            websocket_keys = more(&self.websocket_keys, "      "),
        )
    }

    /// Starts edgecore and returns when it says that it is ready.
    pub fn start(&self) -> Edge<'_> {
        self.start_with_umask("022")
    }

    pub fn start_with_umask(&self, umask: &str) -> Edge<'_> {
        self.start_as(umask, &[]).0
    }

    pub fn start_with_flags(&self, flags: &[&str]) -> Edge<'_> {
        self.start_as("022", flags).0
    }

    /// Starts edgecore and waits for nothing.
    pub fn start_unready(&self) -> Edge<'_> {
        Edge {
            child: self.spawn("022", &[], None),
            device: self,
        }
    }

    /// Besides the edge, what it tells the init system after it is ready.
    pub fn start_and_listen(&self) -> (Edge<'_>, UnixDatagram) {
        self.start_as("022", &[])
    }

    fn start_as(&self, umask: &str, flags: &[&str]) -> (Edge<'_>, UnixDatagram) {
        let notify = self.path("notify.sock");
        let _ = fs::remove_file(&notify);
        let ready = UnixDatagram::bind(&notify).expect("a socket for the notice of readiness");
        let mut edge = Edge {
            child: self.spawn(umask, flags, Some(&notify)),
            device: self,
        };
        edge.until_ready(&ready);
        (edge, ready)
    }

    /// Starts edgecore where it is expected to end by itself: exit code and what it said.
    pub fn run_to_end(&self) -> (i32, String) {
        let mut edge = Edge {
            child: self.spawn("022", &[], None),
            device: self,
        };
        let status = edge.ended(LIMIT);
        (status.code().expect("it was not killed"), edge.log())
    }

    fn spawn(&self, umask: &str, flags: &[&str], notify: Option<&Path>) -> Child {
        let mut options = File::options();
        let log = options.create(true).append(true).open(self.log_path());
        let log = log.expect("the log is made");
        let mut command = match &self.mounts {
            None => Command::new("/bin/sh"),
            Some(mounts) => {
                let mut command = Command::new("unshare");
                let script = format!("set -e; {mounts}\nshift; exec \"$@\"");
                command.args(["--mount", "/bin/sh", "-c", &script, "sh"]);
                command.arg(self.folder.path()).arg("/bin/sh");
                command
            }
        };
        command
            .args(["-c", "umask $1; shift; exec \"$@\"", "sh", umask])
            .arg(self.program.as_deref().unwrap_or(Path::new(KUBEEDGE)))
            .arg("edgecore")
            .args(flags)
            .env("KUBEEDGE_ROOT", self.folder.path())
            .env_remove("NOTIFY_SOCKET")
            .envs(self.environment.iter().cloned())
            .env(lifeline::VARIABLE, self.anchor.path())
            .env("KUBEEDGE_TEST_CLOCK", self.path(CLOCK))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(notify) = notify {
            command.env("NOTIFY_SOCKET", notify);
        }
        command.spawn().expect("the executable starts")
    }

    /// A command on this device.
    pub fn run(&self, words: &[&str]) -> Said {
        let mut command = Command::new(KUBEEDGE);
        command.args(words).env("KUBEEDGE_ROOT", self.folder.path());
        Said::of(command.stdin(Stdio::null()).output())
    }

    /// Sets the device's clock, also while edgecore runs: off by so many seconds.
    pub fn set_clock(&self, off: i64) {
        self.write(CLOCK, &off.to_string(), 0o644);
    }

    fn log_path(&self) -> PathBuf {
        self.path("edgecore.log")
    }

    /// What edgecore wrote so far, in every run on this device.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

/// edgecore at work; killed when dropped.
pub struct Edge<'a> {
    child: Child,
    device: &'a Device,
}

impl Edge<'_> {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.device.log()
    }

    fn until_ready(&mut self, socket: &UnixDatagram) {
        let patience = Duration::from_millis(200);
        let set = socket.set_read_timeout(Some(patience));
        set.expect("a patience can be set");
        let until = Instant::now() + LIMIT;
        let mut notice = [0; 512];
        loop {
            if let Ok(length) = socket.recv(&mut notice)
                && notice[..length].starts_with(b"READY=1")
            {
                return;
            }
            let ended = self.child.try_wait().expect("the child can be asked");
            assert!(ended.is_none(), "edgecore ended at once: {ended:?}");
            assert!(Instant::now() < until, "edgecore was not ready in time");
        }
    }

    pub fn status(&self) -> EdgeStatus {
        let socket = self.device.path(EDGE_STATUS_SOCKET);
        call(&socket, &Request::new(EdgeOp::Status), LIMIT).expect("edgecore answers")
    }

    /// A line of status now, and one at every change.
    pub fn watch(&self) -> Client {
        let socket = self.device.path(EDGE_STATUS_SOCKET);
        Client::ask(&socket, &Request::new(EdgeOp::Watch), LIMIT).expect("edgecore answers")
    }

    /// Follows the status until it fits.
    pub fn until(&self, what: &str, fits: impl Fn(&EdgeStatus) -> bool) -> EdgeStatus {
        let until = Instant::now() + LIMIT;
        let socket = self.device.path(EDGE_STATUS_SOCKET);
        let mut last = None;
        while Instant::now() < until {
            // A watcher too many is closed, and may come again.
            let Ok(mut lines) = Client::ask(&socket, &Request::new(EdgeOp::Watch), LIMIT) else {
                continue;
            };
            while let Ok(Some(status)) = lines.line::<EdgeStatus>() {
                if fits(&status) {
                    return status;
                }
                last = Some(status);
                if Instant::now() > until {
                    break;
                }
            }
        }
        panic!("{what} did not come; the last status is {last:?}");
    }

    pub fn connected(&self) -> EdgeStatus {
        self.until("a session", |status| status.state == EdgeState::Connected)
    }

    /// Waits for a problem whose sentence has this in it.
    pub fn complains(&self, part: &str) -> EdgeStatus {
        let fits = |status: &EdgeStatus| {
            let problem = status.last_error.as_ref();
            problem.is_some_and(|problem| problem.message.contains(part))
        };
        self.until(&format!("a problem with {part:?}"), fits)
    }

    /// Gives an order on the socket for orders.
    pub fn order(&self, order: &str) -> Reply {
        let order = EdgeOp::named(order).expect("an order");
        let socket = self.device.path(EDGE_SOCKET);
        call(&socket, &Request::new(order), LIMIT).expect("edgecore answers")
    }

    /// Sends a line of any kind to a socket and returns the answer.
    pub fn say(&self, socket: &str, line: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.device.path(socket)).expect("the socket");
        stream.set_read_timeout(Some(LIMIT)).expect("a patience");
        stream.write_all(line).expect("edgecore reads");
        stream.shutdown(Shutdown::Write).expect("the end is said");
        std::io::read_to_string(stream).expect("an answer")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process number");
        kill(Pid::from_raw(pid), signal).expect("the process is there");
    }

    /// SIGTERM; it must end in order within 5 s.
    pub fn stop(mut self) {
        let asked = Instant::now();
        self.signal(Signal::SIGTERM);
        let status = self.ended(LIMIT);
        assert_eq!(status.code(), Some(0), "{}", self.log());
        assert!(asked.elapsed() < Duration::from_secs(5));
    }

    fn ended(&mut self, limit: Duration) -> ExitStatus {
        // The child is its own event: a thread waits for it, and this one for the thread.
        let pid = i32::try_from(self.child.id()).expect("a process number");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
            let id = nix::sys::wait::Id::Pid(Pid::from_raw(pid));
            let _ = sender.send(nix::sys::wait::waitid(id, flags).is_ok());
        });
        let ended = receiver.recv_timeout(limit);
        assert_eq!(ended, Ok(true), "edgecore did not end: {}", self.log());
        self.child.wait().expect("the child can be waited for")
    }
}

impl Drop for Edge<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("edgecore:\n{}", self.log());
        }
    }
}
