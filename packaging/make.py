"""Which packages are made from which executables; packaging/build.sh calls it, and has its manual."""

import argparse
import hashlib
import os
import shutil
import sys

import alpine
import contents
import deb
import ipk
import openwrt_apk
import tarball

FORMATS = {"ipk": ipk.make, "deb": deb.make, "alpine": alpine.make, "openwrt-apk": openwrt_apk.make, "tar.gz": tarball.make}


def main(arguments):
    wanted = parse(arguments)
    dist, version = wanted.dist, wanted.version or contents.cargo()["version"]
    out, new = f"{dist}/packages", f"{dist}/packages.new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    sums = []
    for flavour, target in chosen(wanted, version):
        package = contents.load(dist, version, flavour, target)
        for kind in wanted.format:
            for name, content in FORMATS[kind](package):
                with open(f"{new}/{name}", "wb") as file:
                    file.write(content)
                sums.append((name, hashlib.sha256(content).hexdigest()))
                print(f"{name:60} {len(content):>9}")
    with open(f"{new}/SHA256SUMS", "w") as file:
        file.writelines(f"{digest}  {name}\n" for name, digest in sorted(sums))
    shutil.rmtree(out, ignore_errors=True)
    os.rename(new, out)


def chosen(wanted, version):
    """(flavour, target) of what was named, else of what is there."""
    flavours = [wanted.flavour] if wanted.flavour else list(contents.FLAVOURS)
    there = []
    for flavour in flavours:
        start = f"kubeedge-{version}-" + {"full": "", "edge": "edge-"}[flavour]
        names = sorted(os.listdir(wanted.dist)) if os.path.isdir(wanted.dist) else []
        there += [(flavour, name[len(start) :]) for name in names if name.startswith(start)]
    targets = {name[: -len(".conf")] for name in os.listdir(f"{contents.TOP}/cross") if name.endswith(".conf")}
    there = [(flavour, target) for flavour, target in there if target in targets]
    if wanted.target:
        # A flavour that was not asked for by name need not be there.
        named = [(flavour, target) for flavour in flavours for target in wanted.target]
        return [pair for pair in named if pair in there or wanted.flavour or pair[0] == "full"]
    if not there:
        raise contents.Fault(f"there is no kubeedge-{version}-TARGET in {wanted.dist}: run ./musl-build.sh first")
    return there


def parse(arguments):
    parser = argparse.ArgumentParser(prog="packaging/build.sh", add_help=False, allow_abbrev=False)
    parser.add_argument("--flavour", choices=contents.FLAVOURS)
    parser.add_argument("--format", type=formats, default=list(FORMATS))
    parser.add_argument("--version")
    parser.add_argument("--dist", default=f"{contents.TOP}/dist")
    parser.add_argument("target", nargs="*")
    return parser.parse_args(arguments)


def formats(text):
    names = text.split(",")
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"no format is called {name}: there are {' '.join(FORMATS)}")
    return names


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (contents.Fault, OSError) as fault:
        sys.exit(f"packaging: {fault}")
