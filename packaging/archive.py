"""Writes tar, ar and gzip files whose bytes depend on nothing but what is in them."""

import gzip
import io
import lzma
import os
import tarfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A file, or with `link` a symbolic link. `path` starts at the root, without a slash."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    link: str = ""
    # The administrator's: an upgrade keeps what was changed.
    is_configuration: bool = False


def seconds():
    return int(os.environ.get("SOURCE_DATE_EPOCH") or 0)


def folders_of(entries):
    """Every folder above the entries, each before what is in it."""
    parts = [entry.path.split("/")[:-1] for entry in entries]
    return sorted({"/".join(part[:length]) for part in parts for length in range(1, len(part) + 1)})


def tar(entries, prefix="", folders=True, headers=None, end=bytes(2 * 512), empty=()):
    """prefix: `./` where paths start with it. headers: pax headers of an entry, by a function. end: what ends it.
    empty: folders with nothing in them."""
    made = io.BytesIO()
    kind = tarfile.PAX_FORMAT if headers else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=made, mode="w", format=kind) as archive:
        if folders:
            entries = sorted(entries, key=lambda entry: entry.path)
            empty = [Entry(f"{path}/.") for path in empty]
            for path in ([""] if prefix else []) + folders_of([*entries, *empty]):
                add(archive, prefix + path, tarfile.DIRTYPE, 0o755)
        for entry in entries:
            kind = tarfile.SYMTYPE if entry.link else tarfile.REGTYPE
            mode = 0o777 if entry.link else entry.mode
            pax = headers(entry) if headers else {}
            add(archive, prefix + entry.path, kind, mode, entry.content, entry.link, pax)
        length = archive.offset
    return made.getvalue()[:length] + end


def add(archive, path, kind, mode, content=b"", link="", pax=None):
    member = tarfile.TarInfo(path)
    member.type, member.mode, member.size, member.linkname = kind, mode, len(content), link
    member.uname = member.gname = "root"
    member.mtime = seconds()
    member.pax_headers = pax or {}
    archive.addfile(member, io.BytesIO(content))


def gz(data):
    return gzip.compress(data, compresslevel=9, mtime=0)


def xz(data, machine):
    """For instructions of this machine. At a dictionary of 8 MiB: that much memory it takes to unpack."""
    branches, options = MACHINES.get(machine, (None, {}))
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, **options}
    return lzma.compress(data, filters=[*([{"id": branches}] if branches else []), lzma2])


# Of each target of cross/: the filter for its jumps, which liblzma has had since 5.0, and where its instructions begin.
MACHINES = {
    "armv6": (lzma.FILTER_ARM, {"lc": 2, "lp": 2, "pb": 2}),
    "armv7": (lzma.FILTER_ARMTHUMB, {"lc": 3, "lp": 1, "pb": 1}),
    "x86_64": (lzma.FILTER_X86, {}),
}


def ar(members):
    """members: (name, content)"""
    made = bytearray(b"!<arch>\n")
    for name, content in members:
        made += f"{name:<16}{seconds():<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        made += content + b"\n" * (len(content) % 2)
    return bytes(made)
