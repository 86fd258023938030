"""Alpine: .apk of version 2, two gzip streams, control and data, that form one tar."""

import hashlib

import contents
from archive import Entry, gz, seconds, tar
from deb import maintainer

TARGETS = {"x86_64": "x86_64", "aarch64": "aarch64", "armv7": "armv7", "armv6": "armhf", "riscv64": "riscv64"}
RELEASE = "r0"
SCRIPTS = ["post-install", "post-upgrade", "pre-deinstall"]


def make(package):
    if package.target not in TARGETS:
        return
    architecture = TARGETS[package.target]
    version = f"{package.version}-{RELEASE}"
    entries = contents.alpine(package)
    data = gz(tar(entries, headers=checksum))
    # No end-of-archive in between: the two streams are one tar.
    control = gz(tar(control_files(package, version, architecture, entries, data), folders=False, end=b""))
    yield f"{package.name}-{version}.alpine-{architecture}.apk", control + data


def checksum(entry):
    """As apk wants it for every file; of a link, of where it leads."""
    content = entry.link.encode() if entry.link else entry.content
    return {"APK-TOOLS.checksum.SHA1": hashlib.sha1(content).hexdigest()}


def control_files(package, version, architecture, entries, data):
    fields = [
        ("pkgname", package.name),
        ("pkgver", version),
        ("pkgdesc", package.summary),
        ("url", contents.cargo().get("repository", "https://kubeedge.io")),
        ("builddate", seconds()),
        ("packager", maintainer()),
        ("size", contents.installed_size(entries)),
        ("arch", architecture),
        ("origin", "kubeedge"),
        ("maintainer", maintainer()),
        ("license", contents.cargo()["license"]),
        ("replaces", package.other),
        # With a version it is a conflict as well: only one of the two can be there.
        ("provides", f"{package.other}={version}"),
        ("datahash", hashlib.sha256(data).hexdigest()),
    ]
    information = "".join(f"{key} = {value}\n" for key, value in fields)
    return [
        Entry(".PKGINFO", information.encode()),
        *(Entry(f".{name}", contents.read(f"packaging/alpine/{name}"), 0o755) for name in SCRIPTS),
    ]
