//! A cloudcore process as its operator sees it: log, metrics, admin socket, memory, descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::sign::Ca;
use crate::common::{Folder, KUBEEDGE, LIMIT};

/// Killed when dropped.
pub struct Cloud {
    pub ca: Ca,
    pub https: u16,
    pub hub: u16,
    /// The port that serves both, with `singlePort: 0`.
    pub single: Option<u16>,
    metrics: u16,
    child: Child,
    folder: Folder,
}

impl Cloud {
    /// `yaml` is cloudcore.yaml; `open_files` is how many descriptors it may allow itself, when it is given: it has
    /// fewer at first.
    pub fn start(yaml: &str, open_files: Option<u32>) -> Cloud {
        let folder = Folder::new();
        let root = folder.path();
        fs::write(root.join("cloudcore.yaml"), yaml).unwrap();
        let notify = root.join("notify");
        let ready = UnixDatagram::bind(&notify).unwrap();
        ready.set_read_timeout(Some(LIMIT)).unwrap();
        let limit = open_files.map_or(String::new(), |files| {
            format!("ulimit -S -n 32; ulimit -H -n {files}; ")
        });
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{limit}exec \"$@\""), "sh", KUBEEDGE])
            .args(["cloudcore", "--listen", "127.0.0.1", "--allow-volatile-ca"])
            .args([
                "--https-port",
                "0",
                "--hub-port",
                "0",
                "--metrics-port",
                "0",
            ])
            .arg("--ports-file")
            .arg(root.join("ports"))
            .arg("--config")
            .arg(root.join("cloudcore.yaml"));
        let mut child = command
            .env("KUBEEDGE_ROOT", root)
            .env("NOTIFY_SOCKET", &notify)
            .env_remove("KUBEEDGE_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.join("log")).unwrap())
            .spawn()
            .expect("cloudcore starts");
        if ready.recv(&mut [0; 100]).is_err() {
            let _ = child.kill();
            panic!("{}", fs::read_to_string(root.join("log")).unwrap());
        }
        let ports: Value = serde_json::from_slice(&fs::read(root.join("ports")).unwrap()).unwrap();
        let port = |name: &str| u16::try_from(ports[name].as_u64().unwrap()).unwrap();
        let keys = root.join("etc/kubeedge/cloudcore");
        fs::copy(keys.join("ca.crt"), root.join("ca.pem")).unwrap();
        fs::copy(keys.join("ca.key"), root.join("ca.key")).unwrap();
        Cloud {
            ca: Ca::of(root),
            https: port("https"),
            hub: port("hub"),
            single: ports["single"]
                .as_u64()
                .map(|it| u16::try_from(it).unwrap()),
            metrics: port("metrics"),
            child,
            folder,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A good token, without the CA's hash in front.
    pub fn jwt(&self) -> String {
        let token = self.ca.token(3600);
        token.split_once('.').unwrap().1.to_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Every series with its value.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let series = page.lines().filter(|line| !line.starts_with('#'));
        let series = series.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        series.collect()
    }

    /// The value of one series, which need not be there yet.
    pub fn metric(&self, name: &str) -> u64 {
        self.metrics().get(name).copied().unwrap_or(0)
    }

    pub fn status(&self) -> Value {
        let path = self.path("run/kubeedge/cloudcore.sock");
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = format!("{}\n", json!({"v": 1, "op": "status"}));
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }

    /// The processor time used so far.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // A tick of /proc is a hundredth of a second on every Linux.
        Duration::from_millis(ticks * 10)
    }

    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        fs::read_dir(folder).unwrap().count()
    }

    /// The same process still runs, and nothing in it has panicked.
    pub fn is_well(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.log());
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("cloudcore, last line first:\n{}", last.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes(is_so), "not within {LIMIT:?}: {what}");
}

/// Whether something becomes so in time.
pub fn comes(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
