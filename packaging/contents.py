"""What a package is, and which files it brings to which system."""

import os
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass

from archive import Entry

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The folder that init-scripts/ name, which stands for wherever the executable is.
LOOSE = "/usr/local/bin"
FLAVOURS = {"full": "kubeedge", "edge": "kubeedge-edge"}
ROLES = {"full": ["cloudcore", "edgecore", "keadm"], "edge": ["edgecore", "keadm"]}
SUMMARY = {
    "full": "keadm, cloudcore and edgecore of KubeEdge in one static file",
    "edge": "keadm and edgecore of KubeEdge in one static file, for devices",
}
# StateDirectory= and LogsDirectory= of the units: on a root that can't be written to systemd could not make them, and would
# start nothing.
DEBIAN_FOLDERS = ["var/lib/kubeedge", "var/log/kubeedge"]


class Fault(Exception):
    """One sentence for the person who runs it."""


@dataclass(frozen=True)
class Package:
    flavour: str
    version: str
    # A file of cross/.
    target: str
    executable: bytes

    @property
    def name(self):
        return FLAVOURS[self.flavour]

    @property
    def other(self):
        """What can't be installed beside it: it has the same files."""
        (name,) = set(FLAVOURS.values()) - {self.name}
        return name

    @property
    def services(self):
        return [role for role in ROLES[self.flavour] if role != "keadm"]

    @property
    def summary(self):
        return SUMMARY[self.flavour]


def load(dist, version, flavour, target):
    """The executable, if it is one for its target."""
    middle = {"full": "", "edge": "edge-"}[flavour]
    path = f"{dist}/kubeedge-{version}-{middle}{target}"
    expected = shlex.split(of_target(target)["elf"])
    try:
        with open(path, "rb") as file:
            executable = file.read()
    except FileNotFoundError:
        option = {"full": "", "edge": "--edge "}[flavour]
        raise Fault(f"there is no {path}: run ./musl-build.sh {option}{target} first") from None
    check = subprocess.run([sys.executable, f"{TOP}/cross/elf.py", path, *expected], capture_output=True, text=True)
    if check.returncode:
        raise Fault(f"not an executable for {target}: {check.stderr.strip() or check.stdout.strip()}")
    return Package(flavour, version, target, executable)


def of_target(target):
    try:
        with open(f"{TOP}/cross/{target}.conf") as file:
            lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    except FileNotFoundError:
        raise Fault(f"unknown target {target}: cross/ has no {target}.conf") from None
    return {key: value.strip('"') for key, value in (line.split("=", 1) for line in lines)}


def cargo():
    with open(f"{TOP}/Cargo.toml", "rb") as file:
        return tomllib.load(file)["package"]


def programs(package):
    links = [Entry(f"usr/bin/{role}", link="kubeedge") for role in ROLES[package.flavour]]
    return [Entry("usr/bin/kubeedge", package.executable, 0o755), *links]


def openwrt(package):
    scripts = [Entry(f"etc/init.d/{role}", init_script(f"procd/{role}"), 0o755) for role in package.services]
    return [
        *programs(package),
        *scripts,
        Entry("etc/config/kubeedge", init_script("procd/kubeedge.config"), 0o600, is_configuration=True),
        Entry("lib/upgrade/keep.d/kubeedge", init_script("procd/keep.d")),
    ]


def alpine(package):
    entries = programs(package)
    for role in package.services:
        entries.append(Entry(f"etc/init.d/{role}", init_script(f"openrc/{role}"), 0o755))
        settings = init_script(f"openrc/{role}.confd")
        entries.append(Entry(f"etc/conf.d/{role}", settings, is_configuration=True))
    return entries


def debian(package):
    entries = programs(package)
    for role in package.services:
        unit = init_script(f"systemd/{role}.service")
        if package.flavour == "edge":
            unit = without_own_folder(unit)
        entries.append(Entry(f"lib/systemd/system/{role}.service", unit))
        settings = read(f"packaging/debian/{role}.default")
        entries.append(Entry(f"etc/default/{role}", settings, is_configuration=True))
    condition = "lib/systemd/system/edgecore.service.d/package.conf"
    return [*entries, Entry(condition, read("packaging/debian/edgecore.conf"))]


def without_own_folder(unit):
    """Of an executable that never replaces itself."""
    before, found, after = unit.partition(b"ReadWritePaths=-/usr/bin\n")
    if not found:
        raise Fault("init-scripts/systemd/edgecore.service has no line ReadWritePaths=-/usr/local/bin of its own")
    *kept, comment = before.splitlines(keepends=True)
    return b"".join(kept) + (b"" if comment.startswith(b"#") else comment) + after


def init_script(name):
    return read(f"init-scripts/{name}").replace(LOOSE.encode(), b"/usr/bin")


def read(path):
    with open(f"{TOP}/{path}", "rb") as file:
        return file.read()


def installed_size(entries):
    """Bytes, without what the file system adds."""
    return sum(len(entry.content) for entry in entries)
