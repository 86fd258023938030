"""The package that a system is given, and the command by which the guest installs it."""

import shutil
import subprocess

# Which file of dist/packages it is, by the architecture's name there, and what installs it.
TAR = ("kubeedge-{version}-{arch.name}.tar.gz", "tar -xzf FILE -C /tmp && cd /tmp/kubeedge-* && ./install.sh")
ALPINE = ("kubeedge-{version}-r0.alpine-{arch.name}.apk",
          # An .apk is a stream of tar.gz: signature, control and data; names with a dot first are apk's own.
          "zcat FILE | tar -xf - -C / && rm -f /.PKGINFO /.post-install /.post-upgrade /.pre-deinstall")
DEB = ("kubeedge_{version}-1_{arch.debian}.deb", "dpkg -i FILE")
IPK = ("kubeedge_{version}-r1_{openwrt}.ipk", "opkg install FILE")
FORMATS = {"busybox": TAR, "rcs": TAR, "openrc": ALPINE, "systemd": DEB, "procd": IPK}
OPENWRT = {"armv7": "arm_cortex-a15_neon-vfpv4", "aarch64": "aarch64_cortex-a53"}


def build(top, version, names, folder):
    """Packs what dist/ has for these architectures into `folder`."""
    for name in names:
        executable = f"kubeedge-{version}-{name}"
        if not (top / "dist" / executable).exists():
            raise RuntimeError(f"dist/ has no {executable}: run ./musl-build.sh {name}")
        shutil.copy2(top / "dist" / executable, folder / executable)
    command = [str(top / "packaging/build.sh"), "--flavour", "full", "--format", "ipk,deb,alpine,tar.gz",
               "--dist", str(folder), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"packaging/build.sh: {done.stderr.strip()}")


def find(folder, version, arch, system):
    name = FORMATS[system][0].format(version=version, arch=arch, openwrt=OPENWRT[arch.name])
    path = folder / "packages" / name
    if not path.exists():
        raise RuntimeError(f"packaging/build.sh did not make {path}")
    return path


def lay(package, root):
    """Puts the package where the guest finds it."""
    folder = root / "root/package"
    folder.mkdir(parents=True)
    shutil.copy2(package, folder / package.name)


def install_command(system, package):
    """Installs it, and removes the file."""
    command = FORMATS[system][1].replace("FILE", f"/root/package/{package.name}")
    return f"set -e\n{command}\nrm -rf /root/package /tmp/kubeedge-*"
