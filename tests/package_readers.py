"""Reads packages of each format, by itself and strictly, for tests/packages.py."""

import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import zlib
from dataclasses import dataclass, field


@dataclass
class Member:
    """kind: file, folder or link."""

    kind: str
    mode: int
    owner: tuple
    time: int
    content: bytes = b""
    link: str = ""
    pax: dict = field(default_factory=dict)


@dataclass
class Read:
    """files: path -> Member, without folders; fields: what the package says of itself; scripts: name -> content."""

    files: dict
    folders: dict
    fields: dict
    scripts: dict
    kept: list


def members(data, prefix=""):
    """Of a tar: path -> Member, in order, each folder before what is in it."""
    found = {}
    kinds = {tarfile.DIRTYPE: "folder", tarfile.REGTYPE: "file", tarfile.SYMTYPE: "link"}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for one in archive.getmembers():
            assert one.name == prefix.rstrip("/") or one.name.startswith(prefix), f"{one.name} lacks {prefix}"
            path = one.name[len(prefix) :]
            assert path not in found, f"{path} is there twice"
            above = path.rpartition("/")[0]
            assert not above or found[above].kind == "folder", f"{path} comes before its folder"
            content = archive.extractfile(one).read() if one.isfile() else b""
            owner = (one.uid, one.gid, one.uname, one.gname)
            pax = dict(one.pax_headers)
            found[path] = Member(kinds[one.type], one.mode, owner, int(one.mtime), content, one.linkname, pax)
    return found


def gunzip(data):
    """One gzip stream without a name and a time."""
    assert data[:3] == b"\x1f\x8b\x08" and data[3] == 0 and data[4:8] == bytes(4), "gzip with a name or a time"
    return gzip.decompress(data)


def split(found):
    files = {path: member for path, member in found.items() if member.kind != "folder"}
    return files, {path: member for path, member in found.items() if path not in files}


def fields_of(text):
    assert text.endswith("\n")
    pairs = [line.split(": ", 1) for line in text.splitlines() if not line.startswith(" ")]
    assert all(len(pair) == 2 for pair in pairs) and len(dict(pairs)) == len(pairs), text
    return dict(pairs)


def control_of(found):
    texts = {path: member.content for path, member in found.items() if member.kind == "file"}
    scripts = {path: texts.pop(path) for path in ("postinst", "postrm", "prerm") if path in texts}
    for name in scripts:
        assert found[name].mode == 0o755, f"{name} can't be run"
    return fields_of(texts["control"].decode()), scripts, texts["conffiles"].decode().split("\n")[:-1], texts


def ipk(data):
    outer = members(gunzip(data), "./")
    assert list(outer) == ["debian-binary", "data.tar.gz", "control.tar.gz"], list(outer)
    assert outer["debian-binary"].content == b"2.0\n"
    fields, scripts, kept, _ = control_of(members(gunzip(outer["control.tar.gz"].content), "./"))
    files, folders = split(members(gunzip(outer["data.tar.gz"].content), "./"))
    return Read(files, folders, fields, scripts, kept)


def deb(data):
    assert data[:8] == b"!<arch>\n"
    at, parts = 8, {}
    while at < len(data):
        name, time, user, group, mode, size, end = struct.unpack("16s12s6s6s8s10s2s", data[at : at + 60])
        assert end == b"`\n" and (user.strip(), group.strip(), mode.strip()) == (b"0", b"0", b"100644")
        parts[name.decode().strip()] = (data[at + 60 : at + 60 + int(size)], int(time))
        at += 60 + int(size) + int(size) % 2
    assert list(parts) == ["debian-binary", "control.tar.gz", "data.tar.xz"], list(parts)
    assert parts["debian-binary"][0] == b"2.0\n"
    fields, scripts, kept, texts = control_of(members(gunzip(parts["control.tar.gz"][0]), "./"))
    files, folders = split(members(lzma.decompress(parts["data.tar.xz"][0]), "./"))
    sums = dict(reversed(line.split("  ")) for line in texts["md5sums"].decode().splitlines())
    expected = {p: hashlib.md5(m.content).hexdigest() for p, m in files.items() if m.kind == "file" and f"/{p}" not in kept}
    assert sums == expected, sums.items() ^ expected.items()
    return Read(files, folders, fields, scripts, kept)


def alpine(data):
    first = zlib.decompressobj(31)
    control = first.decompress(data)
    assert first.eof, "the control stream is cut short"
    rest = first.unused_data
    whole = members(control + gunzip(rest))
    assert control[-512:] != bytes(512), "the tar ends with its control stream"
    assert list(whole)[0] == ".PKGINFO"
    lines = [line.split(" = ", 1) for line in whole.pop(".PKGINFO").content.decode().splitlines()]
    fields = dict(lines)
    assert len(fields) == len(lines)
    assert fields.pop("datahash") == hashlib.sha256(rest).hexdigest(), "the datahash"
    scripts = {path[1:]: whole.pop(path).content for path in list(whole) if path.startswith(".")}
    files, folders = split(whole)
    for path, member in files.items():
        content = member.link.encode() if member.kind == "link" else member.content
        assert member.pax["APK-TOOLS.checksum.SHA1"] == hashlib.sha1(content).hexdigest(), f"the checksum of {path}"
    return Read(files, folders, fields, scripts, [])


def tar_gz(data):
    return split(members(gunzip(data)))[0]


INFO = "name version hashes description arch license origin maintainer url commit build-time installed-size".split()
LATER = {15: "depends", 16: "provides", 17: "replaces"}
SCRIPTS = {3: "post-install", 4: "pre-deinstall", 6: "pre-upgrade", 7: "post-upgrade"}


def openwrt_apk(data):
    assert data[:4] == b"ADBd"
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflate.decompress(data[4:])
    assert inflate.eof and not inflate.unused_data and plain[:8] == b"ADB.pckg"
    blocks = list(blocks_of(plain, 8))
    assert [kind for kind, _ in blocks] == [0] + [2] * (len(blocks) - 1)
    tree = Tree(blocks[0][1])
    info, paths, scripts = tree.places(tree.root)[1:4]
    places = tree.places(info)
    names = {**dict(enumerate(INFO, 1)), **LATER}
    fields = {names[at]: tree.value(word) for at, word in enumerate(places) if at and word}
    identity = fields.pop("hashes")
    zeroed = tree.data.replace(bytes([20]) + identity, bytes([20]) + bytes(20))
    assert identity == hashlib.sha256(zeroed).digest()[:20], "the identity"
    contents = {struct.unpack("<II", block[:8]): block[8:] for _, block in blocks[1:]}
    files, folders = tree.files(paths, contents)
    assert not contents, f"content of no file: {list(contents)}"
    found = {SCRIPTS[at]: tree.value(word) for at, word in enumerate(tree.places(scripts)) if at and word}
    return Read(files, folders, {key: text(value) for key, value in fields.items()}, found, [])


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def blocks_of(data, at):
    while at < len(data):
        (head,) = struct.unpack_from("<I", data, at)
        size = head & 0x3FFFFFFF
        yield head >> 30, data[at + 4 : at + size]
        assert not any(data[at + size : at + size + -size % 8]), "padding"
        at += size + -size % 8
    assert at == len(data), "cut short"


class Tree:
    """The first block of version 3: words whose upper four bits are a kind."""

    def __init__(self, data):
        self.data = data
        compatible, version, _, self.root = struct.unpack_from("<BBHI", data)
        assert (compatible, version) == (0, 0)

    def places(self, word):
        kind, at = word >> 28, word & 0xFFFFFFF
        assert kind in (0xD, 0xE) and at % 4 == 0, f"{word:#x} is neither array nor object"
        (count,) = struct.unpack_from("<I", self.data, at)
        return struct.unpack_from(f"<{count}I", self.data, at)

    def value(self, word):
        kind, at = word >> 28, word & 0xFFFFFFF
        if kind in (0xD, 0xE):
            return [self.value(inner) for inner in self.places(word)[1:]]
        if kind == 1:
            return at
        if kind in (2, 3):
            return struct.unpack_from("<I" if kind == 2 else "<Q", self.data, at)[0]
        form = {8: "<B", 9: "<H", 10: "<I"}[kind]
        assert at % struct.calcsize(form) == 0
        (length,) = struct.unpack_from(form, self.data, at)
        return self.data[at + struct.calcsize(form) :][:length]

    def files(self, paths, contents):
        """Takes out of contents what belongs to a file."""
        files, folders = {}, {}
        rows = [self.places(word) for word in self.places(paths)[1:]]
        for number, (_, name, acl, *inside) in enumerate(rows, 1):
            folder = self.value(name).decode() if name else ""
            mode, user, group = self.value(acl)
            assert folder > max(folders, default="") or not folders, "folders are not in order"
            folders[folder] = Member("folder", mode, (0, 0, user.decode(), group.decode()), 0)
            last = ""
            for place, word in enumerate(self.places(inside[0])[1:] if inside else [], 1):
                name, member = self.file(word, contents.pop((number, place), b""))
                assert name > last, "files are not in order"
                last = name
                files[f"{folder}/{name}".lstrip("/")] = member
        return files, folders

    def file(self, word, content):
        fields = [self.value(inner) if inner else None for inner in self.places(word)[1:]]
        name, (mode, user, group), size, time, digest, target = (fields + [None] * 6)[:6]
        owner = (0, 0, user.decode(), group.decode())
        if target:
            assert target[:2] == struct.pack("<H", 0o120000)
            return name.decode(), Member("link", mode, owner, time, link=target[2:].decode())
        assert (size, digest) == (len(content), hashlib.sha256(content).digest()), f"the content of {name}"
        return name.decode(), Member("file", mode, owner, time, content)
