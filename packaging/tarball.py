"""Every other system: a .tar.gz with the executable and install.sh."""

import contents
from archive import Entry, gz, tar

ALL_NAMES = "NAMES='cloudcore edgecore keadm'"


def make(package):
    folder = f"{package.name}-{package.version}-{package.target}"
    names = " ".join(contents.ROLES[package.flavour])
    script = contents.read("packaging/tarball/install.sh").decode()
    if script.count(ALL_NAMES) != 1:
        raise contents.Fault(f"packaging/tarball/install.sh must say {ALL_NAMES} once")
    entries = [
        Entry(f"{folder}/kubeedge", package.executable, 0o755),
        Entry(f"{folder}/install.sh", script.replace(ALL_NAMES, f"NAMES='{names}'").encode(), 0o755),
        Entry(f"{folder}/LICENSE", contents.read("LICENSE")),
    ]
    yield f"{folder}.tar.gz", gz(tar(entries))
