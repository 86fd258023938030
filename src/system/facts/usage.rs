//! How much of this machine is left at the moment: memory, room on a disk, processes.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::{existing, read};

/// What is left, and of how much; none where it can't be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    pub left: u64,
    pub total: u64,
}

/// Bytes of memory that programs could still get.
pub fn memory() -> Option<Left> {
    memory_of(&read(Path::new("/"), "proc/meminfo")?)
}

/// Processes and threads that could still be started.
pub fn pids() -> Option<Left> {
    pids_below(Path::new("/"))
}

/// Bytes and files that a file system has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub bytes: Left,
    /// None on file systems that do not count them.
    pub inodes: Option<Left>,
}

/// The room where `path` is, or would be made. May wait for the disk.
#[allow(clippy::useless_conversion)] // 32 bits on some targets.
pub fn room(path: &Path) -> Option<Room> {
    let found = statvfs(existing(path)).ok()?;
    let size = u64::from(found.fragment_size());
    let bytes = Left {
        left: u64::from(found.blocks_available()).checked_mul(size)?,
        total: u64::from(found.blocks()).checked_mul(size)?,
    };
    let inodes = Left {
        left: u64::from(found.files_available()),
        total: u64::from(found.files()),
    };
    Some(Room {
        bytes,
        inodes: (inodes.total > 0).then_some(inodes),
    })
}

/// Bytes of memory that there are, by the text of `/proc/meminfo`.
pub(super) fn total(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemTotal:")
}

fn memory_of(meminfo: &str) -> Option<Left> {
    // Kernels before 3.14 do not say what is available.
    let before = || {
        let parts = ["MemFree:", "Buffers:", "Cached:"].map(|name| field(meminfo, name));
        parts.into_iter().flatten().reduce(u64::saturating_add)
    };
    Some(Left {
        left: field(meminfo, "MemAvailable:").or_else(before)?,
        total: total(meminfo)?,
    })
}

fn field(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1_024)
}

fn pids_below(base: &Path) -> Option<Left> {
    let number = |path: &str| read(base, path)?.trim().parse::<u64>().ok();
    let limits = ["proc/sys/kernel/pid_max", "proc/sys/kernel/threads-max"];
    let total = limits.into_iter().filter_map(number).min()?;
    let load = read(base, "proc/loadavg")?;
    let running: u64 = load.split(' ').nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Left {
        left: total.saturating_sub(running),
        total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    const NEW: &str = "MemTotal:        2041256 kB\nMemFree:          100000 kB\n\
                       MemAvailable:     400000 kB\nBuffers:           20000 kB\n\
                       Cached:           300000 kB\nSwapCached:            0 kB\n";

    #[test]
    fn memory_of_new_and_old_kernels() {
        let left = |left: u64| {
            Some(Left {
                left: left * 1_024,
                total: 2_041_256 * 1_024,
            })
        };
        assert_eq!(memory_of(NEW), left(400_000));
        let old = NEW.replace("MemAvailable", "Other");
        assert_eq!(memory_of(&old), left(420_000));
        for bad in [
            "",
            "MemTotal: 5 kB",
            "MemTotal: 99999999999999999999 kB\nMemFree: 1 kB",
        ] {
            assert_eq!(memory_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn processes_are_counted_against_the_lower_limit() {
        let dir = Scratch::new();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let files = crate::system::files::Files::real();
            files.replace(&path, text.as_bytes(), 0o600).unwrap();
        };
        assert_eq!(pids_below(dir.path()), None);
        put("proc/sys/kernel/pid_max", "32768\n");
        put("proc/sys/kernel/threads-max", "3891\n");
        put("proc/loadavg", "0.00 0.01 0.05 1/123 4567\n");
        let expected = Left {
            left: 3_768,
            total: 3_891,
        };
        assert_eq!(pids_below(dir.path()), Some(expected));
        put("proc/loadavg", "0.00 0.01\n");
        assert_eq!(pids_below(dir.path()), None);
    }

    #[test]
    fn this_machine() {
        for left in [memory(), pids()] {
            let left = left.unwrap();
            assert!(left.left <= left.total && left.total > 0, "{left:?}");
        }
        let room = room(Path::new("/does/not/exist")).unwrap();
        assert!(room.bytes.left <= room.bytes.total);
    }
}
