#!/usr/bin/env python3
"""The container image that `musl-build.sh --image` writes, read member by member, and what it refuses.

usage: tests/image.py          of stand-ins for executables; with skopeo too, where it is installed
       tests/image.py --built  of the image in dist/, whose cloudcore then runs from it as the image says (as root)
Ends with `N passed, N failed`.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import elf_samples

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMIT = 120  # seconds for one command
EPOCH, MOMENT = 1_700_000_000, "2023-11-14T22:13:20Z"
TARGETS = {
    "x86_64": {"architecture": "amd64", "os": "linux"},
    "aarch64": {"architecture": "arm64", "os": "linux"},
    "armv7": {"architecture": "arm", "os": "linux", "variant": "v7"},
}
OCI = "application/vnd.oci.image."
# path -> kind, mode, owner and group, where a link leads
MEMBERS = {
    "etc": ("folder", 0o755, 0, ""),
    "etc/kubeedge": ("folder", 0o755, 65532, ""),
    "kubeedge": ("file", 0o755, 0, ""),
    "run": ("folder", 0o755, 0, ""),
    "run/kubeedge": ("folder", 0o755, 65532, ""),
    "usr": ("folder", 0o755, 0, ""),
    "usr/local": ("folder", 0o755, 0, ""),
    "usr/local/bin": ("folder", 0o755, 0, ""),
    "usr/local/bin/cloudcore": ("link", 0o777, 0, "/kubeedge"),
    "usr/local/bin/edgecore": ("link", 0o777, 0, "/kubeedge"),
    "usr/local/bin/keadm": ("link", 0o777, 0, "/kubeedge"),
    "var": ("folder", 0o755, 0, ""),
    "var/lib": ("folder", 0o755, 0, ""),
    "var/lib/kubeedge": ("folder", 0o755, 65532, ""),
}
KINDS = {tarfile.DIRTYPE: "folder", tarfile.REGTYPE: "file", tarfile.SYMTYPE: "link"}


class Image:
    """A layout in a tar. Every blob that is asked for is compared with its descriptor first."""

    def __init__(self, path):
        self.path = path
        with tarfile.open(path, mode="r:") as archive:
            members = archive.getmembers()
            self.members = {member.name: member for member in members}
            assert len(self.members) == len(members), "a member is there twice"
            self.data = {m.name: archive.extractfile(m).read() for m in members if m.isfile()}
        self.used = set()
        (entry,) = self.json("index.json")["manifests"]
        self.names = entry["annotations"]
        self.index = json.loads(self.blob(entry, "index.v1+json"))
        # platform -> manifest, configuration, layer
        self.images = []
        for descriptor in self.index["manifests"]:
            manifest = json.loads(self.blob(descriptor, "manifest.v1+json"))
            (layer,) = manifest["layers"]
            config = json.loads(self.blob(manifest["config"], "config.v1+json"))
            layer = self.blob(layer, "layer.v1.tar+gzip")
            self.images.append((descriptor["platform"], manifest, config, layer))

    def json(self, name):
        return json.loads(self.data[name])

    def blob(self, descriptor, kind):
        assert descriptor["mediaType"] == OCI + kind, f"{descriptor['mediaType']} is not {kind}"
        name = "blobs/" + descriptor["digest"].replace(":", "/")
        data = self.data[name]
        assert descriptor["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}", f"the digest of {name}"
        assert descriptor["size"] == len(data), f"the size of {name}"
        self.used.add(name)
        return data


def layout(image, version):
    assert image.json("oci-layout") == {"imageLayoutVersion": "1.0.0"}
    assert image.json("index.json")["schemaVersion"] == 2
    rest = {"blobs", "blobs/sha256", "oci-layout", "index.json", "manifest.json"}
    assert set(image.members) == image.used | rest, f"{set(image.members) ^ (image.used | rest)}"
    for member in image.members.values():
        expected = 0o755 if member.isdir() else 0o644
        assert (member.mode, member.uid, member.gid) == (expected, 0, 0), f"{member.name}: mode or owner"
    assert image.names == {
        "io.containerd.image.name": f"localhost/kubeedge:{version}",
        "org.opencontainers.image.ref.name": version,
    }


def platforms(image, targets):
    assert image.index["schemaVersion"] == 2 and image.index["mediaType"] == OCI + "index.v1+json"
    assert [platform for platform, *_ in image.images] == [TARGETS[target] for target in targets]
    for _, manifest, _, _ in image.images:
        assert manifest["schemaVersion"] == 2 and manifest["mediaType"] == OCI + "manifest.v1+json"


def layers(image, executables, moment):
    for (platform, _, _, layer), executable in zip(image.images, executables, strict=True):
        # No name and no time of its own: RFC 1952.
        assert layer[:3] == b"\x1f\x8b\x08" and layer[3] == 0 and layer[4:8] == bytes(4), f"{platform}: gzip"
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer)), mode="r:") as archive:
            members = archive.getmembers()
            content = archive.extractfile("kubeedge").read()
        assert content == executable, f"{platform}: another executable"
        found = {m.name: (KINDS.get(m.type), m.mode, m.uid, m.linkname) for m in members}
        assert found == MEMBERS, f"{platform}: {found.items() ^ MEMBERS.items()}"
        assert len(members) == len(found), f"{platform}: a member is there twice"
        names = [m.name for m in members]
        for m in members:
            assert m.gid == m.uid and (m.uname, m.gname) == ("", ""), f"{platform}: the owner of {m.name}"
            assert moment is None or m.mtime == moment, f"{platform}: the time of {m.name}"
            folder = os.path.dirname(m.name)
            assert not folder or folder in names[: names.index(m.name)], f"{m.name} comes before its folder"


def configurations(image, version, moment):
    labels = {
        "org.opencontainers.image.title": "kubeedge",
        "org.opencontainers.image.description": re.search(r'(?m)^description = "(.*)"$', cargo_toml())[1],
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    source = re.search(r'(?m)^repository = "(.*)"$', cargo_toml())
    if source:
        labels["org.opencontainers.image.source"] = source[1]
    assert image.index["annotations"] == labels
    for platform, _, config, layer in image.images:
        expected = {
            "created": moment or config["created"],
            **platform,
            "config": {
                "User": "65532:65532",
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": ["/kubeedge"],
                "Cmd": ["cloudcore"],
                "WorkingDir": "/",
                "Labels": labels,
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}"],
            },
            # One step for the one layer.
            "history": [
                {
                    "created": moment or config["created"],
                    "created_by": f"kubeedge {version}, its links and its folders",
                }
            ],
        }
        assert config == expected, f"{config} is not {expected}"


def dockers_list(image, version):
    """manifest.json, from which Docker loads what it keeps in its older store: a tag per platform."""
    expected = []
    for platform, manifest, _, _ in image.images:
        tag = "-".join([version, *(platform[key] for key in ("architecture", "variant") if key in platform)])
        path = lambda descriptor: "blobs/" + descriptor["digest"].replace(":", "/")
        paths = {"Config": path(manifest["config"]), "Layers": [path(it) for it in manifest["layers"]]}
        expected.append({**paths, "RepoTags": [f"localhost/kubeedge:{tag}"]})
    assert image.json("manifest.json") == expected


def other_peoples_tool(image, version):
    """skopeo finds each platform's image, and copies all of them, blob by blob."""
    for platform, _, config, _ in image.images:
        wanted = ["--override-os", platform["os"], "--override-arch", platform["architecture"]]
        if "variant" in platform:
            wanted += ["--override-variant", platform["variant"]]
        said = run(["skopeo", *wanted, "inspect", "--config", f"oci-archive:{image.path}:{version}"])
        assert json.loads(said) == config, said
    with tempfile.TemporaryDirectory() as folder:
        copied = f"{folder}/copy"
        run(["skopeo", "copy", "--quiet", "--all", f"oci-archive:{image.path}:{version}", f"dir:{copied}"])
        found = {name for name in os.listdir(copied) if re.fullmatch("[0-9a-f]{64}", name)}
        for _, manifest, _, _ in image.images:
            for descriptor in [manifest["config"], *manifest["layers"]]:
                assert descriptor["digest"].removeprefix("sha256:") in found, f"not copied: {descriptor}"


class Place:
    """A copy of the script, with stand-ins for what it built."""

    def __init__(self, folder):
        self.top, self.dist = folder, f"{folder}/dist"
        os.makedirs(self.dist, exist_ok=True)
        shutil.copy(f"{TOP}/musl-build.sh", folder)
        shutil.copy(f"{TOP}/Cargo.toml", folder)
        shutil.copytree(f"{TOP}/cross", f"{folder}/cross")
        self.version = version_of_sources()
        self.made = f"{self.dist}/kubeedge-{self.version}-image.tar"
        self.executables = []
        for target in TARGETS:
            # More than one block of a tar, and not alike.
            data = elf_samples.sample(**elf_samples.RIGHT[target]) + target.encode() * 200
            self.executables.append(data)
            self.write(target, data)

    def write(self, target, data):
        with open(f"{self.dist}/kubeedge-{self.version}-{target}", "wb") as file:
            file.write(data)

    def image(self, *targets, epoch=EPOCH, status=0):
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        return run([f"{self.top}/musl-build.sh", "--image", *targets], environment, status)

    def bytes(self):
        with open(self.made, "rb") as file:
            return file.read()


def same_bytes_twice(place):
    """From another folder, with files of another time and mode, and another umask."""
    place.image()
    with tempfile.TemporaryDirectory() as folder:
        other = Place(f"{folder}/other")
        for name in os.listdir(other.dist):
            os.utime(f"{other.dist}/{name}", (1, 1))
            os.chmod(f"{other.dist}/{name}", 0o700)
        before = os.umask(0o077)
        other.image()
        os.umask(before)
        assert other.bytes() == place.bytes(), "other bytes"
        other.image(epoch=EPOCH + 1)
        assert other.bytes() != place.bytes(), "the time of the sources does not count"


def chosen_targets(place):
    place.image("armv7", "x86_64-unknown-linux-musl")
    platforms(Image(place.made), ["armv7", "x86_64"])


def sums(place):
    place.image()
    run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], folder=place.dist)
    with open(f"{place.dist}/SHA256SUMS") as file:
        assert os.path.basename(place.made) in file.read()


def refused(place, change, arguments, said, status=1):
    """Says why, and leaves no image."""
    if os.path.exists(place.made):
        os.remove(place.made)
    change()
    words = place.image(*arguments, status=status)
    for text in said:
        assert text in words, f"does not say {text!r}: {words}"
    assert not [name for name in os.listdir(place.dist) if "image" in name], "there is an image"


def missing(place):
    path = f"{place.dist}/kubeedge-{place.version}-aarch64"
    refused(place, lambda: os.remove(path), [], [f"there is no {path}: run ./musl-build.sh aarch64 first"])


def of_another_machine(place):
    change = lambda: place.write("armv7", place.executables[0])
    refused(place, change, [], ["64-bit, not 32-bit", "not a static executable for armv7"])


def without_a_platform(place):
    change = lambda: place.write("mipsel", elf_samples.sample(**elf_samples.RIGHT["mipsel"]))
    refused(place, change, ["x86_64", "mipsel"], ["no container platform is called mipsel"])


def unknown_target(place):
    refused(place, lambda: None, ["pdp11"], ["unknown target pdp11"], status=64)


def runs(image, version):
    """What the image says is run where the image says, by nobody in particular, in a network of its own."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    config, layer = next((c, l) for platform, _, c, l in image.images if platform["architecture"] == machine)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        subprocess.run(["tar", "xz", "-C", folder], input=layer, check=True, timeout=LIMIT)
        uid, gid = config["config"]["User"].split(":")
        inside = ["unshare", "--net", "chroot", f"--userspec={uid}:{gid}", folder]
        environment = dict(entry.split("=", 1) for entry in config["config"]["Env"])
        command = config["config"]["Entrypoint"] + config["config"]["Cmd"]
        with subprocess.Popen([*inside, *command], env=environment, stderr=subprocess.PIPE, text=True) as cloudcore:
            try:
                said = []
                for line in cloudcore.stderr:
                    said.append(line)
                    if "cloudcore serves" in line:
                        break
                else:
                    raise AssertionError(f"it ended: {''.join(said)}")
                cloudcore.terminate()
                cloudcore.stderr.read()
                assert cloudcore.wait(LIMIT) == 0, f"exit {cloudcore.returncode}"
            finally:
                cloudcore.kill()
        # By the links, as `command: [keadm, ...]` of a manifest has it.
        for name, flag in (("keadm", "version"), ("edgecore", "--version"), ("cloudcore", "--version")):
            said = run([*inside, f"/usr/local/bin/{name}", flag], environment)
            assert version in said, f"{name}: {said}"


def run(command, environment=None, status=0, folder=None):
    done = subprocess.run(
        command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=LIMIT, text=True,
    )  # fmt: skip
    assert done.returncode == status, f"{command[0]}: exit {done.returncode}, not {status}: {done.stdout}"
    return done.stdout


def cargo_toml():
    with open(f"{TOP}/Cargo.toml") as file:
        return file.read()


def version_of_sources():
    return re.search(r'(?m)^version = "(.*)"$', cargo_toml())[1]


def main(arguments):
    passed = failed = 0

    def case(name, test, *arguments):
        nonlocal passed, failed
        try:
            test(*arguments)
            passed += 1
        except (AssertionError, KeyError, ValueError, OSError, tarfile.TarError, subprocess.SubprocessError) as fault:
            failed += 1
            print(f"FAIL {name}: {fault!r}")

    def contents(path, version, executables, epoch, moment):
        image = Image(path)
        case("layout", layout, image, version)
        case("platforms", platforms, image, TARGETS)
        case("layers", layers, image, executables, epoch)
        case("configurations", configurations, image, version, moment)
        case("manifest.json", dockers_list, image, version)
        if shutil.which("skopeo"):
            case("skopeo", other_peoples_tool, image, version)
        else:
            print("no skopeo: nobody else read the image")
        return image

    version = version_of_sources()
    if arguments == ["--built"]:
        prefix = f"{TOP}/dist/kubeedge-{version}"
        executables = []
        for target in TARGETS:
            with open(f"{prefix}-{target}", "rb") as file:
                executables.append(file.read())
        image = contents(f"{prefix}-image.tar", version, executables, None, None)
        if os.geteuid() == 0:
            case("runs", runs, image, version)
        else:
            print("not root: nothing was run from the image")
    elif arguments:
        sys.exit(__doc__)
    else:
        with tempfile.TemporaryDirectory() as folder:
            place = Place(f"{folder}/top")
            case("makes an image", place.image)
            contents(place.made, version, place.executables, EPOCH, MOMENT)
        for test in (same_bytes_twice, chosen_targets, sums, missing, of_another_machine, without_a_platform, unknown_target):
            with tempfile.TemporaryDirectory() as folder:
                case(test.__name__, test, Place(f"{folder}/top"))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
