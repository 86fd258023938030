//! `S95edgecore` of a device below a folder, run by a shell as rcS does.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::device::Device;
use super::put;
use super::site::Said;

pub struct Rcs<'a> {
    shell: &'a [&'a str],
    device: &'a Device,
    path: PathBuf,
}

impl<'a> Rcs<'a> {
    /// The script as it is, but for the folder before its paths and for how large its log may be.
    pub fn install(device: &'a Device, shell: &'a [&'a str], log_limit: u64) -> Rcs<'a> {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/init-scripts/busybox/S95edgecore"
        );
        let mut text = fs::read_to_string(script).expect("the script is there");
        for (found, instead) in [
            (
                "/usr/local/bin",
                device.path("/usr/local/bin").display().to_string(),
            ),
            ("/var/", device.path("/var/").display().to_string()),
            ("262144", log_limit.to_string()),
            // A system that runs tests may have one, which no device below a folder has.
            ("/dev/log", device.path("/dev/log").display().to_string()),
        ] {
            assert!(text.contains(found), "{found}");
            text = text.replace(found, &instead);
        }
        let path = device.path("/etc/init.d/S95edgecore");
        put(&path, text, 0o755);
        Rcs {
            shell,
            device,
            path,
        }
    }

    pub fn run(&self, action: &str) -> Said {
        let mut command = Command::new(self.shell[0]);
        command.args(&self.shell[1..]).arg(&self.path).arg(action);
        command
            .env("KUBEEDGE_ROOT", self.device.path("/"))
            .stdin(Stdio::null());
        Said::of(command.output())
    }

    pub fn pid_file(&self) -> PathBuf {
        self.device.path("/var/run/edgecore.pid")
    }

    pub fn pid(&self) -> u32 {
        let text = fs::read_to_string(self.pid_file()).expect("a pidfile");
        text.trim().parse().expect("a number")
    }

    pub fn log(&self) -> String {
        self.device.read("/var/log/kubeedge/edgecore.log")
    }
}

impl Drop for Rcs<'_> {
    fn drop(&mut self) {
        if self.pid_file().exists() {
            let _ = self.run("stop");
        }
        // What the script did not find, a test that fails would leave for ever.
        let note = fs::read_to_string(self.device.path("/run/kubeedge/edgecore.lock"));
        let pid = note.ok().and_then(|note| note.trim().parse().ok());
        if let Some(pid) = pid.filter(|pid| self.is_ours(*pid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Rcs<'_> {
    /// The number may be another's by now.
    fn is_ours(&self, pid: i32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let own = format!("KUBEEDGE_ROOT={}", self.device.path("/").display());
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == own.as_bytes())
    }
}
