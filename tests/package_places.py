"""Copies of packaging/ with stand-ins for executables, for tests/packages.py."""

import hashlib
import os
import shutil
import subprocess

import elf_samples

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMIT = 120  # seconds for one command
EPOCH = 1_700_000_000
TARGETS = ["x86_64", "aarch64", "armv7", "armv6", "mipsel"]
FLAVOURS = {"full": "", "edge": "edge-"}
NOBODY = 65534


def without_network():
    """The words that take the network from a command; none where that is not allowed."""
    words = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-current-user", "--net"]
    tried = shutil.which("unshare") and subprocess.run([*words, "true"], stderr=subprocess.DEVNULL).returncode == 0
    return words if tried else []


OFFLINE = without_network()


def run(command, environment=None, status=0, **how):
    """What it says on both outputs, after it ended as it should. Without a network, as far as that can be had."""
    done = subprocess.run(
        [*OFFLINE, *command],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=LIMIT,
        text=True,
        **how,
    )
    assert done.returncode == status, f"{command}: exit {done.returncode}, not {status}: {done.stdout}"
    return done.stdout


class Place:
    def __init__(self, folder, versions=("1.0.0",)):
        self.top, self.dist, self.out = folder, f"{folder}/dist", f"{folder}/dist/packages"
        os.makedirs(self.dist)
        for name in ("packaging", "cross", "init-scripts"):
            shutil.copytree(f"{TOP}/{name}", f"{folder}/{name}", symlinks=True)
        for name in ("Cargo.toml", "LICENSE"):
            shutil.copy(f"{TOP}/{name}", folder)
        for version in versions:
            for flavour in FLAVOURS:
                for target in TARGETS:
                    with open(f"{self.dist}/kubeedge-{version}-{FLAVOURS[flavour]}{target}", "wb") as file:
                        file.write(self.executable(version, flavour, target))

    @staticmethod
    def executable(version, flavour, target):
        """No two are alike, and they end with what a tar is filled up with."""
        text = f"{version} {flavour} {target} ".encode() * 100
        return elf_samples.sample(**elf_samples.RIGHT[target]) + text + bytes(2000)

    def build(self, *options, version="1.0.0", status=0, umask=0o022, environment=None, within=()):
        if "--version" not in options:
            options = ("--version", version, *options)
        known = {"SOURCE_DATE_EPOCH": str(EPOCH), **(environment or {})}
        return run([*within, f"{self.top}/packaging/build.sh", *options], known, status, umask=umask)

    def give_away(self):
        """To nobody, who has no other rights; returns the words by which that user runs a command."""
        for above, _, names in os.walk(self.top):
            for path in [above, *(f"{above}/{name}" for name in names)]:
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]

    def package(self, name):
        with open(f"{self.out}/{name}", "rb") as file:
            return file.read()

    def sums(self):
        return {name: hashlib.sha256(self.package(name)).hexdigest() for name in os.listdir(self.out)}
