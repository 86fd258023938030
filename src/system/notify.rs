//! Tells the init system how far we are, in the way of sd_notify(3).

use std::env;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::sync::OnceLock;
use std::time::Duration;

/// The process is up.
pub fn ready() {
    say(READY);
}

/// The process ends.
pub fn stopping() {
    say(STOPPING);
}

/// One line about what it does, for `systemctl status`.
pub fn status(text: &str) {
    let line: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_STATUS)
        .collect();
    say(&format!("STATUS={line}"));
}

/// The process still makes progress: see `watchdog_interval`.
pub fn alive() {
    say("WATCHDOG=1");
}

/// Passes one line on as it is.
pub fn say(line: &str) {
    match SUPERVISOR.get() {
        // Best effort, as below: a supervisor that reads nothing is about to kill us anyway.
        Some(mut stream) => drop(stream.write_all(format!("{line}\n").as_bytes())),
        None => Notifier::from_env().send(line),
    }
}

/// From now on everything is said to the parent process, which passes it on. The stream must not
/// block.
pub fn through(supervisor: UnixStream) {
    let _ = SUPERVISOR.set(supervisor);
}

/// How often `alive` is expected, if it is.
pub fn watchdog_interval() -> Option<Duration> {
    let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let for_us = match env::var("WATCHDOG_PID") {
        Ok(pid) => pid.parse() == Ok(std::process::id()),
        Err(_) => true,
    };
    // Twice as often as needed, as systemd advises.
    (for_us && micros > 0).then(|| Duration::from_micros(micros / 2))
}

/// Where to tell it, when anybody wants to know.
struct Notifier {
    address: Option<SocketAddr>,
}

impl Notifier {
    fn from_env() -> Notifier {
        let name = env::var("NOTIFY_SOCKET").unwrap_or_default();
        Notifier::to(&name)
    }

    /// `name` is a path, or `@` and an abstract name.
    fn to(name: &str) -> Notifier {
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None if name.starts_with('/') => SocketAddr::from_pathname(name).ok(),
            None => None,
        };
        Notifier { address }
    }

    /// Best effort: the work does not depend on who watches it.
    fn send(&self, text: &str) {
        if let (Some(address), Ok(socket)) = (&self.address, UnixDatagram::unbound())
            && socket.set_nonblocking(true).is_ok()
        {
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

static SUPERVISOR: OnceLock<UnixStream> = OnceLock::new();

pub const READY: &str = "READY=1";
pub const STOPPING: &str = "STOPPING=1";
/// Characters.
const MAX_STATUS: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn reaches_a_socket_with_a_path() {
        let dir = Scratch::new();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.to_str().unwrap());
        notifier.send("READY=1");
        assert_eq!(receive(&socket), "READY=1");
    }

    #[test]
    fn reaches_an_abstract_socket() {
        let name = format!("kubeedge-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(&format!("@{name}")).send("STOPPING=1");
        assert_eq!(receive(&socket), "STOPPING=1");
    }

    #[test]
    fn nobody_listens() {
        for name in ["", "relative", "/does/not/exist", "@kubeedge-nobody"] {
            Notifier::to(name).send("READY=1");
        }
        assert!(Notifier::to("").address.is_none());
        assert!(Notifier::to("relative").address.is_none());
    }
}
