//! What this machine is, for whoever keeps a list of machines: facts that stay until it restarts.

use std::path::Path;

use super::{mac_below, read, serial_below};

/// What could not be found out is `unknown`, or none where it is a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// 32 hexadecimal digits that stay while the system stays installed.
    pub id: String,
    /// What the firmware says, where it says it to us; else `id`.
    pub system_uuid: String,
    /// Another one after each start.
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    /// As Go's programs call it: `amd64`, `arm64`, `arm`.
    pub architecture: &'static str,
    pub cpus: Option<u32>,
    /// Bytes.
    pub memory: Option<u64>,
}

impl Machine {
    /// Looks at the machine that this runs on. `digest` makes an id of a serial number.
    pub fn read(digest: impl Fn(&[u8]) -> [u8; 32]) -> Machine {
        Machine::below(Path::new("/"), digest)
    }

    fn below(base: &Path, digest: impl Fn(&[u8]) -> [u8; 32]) -> Machine {
        let id = machine_id(base, digest);
        let first = |paths: &[&str], fits: fn(&str) -> bool| {
            let texts = paths.iter().filter_map(|path| read(base, path));
            texts.map(|text| plain(&text)).find(|text| fits(text))
        };
        let unknown = || UNKNOWN.to_owned();
        Machine {
            system_uuid: first(UUID_FILES, is_uuid)
                .or_else(|| id.clone())
                .unwrap_or_else(unknown),
            boot_id: first(BOOT_ID, is_uuid).unwrap_or_else(unknown),
            kernel: kernel().unwrap_or_else(unknown),
            os_image: os_image(base).unwrap_or_else(unknown),
            architecture: architecture(),
            cpus: cpus(base),
            memory: read(base, "proc/meminfo").and_then(|text| super::usage::total(&text)),
            id: id.unwrap_or_else(unknown),
        }
    }
}

/// That of the system, where it has one, as those with systemd or D-Bus do; else one of what the
/// maker gave the device, so that it is the same after a new installation.
fn machine_id(base: &Path, digest: impl Fn(&[u8]) -> [u8; 32]) -> Option<String> {
    let is_id = |id: &str| {
        let first = id.chars().next();
        let hex = id.chars().all(|c| c.is_ascii_hexdigit());
        id.len() == 32 && hex && !id.chars().all(|c| Some(c) == first)
    };
    // Before its first start an image has the word `uninitialized` there.
    let files = ["etc/machine-id", "var/lib/dbus/machine-id"];
    let found = files.iter().filter_map(|path| read(base, path));
    let found = found.map(|text| plain(&text).to_lowercase());
    found.into_iter().find(|id| is_id(id)).or_else(|| {
        let given = serial_below(base).or_else(|| mac_below(base))?;
        let hash = digest(format!("kubeedge machine {given}").as_bytes());
        Some(
            hash[..16]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    })
}

fn kernel() -> Option<String> {
    let found = nix::sys::utsname::uname().ok()?;
    let release = plain(&found.release().to_string_lossy());
    (!release.is_empty()).then_some(release)
}

/// As the system names itself to people.
fn os_image(base: &Path) -> Option<String> {
    let text = read(base, "etc/os-release").or_else(|| read(base, "usr/lib/os-release"))?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let value = line?.trim().trim_matches(['"', '\'']);
        Some(plain(value)).filter(|value| !value.is_empty())
    };
    value("PRETTY_NAME=").or_else(|| value("NAME="))
}

/// Those that are switched on.
fn cpus(base: &Path) -> Option<u32> {
    let online = read(base, "sys/devices/system/cpu/online").and_then(|text| count(&text));
    let of_stat = || {
        let text = read(base, "proc/stat")?;
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix("cpu").unwrap_or_default();
            rest.starts_with(|c: char| c.is_ascii_digit())
        });
        u32::try_from(lines.count()).ok().filter(|count| *count > 0)
    };
    online.or_else(of_stat)
}

/// How many `0-3,6` are.
fn count(list: &str) -> Option<u32> {
    let mut total: u32 = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        let length = last.checked_sub(first)?.checked_add(1)?;
        total = total.checked_add(length)?;
    }
    (total <= MAX_CPUS).then_some(total)
}

/// As Go's programs call it.
pub fn architecture() -> &'static str {
    let little = cfg!(target_endian = "little");
    match (std::env::consts::ARCH, little) {
        ("x86_64", _) => "amd64",
        ("x86", _) => "386",
        ("aarch64", _) => "arm64",
        ("mips", true) => "mipsle",
        ("mips64", true) => "mips64le",
        ("powerpc64", true) => "ppc64le",
        (other, _) => other,
    }
}

fn is_uuid(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    (32..=36).contains(&text.len()) && text.chars().all(hex)
}

/// On one line, and of bounded length.
fn plain(text: &str) -> String {
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_TEXT).collect()
}

const UNKNOWN: &str = "unknown";
const BOOT_ID: &[&str] = &["proc/sys/kernel/random/boot_id"];
/// That of the first is for root to read.
const UUID_FILES: &[&str] = &["sys/class/dmi/id/product_uuid", "proc/device-tree/vm,uuid"];
const MAX_TEXT: usize = 200;
/// More than any kernel has.
const MAX_CPUS: u32 = 8_192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    fn put(base: &Path, path: &str, text: &str) {
        let path = base.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        crate::system::files::Files::real()
            .replace(&path, text.as_bytes(), 0o600)
            .unwrap();
    }

    fn digest(bytes: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        for (at, byte) in bytes.iter().enumerate() {
            hash[at % 32] ^= byte;
        }
        hash
    }

    #[test]
    fn a_machine_that_tells_nothing_is_unknown_and_no_failure() {
        let dir = Scratch::new();
        let machine = Machine::below(dir.path(), digest);
        for text in [
            &machine.id,
            &machine.system_uuid,
            &machine.boot_id,
            &machine.os_image,
        ] {
            assert_eq!(text, "unknown");
        }
        assert_eq!((machine.cpus, machine.memory), (None, None));
        assert_ne!(machine.kernel, "");
    }

    #[test]
    fn a_machine_that_tells_all() {
        let dir = Scratch::new();
        let base = dir.path();
        put(base, "etc/machine-id", "3D1219c7c4c5404aaa1f6d2a48adfda4\n");
        put(
            base,
            "sys/class/dmi/id/product_uuid",
            "4c4c4544-0034-3610-8052-b9c04f4e3332\n",
        );
        let boot = "ddcac37f-398c-42d6-9a64-4e58f123e6d5";
        put(base, "proc/sys/kernel/random/boot_id", boot);
        let release = "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n";
        put(base, "etc/os-release", release);
        put(base, "sys/devices/system/cpu/online", "0-1,3\n");
        put(base, "proc/meminfo", "MemTotal:       24684084 kB\n");
        let machine = Machine::below(base, digest);
        assert_eq!(machine.id, "3d1219c7c4c5404aaa1f6d2a48adfda4");
        assert_eq!(machine.system_uuid, "4c4c4544-0034-3610-8052-b9c04f4e3332");
        assert_eq!(machine.boot_id, boot);
        assert_eq!(machine.os_image, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(machine.cpus, Some(3));
        assert_eq!(machine.memory, Some(24_684_084 * 1_024));
    }

    #[test]
    fn ids_without_a_machine_id_are_of_the_serial_or_the_card() {
        let dir = Scratch::new();
        let base = dir.path();
        let id = || Machine::below(base, digest).id;
        for none in ["uninitialized\n", "", "00000000000000000000000000000000"] {
            put(base, "etc/machine-id", none);
            assert_eq!(id(), "unknown", "{none}");
        }
        put(base, "sys/class/net/eth0/address", "b8:27:eb:00:00:02\n");
        let of_card = id();
        assert_eq!(of_card.len(), 32);
        assert_eq!(id(), of_card, "the same each time");
        put(base, "proc/cpuinfo", "Serial\t\t: 00000000abcd1234\n");
        let of_serial = id();
        assert_ne!(of_serial, of_card);
        assert_eq!(Machine::below(base, digest).system_uuid, of_serial);
        assert!(!of_serial.contains("abcd1234"), "no serial number is told");
    }

    #[test]
    fn files_may_hold_anything() {
        let dir = Scratch::new();
        let base = dir.path();
        put(base, "sys/devices/system/cpu/online", "0-4294967295\n");
        put(base, "proc/stat", "cpu  1 2\ncpu0 1\ncpu1 1\nctxt 7\n");
        put(
            base,
            "etc/os-release",
            &format!("NAME='{}'", "x\u{1b}".repeat(999)),
        );
        put(base, "proc/meminfo", "MemTotal: many kB\n");
        let machine = Machine::below(base, digest);
        assert_eq!(machine.cpus, Some(2));
        assert_eq!(machine.memory, None);
        assert_eq!(machine.os_image.chars().count(), 200);
        assert!(!machine.os_image.contains('\u{1b}'));
        for bad in ["", "a", "3-1", "0-", "0,,1"] {
            assert_eq!(count(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn this_machine() {
        let machine = Machine::read(digest);
        assert!(machine.cpus.is_some_and(|count| count > 0));
        assert!(machine.memory.is_some_and(|bytes| bytes > 1 << 20));
    }
}
