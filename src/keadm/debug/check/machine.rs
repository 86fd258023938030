//! The machine itself: processors, memory, room, folders, kernel.

use std::fs;
use std::path::{Path, PathBuf};

use super::look::{Look, State};
use crate::keadm::join::preflight::{self, STATE_SPACE};
use crate::system::facts::usage::{self, Left};
use crate::system::{cause, facts, processes, randomness};

pub fn cpu(look: &mut Look<'_>) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Option<f32> = load.split(' ').next().and_then(|text| text.parse().ok());
    let found = format!(
        "{count}, load {}",
        load.map_or("unknown".to_owned(), |load| load.to_string())
    );
    let is_busy = load.is_some_and(|load| load > count as f32 * BUSY);
    match is_busy {
        true => look.warning(
            "processors",
            found,
            "the machine is busy: `top` shows with what",
        ),
        false => look.good("processors", found),
    }
}

pub fn memory(look: &mut Look<'_>) {
    let remedy = "edgecore needs some 10 MiB: `top` shows what takes the rest, end some of it";
    let least = [LITTLE_MEMORY, 4 * LITTLE_MEMORY];
    left(
        look,
        "available",
        usage::memory(),
        &mebibytes,
        least,
        remedy,
    );
}

pub fn pids(look: &mut Look<'_>) {
    let left_now = usage::pids();
    let least = left_now.map_or(0, |it| it.total / 20);
    let remedy = "few more processes can be started: see with `ps` what starts so many, or raise \
                  kernel.pid_max and kernel.threads-max";
    left(
        look,
        "processes",
        left_now,
        &|count| count.to_string(),
        [least, least],
        remedy,
    );
}

pub fn disk(look: &mut Look<'_>) {
    let remedy = "make room: nothing can be stored safely without; old logs and packages are what \
                  there mostly is to delete";
    for folder in places(look) {
        let name = folder.display().to_string();
        let room = usage::room(&folder);
        let bytes = room.map(|room| room.bytes);
        left(
            look,
            &name,
            bytes,
            &mebibytes,
            [STATE_SPACE, 4 * STATE_SPACE],
            remedy,
        );
        if let Some(inodes) = room.and_then(|room| room.inodes)
            && inodes.left < FEW_FILES
        {
            let found = format!("room for {} files", inodes.left);
            look.failed(&name, &found, remedy.to_owned());
        }
        if facts::is_tmpfs(&folder) && !folder.starts_with(look.host.root.at("/run")) {
            let remedy =
                "what edgecore keeps there is gone after the next boot: mount storage there";
            look.warning(&name, "in memory only".to_owned(), remedy);
        }
    }
}

/// What is left, against what must be, and what should be.
fn left(
    look: &mut Look<'_>,
    what: &str,
    found: Option<Left>,
    shown: &dyn Fn(u64) -> String,
    least: [u64; 2],
    remedy: &str,
) {
    let Some(Left { left, total }) = found else {
        return look.good(what, "unknown".to_owned());
    };
    let (state, remedy) = match () {
        () if left < least[0] => (State::Failed, Some(remedy.to_owned())),
        () if left < least[1] => (State::Warning, Some(remedy.to_owned())),
        () => (State::Good, None),
    };
    let found = format!("{} of {} left", shown(left), shown(total));
    look.add(what, state, found, remedy);
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub fn folders(look: &mut Look<'_>) {
    let root = processes::is_root();
    for folder in places(look) {
        let name = folder.display().to_string();
        let fault = facts::check_writable(&folder).err();
        let fault = fault.or_else(|| {
            fs::read_dir(&folder)
                .err()
                .filter(|it| it.kind() != std::io::ErrorKind::NotFound)
        });
        match fault {
            None => look.good(&name, "can be written".to_owned()),
            Some(error) if root => {
                let found = cause::of(&error);
                let remedy = "edgecore writes there: see `mount` for a file system that is read-only, \
                              and that it is a folder of root's";
                look.failed(&name, &found, remedy.to_owned());
            }
            Some(error) => {
                let remedy = "this user is not root, so it says nothing: check as root";
                look.warning(&name, cause::of(&error), remedy);
            }
        }
    }
}

/// Where edgecore writes, each once.
fn places(look: &Look<'_>) -> Vec<PathBuf> {
    let mut all = preflight::folders(&look.host.root);
    let files = look
        .device
        .iter()
        .flat_map(|it| [&it.key, &it.certificate, &it.ca]);
    let folders: Vec<&Path> = files.filter_map(|file| file.parent()).collect();
    for folder in folders {
        if !all.iter().any(|it| folder.starts_with(it)) {
            all.push(folder.to_owned());
        }
    }
    all
}

pub fn kernel(look: &mut Look<'_>) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim_end().to_owned();
    match facts::kernel_is_before(3, 10) {
        true => look.failed(
            "Linux",
            &release,
            "3.10 is the oldest that is known to do: update it".to_owned(),
        ),
        false => look.good("Linux", release),
    }
    match randomness::is_there() {
        true => look.good("randomness", "there".to_owned()),
        false => look.failed(
            "randomness",
            "none yet",
            "no connection is safe before: wait, or give the system a source, such as haveged or a \
             driver for its hardware"
                .to_owned(),
        ),
    }
    // Unknown is no fault: what edgecore really does without, `status` says.
    for (what, path, word, since) in FEATURES {
        match fs::read_to_string(path) {
            Ok(text) if !text.contains(word) => {
                let remedy =
                    format!("edgecore works, with less to protect it; Linux has it since {since}");
                look.warning(what, "missing".to_owned(), &remedy);
            }
            Ok(_) => look.good(what, "there".to_owned()),
            Err(_) => look.good(what, "unknown".to_owned()),
        }
    }
}

pub fn runtime(look: &mut Look<'_>) {
    look.good(
        "containers",
        "none needed: this edgecore starts none".to_owned(),
    );
}

const FEATURES: &[(&str, &str, &str, &str)] = &[
    (
        "seccomp",
        "/proc/self/status",
        "Seccomp:",
        "3.5 (CONFIG_SECCOMP_FILTER)",
    ),
    (
        "Landlock",
        "/sys/kernel/security/lsm",
        "landlock",
        "5.13 (CONFIG_SECURITY_LANDLOCK, lsm=)",
    ),
];
/// Of a processor, in the last minute; as KubeEdge's.
const BUSY: f32 = 0.9;
/// Bytes.
const LITTLE_MEMORY: u64 = 8 << 20;
const FEW_FILES: u64 = 16;
