"""OpenWrt from 25.12: .apk of version 3."""

import hashlib
import stat
import struct

import adb
import contents
import ipk
from archive import Entry, folders_of, seconds
from deb import maintainer

ID_LENGTH = 20


def make(package):
    version = f"{package.version}-{ipk.RELEASE}"
    entries = contents.openwrt(package)
    entries += lists(package, entries)
    for architecture in ipk.TARGETS.get(package.target, []):
        name = f"{package.name}-{version}.openwrt-{architecture}.apk"
        yield name, pack(package, version, architecture, entries)


def lists(package, entries):
    """What OpenWrt's own functions and sysupgrade ask for, where opkg had its own folder."""
    folder = f"lib/apk/packages/{package.name}"
    kept = [entry for entry in entries if entry.is_configuration]
    sums = "".join(f"/{entry.path} {hashlib.sha256(entry.content).hexdigest()}\n" for entry in kept)
    return [
        Entry(f"{folder}.list", "".join(f"/{path}\n" for path in sorted(entry.path for entry in entries)).encode()),
        Entry(f"{folder}.conffiles", "".join(f"/{entry.path}\n" for entry in kept).encode()),
        Entry(f"{folder}.conffiles_static", sums.encode()),
    ]


def pack(package, version, architecture, entries):
    tree = adb.Tree()
    paths, files = folders(tree, entries)
    # Its place is known before its value is: the start of the hash of all this with zeros there.
    unknown = bytes(ID_LENGTH)
    other = tree.object(_1=tree.blob(package.other), _2=tree.blob(version))
    information = tree.object(
        _1=tree.blob(package.name),
        _2=tree.blob(version),
        _3=tree.blob(unknown),
        _4=tree.blob(package.summary),
        _5=tree.blob(architecture),
        _6=tree.blob(contents.cargo()["license"]),
        _7=tree.blob("kubeedge"),
        _8=tree.blob(maintainer()),
        _11=tree.number(seconds()),
        _12=tree.number(contents.installed_size(entries)),
        # With a version it is a conflict as well: only one of the two can be there.
        _16=tree.array([other]),
        _17=tree.array([tree.object(_1=tree.blob(package.other))]),
    )
    done = tree.finish(tree.object(_1=information, _2=paths, _3=scripts(tree, package)))
    at = done.index(bytes([ID_LENGTH]) + unknown) + 1
    done[at : at + ID_LENGTH] = hashlib.sha256(done).digest()[:ID_LENGTH]
    return adb.package(done, files)


def folders(tree, entries):
    """The words of all folders with their files, and what adb.package wants to know of each content."""
    words, files = [], []
    acl = access(tree, 0o755)
    for number, folder in enumerate(["", *folders_of(entries)], 1):
        inside = sorted((name(entry), entry) for entry in entries if parent(entry) == folder)
        members = tree.array([file(tree, entry) for _, entry in inside])
        words.append(tree.object(_1=tree.blob(folder), _2=acl, _3=members))
        files += [(number, place, entry.content) for place, (_, entry) in enumerate(inside, 1) if entry.content]
    return tree.array(words), files


def file(tree, entry):
    if entry.link:
        target = struct.pack("<H", stat.S_IFLNK) + entry.link.encode()
        kind = {"_3": tree.number(len(entry.link)), "_6": tree.blob(target)}
    else:
        digest = hashlib.sha256(entry.content).digest()
        kind = {"_3": tree.number(len(entry.content)), "_5": tree.blob(digest)}
    mode = 0o777 if entry.link else entry.mode
    return tree.object(_1=tree.blob(name(entry)), _2=access(tree, mode), _4=tree.number(seconds()), **kind)


def access(tree, mode):
    root = tree.blob("root")
    return tree.object(_1=tree.number(mode), _2=root, _3=root)


def name(entry):
    return entry.path.rpartition("/")[2]


def parent(entry):
    return entry.path.rpartition("/")[0]


def scripts(tree, package):
    """Before an upgrade the service is stopped: procd goes on with what it runs when it is only started again."""
    install, remove = script(package, "postinst"), script(package, "prerm")
    before, after = script(package, "prerm", upgrade=True), script(package, "postinst", upgrade=True)
    return tree.object(_3=tree.blob(install), _4=tree.blob(remove), _6=tree.blob(before), _7=tree.blob(after))


def script(package, name, upgrade=False):
    first, rest = contents.read(f"packaging/openwrt/{name}").decode().split("\n", 1)
    known = f"export pkgname={package.name}" + (" PKG_UPGRADE=1" if upgrade else "")
    return f"{first}\n{known}\n{rest}"
