//! `debug collect`: one archive with what somebody elsewhere needs to see what is wrong, and no secret in it.

mod archive;
mod redact;
mod secrets;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command as Program, Stdio};
use std::time::{Duration, Instant};

use argh::{ArgsInfo, FromArgs};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::check::{Wish, check};
use super::store::Store;
use super::warnings;
use crate::keadm::device::{self, CONFIG};
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group, status};
use crate::protocol::local::SORTS;
use crate::system::args::{self, Spec};
use crate::system::clock::Timestamp;
use crate::system::exit;
use crate::system::files::{FileError, with_end};
use crate::system::host::Host;
use crate::system::{console, facts, service};
use archive::Archive;
use redact::{Kind, Redactor};

pub static COMMAND: Command = Command {
    name: "debug collect",
    group: Group::Edge,
    summary: "put logs, settings and facts into one file, no secrets",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to collect
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the folder for the archive; default: this one
    #[argh(option, short = 'o', arg_name = "folder", default = "\".\".to_owned()")]
    output_path: String,
    /// edgecore's configuration; default: /etc/kubeedge/config/edgecore.yaml
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<String>,
    /// the folder of logs; default: /var/log/kubeedge
    #[argh(option, short = 'l', arg_name = "folder")]
    log_path: Option<String>,
    /// the most that the archive may hold, in MiB; default: 16
    #[argh(option, arg_name = "MiB", default = "16")]
    limit: u16,
    /// text or json; default: text
    #[argh(option, arg_name = "format", default = "Format::Text")]
    output: Format,
    /// tell on stderr what is collected
    #[argh(switch, short = 'd')]
    detail: bool,
}

/// What became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Collected {
    path: String,
    bytes: u64,
    /// What is not in it, and why.
    left_out: Vec<String>,
}

struct Collector<'a> {
    host: &'a Host,
    archive: Archive,
    redactor: Redactor,
    left_out: Vec<String>,
    detail: bool,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let code = |error: &FileError| match error.is_denied() {
        true => exit::DENIED,
        false => exit::FAILURE,
    };
    let outcome = collect(host, &flags);
    out::finish(SPEC.name, given.verbosity, flags.output, outcome, code)
}

fn collect(host: &Host, flags: &Flags) -> Result<Collected, FileError> {
    let now = host.clock.now();
    let name = format!("edge_{}", stamp(now));
    let path = anew(host, &Path::new(&flags.output_path).join(name))?;
    let limit = u64::from(flags.limit) << 20;
    // Half of what is left stays: a full flash would be one more fault.
    let room = facts::free_space(Path::new(&flags.output_path)).unwrap_or(u64::MAX);
    let archive = Archive::begin(&host.files, &path, now, limit.min(room / 2));
    let archive = archive.inspect_err(|_| forget(host, &path))?;
    let (redactor, unknown) = secrets::known(host, flags.config.as_deref());
    let unknown = unknown.map(|fault| {
        format!(
            "some Secrets could not be read ({fault}): look through the archive before it is sent"
        )
    });
    if let Some(sentence) = &unknown {
        console::complain(SPEC.name, sentence);
    }
    let mut collector = Collector {
        host,
        archive,
        redactor,
        left_out: unknown.into_iter().collect(),
        detail: flags.detail,
    };
    let all = collector.all(flags);
    match all.and_then(|()| collector.archive.finish()) {
        Ok(bytes) => Ok(Collected {
            path: path.display().to_string(),
            bytes,
            left_out: collector.left_out,
        }),
        Err(error) => {
            forget(host, &path);
            Err(error)
        }
    }
}

/// An empty file, for nobody else to read. What has the name is left alone: a clock that is not set gives every
/// archive the same one, and in /tmp anybody may have put something there.
fn anew(host: &Host, start: &Path) -> Result<PathBuf, FileError> {
    let mut path = with_end(start, ".tar.gz");
    let mut number = 1;
    while !host.files.create(&path, b"", 0o600)? {
        number += 1;
        path = with_end(start, &format!("-{number}.tar.gz"));
    }
    Ok(path)
}

fn forget(host: &Host, path: &Path) {
    let _ = host.files.remove(path);
}

impl Collector<'_> {
    /// The small and telling first: what comes last is left out where there is no room.
    fn all(&mut self, flags: &Flags) -> Result<(), FileError> {
        let (host, config) = (self.host, flags.config.as_deref());
        self.text("version", env!("CARGO_PKG_VERSION"), Kind::Log)?;
        self.text("date", &host.clock.now().to_string(), Kind::Log)?;
        self.text(
            "status.json",
            &out::json(&status::status(host, config).0),
            Kind::Log,
        )?;
        let wish = Wish {
            config: flags.config.clone(),
            ..Wish::default()
        };
        self.text(
            "check.json",
            &out::json(&check(host, &wish, &LOCAL)),
            Kind::Log,
        )?;
        let settings = config.map_or_else(|| host.root.at(CONFIG), PathBuf::from);
        self.file("edgecore/edgecore.yaml", &settings, Kind::Settings)?;
        if let Ok((config, _)) = device::load(host, config) {
            for (name, path) in [
                ("edgecore/server.crt", &config.hub.tls_cert_file),
                ("edgecore/rootCA.crt", &config.hub.tls_ca_file),
            ] {
                self.file(name, &host.root.at(path), Kind::Log)?;
            }
        }
        let daemon = service::Daemon::edgecore(&host.root);
        let service = service::detect(host, daemon, service::Choice::Auto);
        let files = service.files().unwrap_or_else(|error| {
            self.left_out.push(format!("edgecore/service: {error}"));
            Vec::new()
        });
        for (path, _) in files {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            self.file(&format!("edgecore/service/{name}"), &path, Kind::Settings)?;
        }
        self.text("edgecore/objects", &objects(host), Kind::Log)?;
        for (name, path) in SYSTEM {
            // What the kernel says is the same below every root.
            let path = match path.starts_with("/proc") {
                true => PathBuf::from(path),
                false => host.root.at(path),
            };
            self.file(&format!("system/{name}"), &path, Kind::Log)?;
        }
        self.text("system/process", &table(), Kind::Log)?;
        match warnings::ask(host) {
            Ok(told) => self.text("edgecore/warnings.json", &out::json(&told), Kind::Log)?,
            Err(error) => self
                .left_out
                .push(format!("edgecore/warnings.json: {error}")),
        }
        let logs = flags
            .log_path
            .as_ref()
            .map_or_else(|| host.root.at(LOGS), PathBuf::from);
        for name in host.files.list(&logs, MAX_LOGS).unwrap_or_default() {
            self.file(&format!("log/{name}"), &logs.join(&name), Kind::Log)?;
        }
        if host.root.prefix().is_none() {
            for (name, words) in LOG_PROGRAMS
                .iter()
                .filter(|(kind, _)| *kind == service.kind())
            {
                let text = said(words);
                self.text(&format!("log/{name}"), &text, Kind::Log)?;
            }
        }
        let left_out = self.left_out.join("\n");
        self.text("left-out", &left_out, Kind::Log)
    }

    /// The end of a file, if it is one.
    fn file(&mut self, name: &str, path: &Path, kind: Kind) -> Result<(), FileError> {
        // A link may lead to what is not ours to tell.
        let is_file = fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
        let read = match is_file {
            true => tail(path).map_err(|error| error.to_string()),
            false => Err("there is no such file".to_owned()),
        };
        match read {
            Ok(text) => self.text(name, &text, kind),
            Err(why) => {
                self.left_out.push(format!("{name}: {why}"));
                Ok(())
            }
        }
    }

    fn text(&mut self, name: &str, text: &str, kind: Kind) -> Result<(), FileError> {
        let clean = self.redactor.clean(text, kind);
        if self.detail {
            console::complain(SPEC.name, name);
        }
        if !self.archive.add(name, clean.as_bytes())? {
            self.left_out
                .push(format!("{name}: there is no room for it"));
        }
        Ok(())
    }
}

/// The last lines of a file. A file of the kernel has no length.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(MOST);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(text_of(&bytes, from > 0))
}

/// The end of what a program prints, for which it has its time.
fn said(words: &[&str]) -> String {
    let child = Program::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return String::new();
    };
    let (bytes, is_cut) = child.stdout.take().map(end_of).unwrap_or_default();
    // It is through already, or won't be.
    let _ = child.kill();
    let _ = child.wait();
    text_of(&bytes, is_cut)
}

/// The last bytes, and whether there were more before them.
fn end_of(mut out: ChildStdout) -> (Vec<u8>, bool) {
    let (end, most) = (Instant::now() + PATIENCE, MOST as usize);
    let (mut kept, mut is_cut, mut piece) = (Vec::new(), false, [0; 4096]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, wait) {
            Err(Errno::EINTR) => continue,
            Ok(1..) => {}
            _ => break,
        }
        match out.read(&mut piece) {
            Ok(length @ 1..) => kept.extend_from_slice(&piece[..length]),
            _ => break,
        }
        if kept.len() >= 2 * most {
            kept.drain(..most);
            is_cut = true;
        }
    }
    let surplus = kept.len().saturating_sub(most);
    kept.drain(..surplus);
    (kept, is_cut || surplus > 0)
}

/// Of a text that is cut the first line goes: half a secret would not be known for one.
fn text_of(bytes: &[u8], is_cut: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.split_once('\n').filter(|_| is_cut) {
        Some((_, rest)) => rest.to_owned(),
        None => text.into_owned(),
    }
}

/// Which objects are stored, and nothing of what is in them.
fn objects(host: &Host) -> String {
    let mut text = String::new();
    let Ok(store) = Store::open(host, None) else {
        return text;
    };
    for sort in SORTS {
        let listed = store.each(sort.kind, None, |object| {
            let word = |key: &str| object["metadata"][key].as_str().unwrap_or("-").to_owned();
            let line = [
                sort.kind.as_str(),
                &word("namespace"),
                &word("name"),
                &word("resourceVersion"),
            ]
            .join(" ");
            text.push_str(&line);
            text.push('\n');
        });
        if let Err(fault) = listed {
            text.push_str(&format!("{fault}\n"));
        }
    }
    text
}

/// Processes by number, name and size; their arguments may hold anything.
fn table() -> String {
    let mut text = String::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let file = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let number = entry.file_name().to_string_lossy().into_owned();
        if number.parse::<u32>().is_ok() {
            let (name, memory) = (file("comm"), file("statm"));
            text.push_str(&format!(
                "{number} {} {}\n",
                name.trim_end(),
                memory.trim_end()
            ));
        }
    }
    text
}

fn stamp(now: Timestamp) -> String {
    // 2026-11-27T03:29:04Z
    let digits: String = now
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    match (digits.get(..4), digits.get(4..8), digits.get(8..14)) {
        (Some(year), Some(day), Some(time)) => format!("{year}_{day}_{time}"),
        _ => now.unix().to_string(),
    }
}

impl Report for Collected {
    fn text(&self) -> String {
        format!("{}\n", self.path)
    }
}

/// Without the network, for which somebody may wait: `debug check` is for that.
const LOCAL: [&str; 11] = [
    "cpu", "mem", "disk", "folders", "pid", "kernel", "init", "config", "edgecore", "clock",
    "identity",
];
const SYSTEM: &[(&str, &str)] = &[
    ("cpuinfo", "/proc/cpuinfo"),
    ("meminfo", "/proc/meminfo"),
    ("uptime", "/proc/uptime"),
    ("load", "/proc/loadavg"),
    ("kernel", "/proc/version"),
    ("disk", "/proc/self/mountinfo"),
    ("network", "/proc/net/dev"),
    ("routes", "/proc/net/route"),
    ("routes6", "/proc/net/ipv6_route"),
    ("addresses", "/proc/net/fib_trie"),
    ("os-release", "/etc/os-release"),
    ("hosts", "/etc/hosts"),
    ("resolv.conf", "/etc/resolv.conf"),
];
const LOG_PROGRAMS: &[(&str, &[&str])] = &[
    (
        "systemd",
        &["journalctl", "-u", "edgecore", "-n", "4000", "--no-pager"],
    ),
    ("procd", &["logread", "-e", "edgecore"]),
];
const LOGS: &str = "/var/log/kubeedge";
const MAX_LOGS: usize = 100;
/// For a program that tells the log.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one file.
const MOST: u64 = 512 << 10;

static SPEC: Spec = Spec {
    name: "kubeedge debug collect",
    about: "Puts logs, the configuration, states and facts of the system into one archive, \
            edge_DATE.tar.gz with mode 0600, and prints its path. Keys, tokens, passwords and the \
            content of objects are left out or replaced; arguments of processes and histories of \
            shells are never looked at. Exit code: 0 done; 1 it can't be written; 77 not allowed.",
    examples: &[
        "kubeedge debug collect",
        "kubeedge debug collect -o /tmp --limit 4",
    ],
    spellings: &[],
    ignored: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_program_says_the_end_is_kept() {
        assert_eq!(said(&["sh", "-c", "echo one; echo two"]), "one\ntwo\n");
        assert_eq!(said(&["/nonexistent"]), "");
        let much = said(&["seq", "1", "400000"]);
        assert!(much.len() <= MOST as usize && much.ends_with("\n400000\n"));
        let first = much.lines().next().and_then(|line| line.parse().ok());
        assert!(first > Some(300_000), "{first:?}");
    }
}
