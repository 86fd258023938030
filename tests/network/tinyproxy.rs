//! Debian's tinyproxy on loopback, as an administrator of a company would run it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Folder, LIMIT};

/// A running proxy; ended when dropped.
pub struct Tinyproxy {
    folder: Folder,
    pub address: String,
    _process: Running,
}

struct Running(Child);

impl Tinyproxy {
    /// With further lines for its configuration.
    pub fn start(lines: &str) -> Tinyproxy {
        Tinyproxy::on("127.0.0.1", lines)
    }

    pub fn on(host: &str, lines: &str) -> Tinyproxy {
        let folder = Folder::new();
        let until = Instant::now() + LIMIT;
        // It can't choose a port by itself, and another program may take the one that was free.
        loop {
            let port = free_port(host);
            let config = folder.path().join("tinyproxy.conf");
            let log = folder.path().join("log");
            let text = format!(
                "Listen {host}\nPort {port}\nTimeout 600\nMaxClients 50\nLogLevel Info\n\
                 LogFile \"{}\"\n{lines}\n",
                log.display()
            );
            fs::write(&config, text).expect("its configuration is written");
            let child = Command::new("tinyproxy")
                .args(["-d", "-c"])
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("tinyproxy starts: run tests/setup.sh");
            let mut running = Running(child);
            let address = if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            };
            while Instant::now() < until {
                if TcpStream::connect(&address).is_ok() {
                    return Tinyproxy {
                        folder,
                        address,
                        _process: running,
                    };
                }
                if running.0.try_wait().expect("it can be asked").is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(Instant::now() < until, "tinyproxy does not start");
        }
    }

    /// The ways it opened, by the lines of its log.
    pub fn opened(&self, target: &str) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let wanted = format!("CONNECT {target} HTTP/1.1");
        log.lines().filter(|line| line.contains(&wanted)).count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port(host: &str) -> u16 {
    let listener = TcpListener::bind((host, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}
