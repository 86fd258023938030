#!/usr/bin/env python3
"""Writes the container image of the executables, an OCI image layout in one tar: needs no Docker and no root.

usage: cross/image.py FOLDER VERSION TARGET...
       reads FOLDER/kubeedge-VERSION-TARGET, writes FOLDER/kubeedge-VERSION-image.tar

One image per target behind one index; each has one layer: the executable, its links, and the folders that a
cloudcore without rights writes to. All times are SOURCE_DATE_EPOCH: the same executables give the same bytes.
`docker load` with Docker's older store reads manifest.json, everything else index.json.
"""

import datetime
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tomllib

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PLATFORMS = {
    "x86_64": {"architecture": "amd64", "os": "linux"},
    "aarch64": {"architecture": "arm64", "os": "linux"},
    "armv7": {"architecture": "arm", "os": "linux", "variant": "v7"},
    "armv6": {"architecture": "arm", "os": "linux", "variant": "v6"},
    "riscv64": {"architecture": "riscv64", "os": "linux"},
}
# A tool that knows no registry by this name asks none for the image.
NAME = "localhost/kubeedge"
# The number that images without a user database agree on for "nobody in particular".
USER = 65532
EXECUTABLE = "kubeedge"
LINKS = ["usr/local/bin/cloudcore", "usr/local/bin/edgecore", "usr/local/bin/keadm"]
OWN_FOLDERS = ["etc/kubeedge", "run/kubeedge", "var/lib/kubeedge"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def main(folder, version, *targets):
    unknown = [target for target in targets if target not in PLATFORMS]
    if unknown:
        sys.exit(f"image: no container platform is called {unknown[0]}: there are {' '.join(PLATFORMS)}")
    blobs, manifests, loaded = {}, [], []

    def keep(data, kind, **more):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data), **more}

    for target in targets:
        with open(f"{folder}/kubeedge-{version}-{target}", "rb") as file:
            layer = layer_of(file.read())
        platform = PLATFORMS[target]
        config = keep(as_json(config_of(layer, platform, version)), CONFIG)
        layer = keep(gzip.compress(layer, mtime=0), LAYER)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        manifests.append(keep(as_json(manifest), MANIFEST, platform=platform))
        tag = "-".join([version, *(platform[key] for key in ("architecture", "variant") if key in platform)])
        loaded.append({"Config": path_of(config), "RepoTags": [f"{NAME}:{tag}"], "Layers": [path_of(layer)]})

    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": about(version)}
    names = {"io.containerd.image.name": f"{NAME}:{version}", "org.opencontainers.image.ref.name": version}
    entry = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [keep(as_json(index), INDEX, annotations=names)]}
    members = {
        "oci-layout": as_json({"imageLayoutVersion": "1.0.0"}),
        "index.json": as_json(entry),
        "manifest.json": as_json(loaded),
        **{f"blobs/sha256/{digest}": blobs[digest] for digest in sorted(blobs)},
    }
    made = f"{folder}/kubeedge-{version}-image.tar"
    with open(f"{made}.new", "wb") as file:
        file.write(tar([("blobs", 0), ("blobs/sha256", 0)], members.items(), [], 0o644))
    os.rename(f"{made}.new", made)


def layer_of(executable):
    parents = {parent for path in [*OWN_FOLDERS, *LINKS] for parent in parents_of(path)}
    folders = {**dict.fromkeys(parents, 0), **dict.fromkeys(OWN_FOLDERS, USER)}
    return tar(sorted(folders.items()), [(EXECUTABLE, executable)], LINKS, 0o755)


def parents_of(path):
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def tar(folders, files, links, mode):
    """folders: (path, owner); files: (path, content), with this mode; links: paths that lead to the executable."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:

        def add(path, kind, mode, content=b"", owner=0, linkname=""):
            member = tarfile.TarInfo(path)
            member.type, member.mode, member.size, member.linkname = kind, mode, len(content), linkname
            member.uid = member.gid = owner
            member.mtime = seconds()
            archive.addfile(member, io.BytesIO(content))

        for path, owner in folders:
            add(path, tarfile.DIRTYPE, 0o755, owner=owner)
        for path, content in files:
            add(path, tarfile.REGTYPE, mode, content)
        for path in links:
            add(path, tarfile.SYMTYPE, 0o777, linkname=f"/{EXECUTABLE}")
    return made.getvalue()


def config_of(layer, platform, version):
    moment = datetime.datetime.fromtimestamp(seconds(), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "created": moment,
        **platform,
        "config": {
            "User": f"{USER}:{USER}",
            "Env": [f"PATH={PATH}"],
            "Entrypoint": [f"/{EXECUTABLE}"],
            "Cmd": ["cloudcore"],
            "WorkingDir": "/",
            "Labels": about(version),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": moment, "created_by": f"kubeedge {version}, its links and its folders"}],
    }


def about(version):
    with open(f"{TOP}/Cargo.toml", "rb") as file:
        package = tomllib.load(file)["package"]
    words = {
        "title": package["name"],
        "description": package["description"],
        "version": version,
        "source": package.get("repository"),
        "licenses": package["license"],
    }
    return {f"org.opencontainers.image.{key}": value for key, value in words.items() if value}


def path_of(descriptor):
    return "blobs/" + descriptor["digest"].replace(":", "/")


def as_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def seconds():
    return int(os.environ.get("SOURCE_DATE_EPOCH") or 0)


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
