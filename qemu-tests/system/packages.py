"""The packages that a system is given, and the commands by which the guest installs, upgrades and removes them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# What each format's file of dist/packages is called.
TAR = "{name}-{version}-{arch.name}.tar.gz"
ALPINE = "{name}-{version}-r0.alpine-{arch.name}.apk"
DEB = "{name}_{version}-1_{arch.debian}.deb"
IPK = "{name}_{version}-r1_{openwrt}.ipk"
FORMATS = {"busybox": TAR, "rcs": TAR, "openrc": ALPINE, "systemd": DEB, "procd": IPK}
OPENWRT = {"armv7": "arm_cortex-a15_neon-vfpv4", "aarch64": "aarch64_cortex-a53"}
NAMES = {"full": "kubeedge", "edge": "kubeedge-edge"}

# An .apk is a stream of tar.gz: signature, control and data; names with a dot first are apk's own. No apk runs here: its
# scripts are run by hand, as apk does.
UNPACK_APK = "zcat FILE | tar -xf - -C / && rm -f /.PKGINFO && mkdir -p /root/apk && mv /.post-* /.pre-* /root/apk"
UNPACK_TAR = "tar -xzf FILE -C /tmp && cp /tmp/kubeedge-*/install.sh /root && (cd /tmp/kubeedge-* && ./install.sh)"
INSTALL = {TAR: UNPACK_TAR, ALPINE: f"{UNPACK_APK} && /root/apk/.post-install",
           DEB: "dpkg -i FILE", IPK: "opkg install FILE"}
UPGRADE = {TAR: f"{UNPACK_TAR} && keadm service restart", ALPINE: f"{UNPACK_APK} && /root/apk/.post-upgrade",
           DEB: "dpkg -i FILE", IPK: "opkg install FILE"}
REMOVE = {TAR: "keadm reset edge --force && /root/install.sh --uninstall",
          ALPINE: "/root/apk/.pre-deinstall && rm -f /usr/bin/kubeedge /usr/bin/keadm /usr/bin/edgecore /usr/bin/cloudcore "
                  "/etc/init.d/edgecore /etc/init.d/cloudcore",
          DEB: "dpkg -r NAME", IPK: "opkg remove NAME"}
# The end of the executable in the package with the higher version: what runs there shows which one it is.
NEWER_END = b"\nof the newer package\n"
PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Packages:
    """Of one machine: what it gets first, the same with a higher version, and the archive for systems without a tool."""
    system: str
    name: str
    first: Path
    newer: Path
    tarball: Path

    def lay(self, root):
        """Puts the first two where the guest finds them; what is below /root is the test's."""
        lay(self.first, root, "package")
        lay(self.newer, root, "newer")

    def install_command(self):
        return self.command(INSTALL, f"/root/package/{self.first.name}") + "\nrm -rf /root/package"

    def upgrade_command(self):
        return self.command(UPGRADE, f"/root/newer/{self.newer.name}")

    def remove_command(self):
        return self.command(REMOVE, "")

    def command(self, commands, file):
        command = commands[FORMATS[self.system]].replace("FILE", file).replace("NAME", self.name)
        return f"set -e\n{command}\nrm -rf /tmp/kubeedge-*"


def lay(package, root, folder):
    folder = root / "root" / folder
    folder.mkdir(parents=True)
    shutil.copy2(package, folder / package.name)


def build(top, version, wanted, folder):
    """Packs what dist/ has, for each (architecture, flavour), into `folder`; and as a newer version below it."""
    for flavour in sorted({flavour for _, flavour in wanted}):
        names = sorted(arch for arch, its in wanted if its == flavour)
        for number, end in ((version, b""), (newer(version), NEWER_END)):
            dist = place(folder, version, number, flavour)
            dist.mkdir()
            for name in names:
                middle = "edge-" if flavour == "edge" else ""
                source = top / "dist" / f"kubeedge-{version}-{middle}{name}"
                if not source.exists():
                    option = "--edge " if middle else ""
                    raise RuntimeError(f"dist/ has no {source.name}: run ./musl-build.sh {option}{name}")
                (dist / f"kubeedge-{number}-{middle}{name}").write_bytes(source.read_bytes() + end)
            pack(top, number, flavour, names, dist)


def pack(top, version, flavour, names, dist):
    command = [str(top / "packaging/build.sh"), "--flavour", flavour, "--format", "ipk,deb,alpine,tar.gz",
               "--version", version, "--dist", str(dist), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"packaging/build.sh: {done.stderr.strip()}")


def expect_newer(device, processes):
    """That these are of the newer executable, by its end."""
    for pid in processes:
        end = device.must(f"tail -c {len(NEWER_END)} /proc/{pid}/exe")
        assert end == NEWER_END.decode().strip(), f"process {pid} is not of the newer executable"


def newer(version):
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def place(folder, version, number, flavour):
    return folder / f"{'newer' if number != version else 'first'}-{flavour}"


def find(folder, version, arch, system, flavour):
    def file(number, form):
        name = form.format(name=NAMES[flavour], version=number, arch=arch, openwrt=OPENWRT[arch.name])
        path = place(folder, version, number, flavour) / "packages" / name
        if not path.exists():
            raise RuntimeError(f"packaging/build.sh did not make {path}")
        return path
    form = FORMATS[system]
    return Packages(system, NAMES[flavour], file(version, form), file(newer(version), form), file(version, TAR))
