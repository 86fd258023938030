"""Debian, Raspberry Pi OS, Ubuntu: .deb, an ar of two compressed tars."""

import datetime
import hashlib
import os

import contents
from archive import Entry, ar, gz, seconds, tar, xz

# armhf is ARMv7 in Debian, and ARMv6 in Raspberry Pi OS: one package name, two files.
TARGETS = {"x86_64": "amd64", "aarch64": "arm64", "armv7": "armhf", "armv6": "armhf", "riscv64": "riscv64"}
SUFFIX = {"armv6": "-armv6"}
REVISION = "1"
MAINTAINER = "kubeedge maintainers <maintainers@kubeedge.invalid>"
DESCRIPTION = """\
 Connects devices to a cloud with the protocol of KubeEdge. The executable is
 static: it needs neither a container runtime nor a certain libc.
"""


def make(package):
    if package.target not in TARGETS:
        return
    architecture = TARGETS[package.target]
    version = f"{package.version}-{REVISION}"
    entries = contents.debian(package) + papers(package, version)
    members = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", gz(control(package, version, architecture, entries))),
        ("data.tar.xz", xz(tar(entries, prefix="./", empty=contents.DEBIAN_FOLDERS), package.target)),
    ]
    suffix = SUFFIX.get(package.target, "")
    yield f"{package.name}_{version}_{architecture}{suffix}.deb", ar(members)


def maintainer():
    return os.environ.get("MAINTAINER") or MAINTAINER


def papers(package, version):
    moment = datetime.datetime.fromtimestamp(seconds(), datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S +0000")
    changes = (
        f"{package.name} ({version}) unstable; urgency=medium\n\n"
        f"  * kubeedge {package.version}: CHANGELOG and git tell what is new.\n\n"
        f" -- {maintainer()}  {moment}\n"
    )
    overrides = "".join(
        f"{package.name}: {tag}\n" for tag in ("statically-linked-binary", "no-manual-page", "initial-upload-closes-no-bugs")
    )
    folder = f"usr/share/doc/{package.name}"
    return [
        Entry(f"{folder}/changelog.Debian.gz", gz(changes.encode())),
        Entry(f"{folder}/copyright", contents.read("packaging/debian/copyright")),
        Entry(f"usr/share/lintian/overrides/{package.name}", overrides.encode()),
    ]


def control(package, version, architecture, entries):
    fields = {
        "Package": package.name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": maintainer(),
        # KiB, rounded up for each file as policy has it.
        "Installed-Size": sum(-(-len(entry.content) // 1024) or 1 for entry in entries),
        # Each takes the place of the other.
        "Provides": package.other,
        "Conflicts": package.other,
        "Replaces": package.other,
        "Section": "net",
        "Priority": "optional",
        "Description": f"{package.summary}\n{DESCRIPTION}".rstrip(),
    }
    kept = "".join(f"/{entry.path}\n" for entry in entries if entry.is_configuration)
    sums = "".join(
        f"{hashlib.md5(entry.content).hexdigest()}  {entry.path}\n"
        for entry in sorted(entries, key=lambda entry: entry.path)
        if not entry.link and not entry.is_configuration
    )
    scripts = [
        Entry(name, contents.read(f"packaging/debian/{name}"), 0o755) for name in ("postinst", "postrm", "prerm")
    ]
    texts = {
        "control": "".join(f"{key}: {value}\n" for key, value in fields.items()),
        "conffiles": kept,
        "md5sums": sums,
    }
    return tar([*scripts, *(Entry(name, text.encode()) for name, text in texts.items())], prefix="./")
