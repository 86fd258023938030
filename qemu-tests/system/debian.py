"""Kernels and packages of Debian for other architectures, fetched once, unpacked below the cache, no root needed."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubeedge-qemu"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Debian 13 has 64 bits for the time on armhf; what is called late is for after 2038.
SUITE = "bookworm"
LATE_SUITE = "trixie"
FETCH_SECONDS = 900

# How each set of packages comes about: what is asked for, and whether apt adds what it depends on.
SETS = {
    "busybox": (["busybox-static"], False),
    "busybox-late": (["busybox-static"], False),
    # Their shell is dash: that of busybox-static takes its own programs before those of these packages.
    "openrc": (["openrc", "dash"], True),
    # dpkg installs the .deb, and wants ldconfig, and a tar that is GNU's; its scripts call deb-systemd-helper.
    # Those are of Perl; usr-is-merged, lest apt takes usrmerge, with all of it.
    "systemd": (["systemd", "systemd-sysv", "dash", "dpkg", "libc-bin", "tar", "init-system-helpers", "perl-base",
                 "usr-is-merged"], True),
}
# Nothing of these is needed to boot, and together they are most of a root.
NEEDLESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/bug", "usr/share/lintian",
            "usr/share/bash-completion", "usr/share/zsh", "lib/udev", "usr/lib/udev", "usr/share/mime")


def kernel(debian, meta):
    """The folder into which the kernel that the package `meta` stands for is unpacked."""
    return unpacked(debian, "kernel", [meta], lambda apt: fetch_kernel(apt, meta))


def packages(debian, name):
    """The folder into which a set of packages is unpacked, without its maintainer scripts."""
    names, with_dependencies = SETS[name]
    return unpacked(debian, name, names, lambda apt: fetch(apt, names, with_dependencies))


def busybox(debian, late=False):
    """The executable of BusyBox."""
    folder = packages(debian, "busybox-late" if late else "busybox")
    return next(path for path in (folder / "bin/busybox", folder / "usr/bin/busybox") if path.exists())


def unpacked(debian, name, names, fetcher):
    folder = CACHE / debian / name
    stamp = CACHE / debian / f"{name}:{'+'.join(names)}.complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(CACHE / debian / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            # What another list of names has left.
            shutil.rmtree(folder, ignore_errors=True)
            for deb in fetcher(apt_of(debian, LATE_SUITE if name.endswith("-late") else SUITE)):
                folder.mkdir(exist_ok=True)
                run(["dpkg-deb", "-x", str(deb), str(folder)])
                deb.unlink()
            for needless in NEEDLESS:
                subprocess.run(["rm", "-rf", str(folder / needless)], check=True)
            stamp.touch()
    return folder


def mirror():
    """Where this machine has its own Debian packages from, unless KUBEEDGE_DEBIAN says otherwise."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    found = [uri for uri in run(asked).split() if uri.rstrip("/").endswith("/debian")]
    given = os.environ.get("KUBEEDGE_DEBIAN")
    if not given and not found:
        raise RuntimeError("apt knows no archive of Debian: set KUBEEDGE_DEBIAN to the address of one")
    return given or found[0]


def apt_of(debian, suite):
    """An environment in which apt knows this architecture only, and nothing of this machine."""
    here = CACHE / f"apt-{debian}-{suite}"
    for folder in ("lists/partial", "archives/partial"):
        (here / folder).mkdir(parents=True, exist_ok=True)
    (here / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
    (here / "apt.conf").write_text(f"""
APT::Architecture "{debian}";
APT::Architectures {{ "{debian}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Retries "3";
Debug::NoLocking "true";
Dir::State::lists "{here}/lists";
Dir::State::status "/dev/null";
Dir::State::extended_states "{here}/extended_states";
Dir::Cache "{here}";
Dir::Etc::sourcelist "{here}/sources.list";
Dir::Etc::sourceparts "/dev/null";
""")
    env = dict(os.environ, APT_CONFIG=str(here / "apt.conf"))
    run(["apt-get", "update", "-q"], env)
    return here, env


def fetch_kernel(apt, meta):
    here, env = apt
    lines = run(["apt-cache", "depends", meta], env).splitlines()
    names = [line.split()[-1] for line in lines if line.strip().startswith("Depends: linux-image-")]
    return fetch(apt, names[:1], False)


def fetch(apt, names, with_dependencies):
    here, env = apt
    archives = here / "archives"
    if with_dependencies:
        run(["apt-get", "install", "-q", "-y", "--download-only", *names], env)
    else:
        run(["apt-get", "download", "-q", *names], env, cwd=archives)
    return sorted(archives.glob("*.deb"))


def run(command, env=None, cwd=None):
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=FETCH_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout
