//! A token is seen by nobody whom it does not concern: every system call, log line and process list
//! of a cloud and a device, at the highest level of detail, is searched for it.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kubeedge::protocol::control::EdgeState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use common::device::BOOTSTRAP;
use common::site::Site;
use common::{Folder, KUBEEDGE, LIMIT, figures, files_below, mode};

/// A command whose system calls are written down, with all that it starts.
struct Traced {
    child: Child,
    trace: PathBuf,
    output: PathBuf,
}

impl Traced {
    fn start(folder: &Folder, name: &str, root: &Path, words: &[&str], input: &str) -> Traced {
        let [trace, output] =
            ["trace", "output"].map(|it| folder.path().join(format!("{name}.{it}")));
        let log = File::create(&output).expect("a file");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-v", "-yy", "-s", "65535", "-e", CALLS, "-o"])
            .arg(&trace)
            .arg(KUBEEDGE)
            .args(words)
            .env("KUBEEDGE_ROOT", root)
            .env("KUBEEDGE_LOG", "trace")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().expect("strace: run tests/setup.sh");
        let mut stdin = child.stdin.take().expect("it was piped");
        // A command that does not read its input is no fault here.
        let _ = stdin.write_all(input.as_bytes());
        Traced {
            child,
            trace,
            output,
        }
    }

    /// What it wrote to stderr so far.
    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Traced) -> bool) {
        let end = Instant::now() + LIMIT;
        while !is_so(self) {
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "it ended before {what}: {}", self.said());
            assert!(Instant::now() < end, "no {what}: {}", self.said());
            sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it and all that it started have ended; its stdout.
    fn ended(self) -> (String, Trace) {
        let output = self.child.wait_with_output().expect("strace ends");
        let out = String::from_utf8(output.stdout).expect("UTF-8");
        let trace = fs::read_to_string(&self.trace).expect("a trace");
        let said = fs::read_to_string(&self.output).expect("its output");
        (out, Trace { trace, said })
    }
}

struct Trace {
    trace: String,
    said: String,
}

/// Everything by which a text can leave a process, or get a mode.
const CALLS: &str = "trace=execve,execveat,write,writev,pwrite64,pwritev,sendto,sendmsg,sendmmsg,\
                     open,openat,openat2,creat,chmod,fchmod,fchmodat,rename,renameat,renameat2,link,\
                     linkat,symlink,symlinkat,prctl";

/// Pieces by which a token is known, however it is cut: none of them may be seen.
fn pieces(token: &str) -> Vec<String> {
    let token = token.trim();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 4, "a token");
    let (claims, mac) = (parts[2], parts[3]);
    [claims, &mac[..20], &mac[20..40]]
        .map(str::to_owned)
        .to_vec()
}

impl Trace {
    /// The calls that show a token, except those that have to: to a socket of this machine, to the
    /// stdout of a command that prints it, to the one file that holds it, which is made for its owner alone.
    fn faults(&self, pieces: &[String], may_print: bool) -> Vec<String> {
        let shows = |line: &&str| pieces.iter().any(|piece| line.contains(piece.as_str()));
        let mut faults: Vec<String> = self
            .trace
            .lines()
            .filter(shows)
            .filter(|line| !self.is_meant(line, may_print))
            .map(|line| line.chars().take(400).collect())
            .collect();
        faults.extend(self.said.lines().filter(shows).map(str::to_owned));
        faults
    }

    fn is_meant(&self, line: &str, may_print: bool) -> bool {
        let Some((call, rest)) = line.split_once('(') else {
            return false;
        };
        let call = call.rsplit(' ').next().unwrap_or_default();
        if !["write", "writev", "sendto", "sendmsg"].contains(&call) {
            return false;
        }
        let Some((descriptor, rest)) = rest.split_once('<') else {
            return false;
        };
        let target = rest.split_once(">, ").map_or("", |(target, _)| target);
        if target.starts_with("UNIX") {
            return true;
        }
        if target.starts_with("pipe:") {
            return may_print && descriptor == "1";
        }
        let name = target.rsplit('/').next().unwrap_or_default();
        name.contains("bootstrap-edgecore.conf") && self.is_private(target)
    }

    /// Whether every call that gave the file a mode gave it this one.
    fn is_private(&self, path: &str) -> bool {
        let made = format!("\"{path}\"");
        let held = format!("<{path}>");
        let modes: Vec<&str> = self
            .trace
            .lines()
            .filter(|line| {
                let is_made = line.contains(&made) && line.contains("O_CREAT");
                is_made || (line.contains("fchmod(") && line.contains(&held))
            })
            .collect();
        modes.iter().any(|line| line.contains("O_CREAT"))
            && modes.iter().all(|line| line.contains(", 0600)"))
    }
}

/// The command lines and environments of every process that works on these files.
fn process_lists(roots: &[&Path]) -> (usize, String) {
    let (mut count, mut all) = (0, String::new());
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let read = |name: &str| {
            let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let environment = read("environ");
        let is_ours = roots
            .iter()
            .any(|root| environment.contains(&root.display().to_string()));
        if is_ours {
            count += 1;
            all += &format!("{} {environment}\n", read("cmdline"));
        }
    }
    (count, all)
}

#[track_caller]
fn assert_hidden(what: &str, text: &str, pieces: &[String]) {
    for line in text.lines() {
        let shown = pieces.iter().any(|piece| line.contains(piece.as_str()));
        assert!(!shown, "{what} shows a token: {line}");
    }
}

fn end(pid: u64, signal: Signal) {
    let pid = i32::try_from(pid).expect("a pid");
    kill(Pid::from_raw(pid), signal).expect("it runs");
}

fn is_connected(site: &Site) -> bool {
    let status = site.status();
    status.is_some_and(|status| status.state == EdgeState::Connected)
}

fn stop_edgecore(site: &Site) {
    let note = site.read("/run/kubeedge/edgecore.lock");
    end(note.trim().parse().expect("a pid"), Signal::SIGTERM);
}

#[test]
fn no_call_no_log_and_no_process_list_shows_a_token() {
    let (folder, cloud) = (Folder::new(), Folder::new());
    let ports = cloud.path().join("ports");
    let ports_file = format!("--ports-file={}", ports.display());
    let words = [
        "cloudcore",
        "--listen=127.0.0.1",
        "--allow-volatile-ca",
        "--https-port=0",
        "--hub-port=0",
        "--metrics-port=0",
        "--log-level=trace",
        &ports_file,
    ];
    let mut cloudcore = Traced::start(&folder, "cloudcore", cloud.path(), &words, "");
    cloudcore.until("service", |it| it.said().contains("cloudcore serves"));
    let ports: Value = serde_json::from_slice(&fs::read(&ports).unwrap()).unwrap();
    let keadm =
        |name: &str, words: &[&str]| Traced::start(&folder, name, cloud.path(), words, "").ended();

    let (plain, first) = keadm("gettoken", &["gettoken", "-v9"]);
    let create = [
        "token",
        "create",
        "-v9",
        "--uses=3",
        "--print-join-command",
        "-o",
        "json",
    ];
    let (made, second) = keadm("create", &create);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let bound = made["token"].as_str().expect("a token").to_owned();
    let secrets = [pieces(&plain), pieces(&bound)].concat();
    let (_, third) = keadm("list", &["token", "list", "-v9"]);
    let id = made["id"].as_str().expect("an id");
    let (_, fourth) = keadm("delete", &["token", "delete", "-v9", id]);

    // One device joins, from a file; another is refused, with what came through its stdin.
    let (good, late) = (Site::new(), Site::new());
    let file = good.write("/token", plain.trim(), 0o600);
    let hub = format!("--cloudcore-ipport=127.0.0.1:{}", ports["hub"]);
    let api = format!("--certport={}", ports["https"]);
    let file = format!("--token-file={}", file.display());
    let common = ["join", "--init=none", "-v9", &hub, &api];
    let words = [&common[..], &["-i", "good", &file]].concat();
    let mut joining = Traced::start(&folder, "join", &good.path("/"), &words, "");
    joining.until("a session", |_| is_connected(&good));
    let words = [&common[..], &["-i", "late", "--token", "-"]].concat();
    let mut refused = Traced::start(&folder, "late", &late.path("/"), &words, &bound);
    refused.until("a refusal", |_| {
        late.status()
            .is_some_and(|status| status.last_error.is_some_and(|it| !it.retryable))
    });
    stop_edgecore(&late);
    let refused = refused.ended().1;

    // The device that was refused gets a better token, and edgecore says all that it can.
    let (better, third_token) = keadm("better", &["gettoken", "-v9"]);
    let secrets = [secrets, pieces(&better)].concat();
    late.write(BOOTSTRAP, better.trim(), 0o600);
    let mut edgecore = Traced::start(&folder, "edgecore", &late.path("/"), &["edgecore"], "");
    edgecore.until("a session", |_| is_connected(&late));
    let roots = [cloud.path(), &good.path("/"), &late.path("/")].map(Path::to_owned);
    let (processes, lists) = process_lists(&roots.each_ref().map(PathBuf::as_path));
    assert!(
        processes >= 5,
        "cloudcore, and twice a supervisor with its hub: {lists}"
    );
    assert_hidden("a process list", &lists, &secrets);

    // They end, and with them the traces are whole.
    stop_edgecore(&good);
    stop_edgecore(&late);
    end(ports["pid"].as_u64().expect("a pid"), Signal::SIGTERM);
    let traces = [
        ("gettoken", first, true),
        ("create", second, true),
        ("better", third_token, true),
        ("list", third, false),
        ("delete", fourth, false),
        ("join", joining.ended().1, false),
        ("late", refused, false),
        ("edgecore", edgecore.ended().1, false),
        ("cloudcore", cloudcore.ended().1, false),
    ];

    let mut calls = 0;
    for (name, trace, may_print) in &traces {
        let faults = trace.faults(&secrets, *may_print);
        assert!(faults.is_empty(), "{name} shows a token: {faults:#?}");
        calls += trace.trace.lines().count();
    }
    let find = |name: &str| {
        &traces
            .iter()
            .find(|it| it.0 == name)
            .expect("it is there")
            .1
    };
    // The search would find it: the token went through these calls as it must.
    assert!(find("gettoken").trace.contains(&secrets[1]));
    assert!(
        find("join").trace.contains(&secrets[1]),
        "join writes the token's file"
    );
    assert!(
        find("cloudcore").trace.contains(&secrets[1]),
        "the socket's answer"
    );

    let mut lines = 0;
    for (name, word) in [("cloudcore", "by token"), ("edgecore", "enrolled as late")] {
        let said = &find(name).said;
        assert!(said.contains(word), "{said}");
        lines += said.lines().count();
    }
    for site in [&good, &late] {
        let log = site.read("/var/log/kubeedge/edgecore.log");
        assert_hidden("edgecore's log", &log, &secrets);
        lines += log.lines().count();
    }
    for root in &roots {
        for (path, content) in files_below(root) {
            let text = String::from_utf8_lossy(&content);
            if secrets.iter().any(|piece| text.contains(piece.as_str())) {
                assert_eq!(mode(&path) & 0o077, 0, "others can read {}", path.display());
            }
        }
    }
    figures::tried(
        "tokens-calls",
        "system calls searched for a token, none shows one",
        calls,
    );
    figures::tried(
        "tokens-log-lines",
        "log lines at the level trace, searched likewise",
        lines,
    );
}
