//! Facts about this device. What can't be found out is unknown, and never a failure.

pub mod machine;
pub mod usage;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::statfs;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};

use crate::system::names::{NameError, NodeName};

/// In lower case; empty when the system has none.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().to_lowercase()
}

/// Whether Linux is older than this version; an unknown one is not.
pub fn kernel_is_before(major: u32, minor: u32) -> bool {
    let release = nix::sys::utsname::uname().ok();
    release.is_some_and(|it| is_before(&it.release().to_string_lossy(), (major, minor)))
}

fn is_before(release: &str, wanted: (u32, u32)) -> bool {
    let mut parts = release.split(['.', '-', '+']).map(|part| part.parse().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < wanted,
        _ => false,
    }
}

/// The serial number that the maker gave the device.
pub fn serial() -> Option<String> {
    serial_below(Path::new("/"))
}

/// The address of the first network card, as `02:00:5e:10:00:01`; real cards come first.
pub fn mac() -> Option<String> {
    mac_below(Path::new("/"))
}

/// The name a node gets when the operator gives none: the host name, made unique by six
/// characters of serial or MAC when it is one that systems come with.
pub fn default_node_name() -> Result<NodeName, NameError> {
    node_name(&host_name(), || serial().or_else(mac))
}

/// Whether `path`, or where it would be made, is in memory only and gone after a restart.
pub fn is_tmpfs(path: &Path) -> bool {
    let Ok(found) = statfs(existing(path)) else {
        return false;
    };
    // The type of the number differs by target; the magic numbers have 32 bits.
    let magic = found.filesystem_type().0 as u32;
    magic == TMPFS_MAGIC || magic == RAMFS_MAGIC
}

/// Whether `path`, or where it would be made, is on something that nobody can write to.
pub fn is_read_only(path: &Path) -> bool {
    let found = statvfs(existing(path));
    found.is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

/// Whether we may make files in `path`, or where it would be made; the error says why not.
pub fn check_writable(path: &Path) -> io::Result<()> {
    let found = existing(path);
    match found.is_dir() {
        true => Ok(access(found, AccessFlags::W_OK | AccessFlags::X_OK)?),
        false => Err(Errno::ENOTDIR.into()),
    }
}

/// Bytes that we may still write where `path` is or would be made.
#[allow(clippy::useless_conversion)] // 32 bits on some targets.
pub fn free_space(path: &Path) -> Option<u64> {
    let found = statvfs(existing(path)).ok()?;
    u64::from(found.blocks_available()).checked_mul(u64::from(found.fragment_size()))
}

fn node_name(host: &str, unique: impl FnOnce() -> Option<String>) -> Result<NodeName, NameError> {
    // Underscores are common in host names, but not allowed in names of nodes.
    let host = host.trim_matches(['.', '-', '_', ' ']).replace('_', "-");
    let first = host.split('.').next().unwrap_or_default();
    let is_stock = STOCK_NAMES.contains(&first);
    if !is_stock {
        return host.parse();
    }
    let base = if first.is_empty() || first.starts_with('(') {
        FALLBACK_NAME
    } else {
        first
    };
    match unique().and_then(|unique| last_six(&unique)) {
        Some(suffix) => format!("{base}-{suffix}").parse(),
        None => base.parse(),
    }
}

fn last_six(text: &str) -> Option<String> {
    let plain: Vec<char> = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let last = plain.get(plain.len().checked_sub(6)?..)?;
    Some(last.iter().map(char::to_ascii_lowercase).collect())
}

/// The same of a system whose `/` is `base`.
pub fn serial_below(base: &Path) -> Option<String> {
    let files = SERIAL_FILES.iter().filter_map(|path| read(base, path));
    let of_cpu = || {
        let text = read(base, "proc/cpuinfo")?;
        let line = text.lines().find(|line| line.starts_with("Serial"))?;
        Some(line.split_once(':')?.1.to_owned())
    };
    let clean = |text: String| {
        text.trim_matches(|c: char| c == '\0' || c.is_whitespace())
            .to_owned()
    };
    files
        .map(clean)
        .find(|serial| is_real_serial(serial))
        .or_else(|| of_cpu().map(clean).filter(|serial| is_real_serial(serial)))
}

/// Makers of boards leave all kinds of fillers.
fn is_real_serial(serial: &str) -> bool {
    let lower = serial.to_lowercase();
    let first = lower.chars().next();
    let is_filler = FILLERS.iter().any(|filler| lower.contains(filler));
    let is_uniform = lower.chars().all(|c| Some(c) == first);
    lower.len() >= 6 && lower.is_ascii() && !is_filler && !is_uniform
}

/// The same of a system whose `/` is `base`.
pub fn mac_below(base: &Path) -> Option<String> {
    let net = base.join("sys/class/net");
    let mut cards: Vec<_> = fs::read_dir(&net)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !VIRTUAL_CARDS.iter().any(|prefix| name.starts_with(prefix)))
        .filter_map(|name| {
            let mac = mac_of(base, &name)?;
            let first = u8::from_str_radix(mac.get(..2)?, 16).ok()?;
            let is_local = first & 0b10 != 0;
            let is_virtual = !net.join(&name).join("device").exists();
            Some((is_local, is_virtual, name, mac))
        })
        .collect();
    cards.sort();
    cards.into_iter().next().map(|(_, _, _, mac)| mac)
}

/// The address of the network card of this name.
pub fn mac_of(base: &Path, card: &str) -> Option<String> {
    let mac = read(base, &format!("sys/class/net/{card}/address"))?;
    let mac = mac.trim().to_lowercase();
    let is_mac = mac.len() == 17 && mac != "00:00:00:00:00:00" && mac != "ff:ff:ff:ff:ff:ff";
    is_mac.then_some(mac)
}

/// The host name that a system has in its files.
pub fn host_name_below(base: &Path) -> Option<String> {
    read(base, "etc/hostname").map(|name| name.trim().to_lowercase())
}

fn read(base: &Path, path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(base.join(path)).ok()?;
    file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The nearest folder above that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
}

/// Host names that images come with.
const STOCK_NAMES: &[&str] = &[
    "",
    "(none)",
    "alpine",
    "arch",
    "archlinux",
    "armbian",
    "beaglebone",
    "buildroot",
    "debian",
    "dietpi",
    "fedora",
    "kubeedge",
    "lede",
    "linaro-alip",
    "linux",
    "localhost",
    "nixos",
    "openwrt",
    "orangepi",
    "orangepizero",
    "raspberry",
    "raspberrypi",
    "rockchip",
    "ubuntu",
    "void",
    "yocto",
];
/// For a device without any name.
const FALLBACK_NAME: &str = "edge";
const SERIAL_FILES: &[&str] = &[
    "proc/device-tree/serial-number",
    "sys/firmware/devicetree/base/serial-number",
    "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/board_serial",
];
const FILLERS: &[&str] = &[
    "0123456789",
    "123456789",
    "default",
    "invalid",
    "none",
    "not applicable",
    "not available",
    "not specified",
    "o.e.m",
    "oem",
    "serial",
    "unknown",
];
const VIRTUAL_CARDS: &[&str] = &[
    "bond", "br", "cali", "cni", "docker", "dummy", "edgemesh", "flannel", "ifb", "lo", "sit",
    "tap", "tun", "veth", "virbr", "wg",
];
/// More is read of none of these files; `/proc/cpuinfo` of large machines is longer, but begins alike.
const MAX_FILE: u64 = 256 << 10;
const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58f6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    fn put(base: &Path, path: &str, text: &str) {
        let path = base.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        crate::system::files::Files::real()
            .replace(&path, text.as_bytes(), 0o600)
            .unwrap();
    }

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, before) in [
            ("3.10.108", true),
            ("4.14-rc1", true),
            ("5.6.19-v7l+", true),
            ("5.7", false),
            ("5.10.0-32-armmp", false),
            ("6.1", false),
            ("strange", false),
            ("", false),
        ] {
            assert_eq!(is_before(release, (5, 7)), before, "{release}");
        }
    }

    #[test]
    fn node_names() {
        let serial = || Some("10000000ABCDEF01".to_owned());
        for (host, name) in [
            ("pump-7", "pump-7"),
            ("pump_7.lab", "pump-7.lab"),
            ("raspberrypi", "raspberrypi-cdef01"),
            ("localhost.localdomain", "localhost-cdef01"),
            ("openwrt.lan", "openwrt-cdef01"),
            ("(none)", "edge-cdef01"),
            ("", "edge-cdef01"),
        ] {
            assert_eq!(node_name(host, serial).unwrap().as_str(), name, "{host:?}");
        }
        assert_eq!(node_name("debian", || None).unwrap().as_str(), "debian");
        let mac = || Some("b8:27:eb:12:34:56".to_owned());
        assert_eq!(node_name("debian", mac).unwrap().as_str(), "debian-123456");
        assert!(node_name("müller", serial).is_err());
        assert_eq!(last_six("12:34"), None);
    }

    #[test]
    fn serials_skip_fillers() {
        let dir = Scratch::new();
        assert_eq!(serial_below(dir.path()), None);
        put(
            dir.path(),
            "proc/cpuinfo",
            "Model\t: x\nSerial\t\t: 00000000abcd1234\n",
        );
        assert_eq!(serial_below(dir.path()).unwrap(), "00000000abcd1234");
        for filler in [
            "To be filled by O.E.M.",
            "Default string",
            "0000000000",
            "None",
            "",
        ] {
            put(dir.path(), "sys/class/dmi/id/product_serial", filler);
            assert_eq!(
                serial_below(dir.path()).unwrap(),
                "00000000abcd1234",
                "{filler}"
            );
        }
        put(
            dir.path(),
            "proc/device-tree/serial-number",
            "1000000012345678\0",
        );
        assert_eq!(serial_below(dir.path()).unwrap(), "1000000012345678");
    }

    #[test]
    fn macs_of_real_cards_come_first() {
        let dir = Scratch::new();
        assert_eq!(mac_below(dir.path()), None);
        for (name, mac) in [
            ("lo", "00:00:00:00:00:00"),
            ("docker0", "00:42:00:00:00:01"),
            ("aaa0", "02:42:00:00:00:01"),
            ("usb0", "b8:27:eb:00:00:02"),
            ("wlan0", "B8:27:EB:00:00:03"),
        ] {
            put(
                dir.path(),
                &format!("sys/class/net/{name}/address"),
                &format!("{mac}\n"),
            );
        }
        assert_eq!(mac_below(dir.path()).unwrap(), "b8:27:eb:00:00:02");
        put(dir.path(), "sys/class/net/wlan0/device", "");
        assert_eq!(mac_below(dir.path()).unwrap(), "b8:27:eb:00:00:03");
    }

    #[test]
    fn this_machine() {
        assert!(free_space(Path::new("/does/not/exist")).is_some());
        assert!(!is_tmpfs(Path::new("/proc")));
        let memory = Path::new("/dev/shm");
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        if mounts.lines().any(|line| line.contains(" /dev/shm tmpfs ")) {
            assert!(is_tmpfs(&memory.join("not/yet")));
        }
        assert_eq!(host_name(), host_name().to_lowercase());
    }
}
