"""The systems that boot: for each init system a root as its users have it, without kubeedge."""

import shutil
from pathlib import Path

from . import debian, image
from .machine import DRIVER

HERE = Path(__file__).resolve().parent.parent
NAMES = ("busybox", "rcs", "openrc", "systemd", "procd")
# Megabytes of RAM. Debian's kernel for aarch64 keeps 25 MB to itself: in 64 MB it boots
# and joins too, but throws out pages of executables all the time.
MEMORY = {"busybox": 64, "rcs": 64, "procd": 64, "openrc": 128, "systemd": 128}
LEAST = {"armv7": 64, "aarch64": 96}


def memory(arch, system):
    return max(MEMORY[system], LEAST[arch.name])


NET_UP = """#!/bin/sh
# The network of qemu: this machine is 10.0.2.15, the host's loopback 10.0.2.2.
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
"""

MOUNTS = """mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
mount -o remount,rw /
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs -o mode=0755,size=8m run /run
mount -t tmpfs -o mode=1777,size=8m tmp /tmp
hostname -F /etc/hostname
"""

# As images with a read-only root do: one folder of it can be written to. On a disk of its own it would be mounted here.
READ_ONLY = "etc/read-only"
BUSYBOX_RCS = f"""#!/bin/sh
{MOUNTS}
[ ! -e /{READ_ONLY} ] || {{ mount --bind /etc/kubeedge /etc/kubeedge && mount -o remount,bind,ro /; }}
syslogd -C64
/usr/lib/net-up
"""

INITTAB = """::sysinit:/etc/init.d/rcS
::respawn:/usr/lib/driver
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
"""

RUN_PARTS = """
for script in /etc/init.d/S??*; do
  [ -x "$script" ] && "$script" start
done
"""

S99DRIVER = """#!/bin/sh
[ "$1" != start ] || start-stop-daemon -S -b -x /usr/lib/driver
"""

OPENRC_INITTAB = """::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
::respawn:/usr/lib/driver
::ctrlaltdel:/sbin/reboot
::shutdown:/sbin/openrc shutdown
::shutdown:/bin/umount -a -r
"""

OPENRC_MOUNTS = f"""#!/sbin/openrc-run
description="What a device mounts, and its name"
start() {{
{MOUNTS}
syslogd -C64
return 0
}}
"""

OPENRC_NET = """#!/sbin/openrc-run
description="The network of qemu"
depend() {
  provide net
}
start() {
  /usr/lib/net-up
}
"""

SYSTEMD_UNITS = {
    "driver.service": """[Unit]
Description=The shell that the test speaks with
DefaultDependencies=no
After=systemd-remount-fs.service
[Service]
ExecStart=/usr/lib/driver
Restart=always
KillMode=process
""",
    "net-up.service": """[Unit]
Description=The network of qemu
Before=network.target network-online.target
Wants=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/net-up
""",
}
SYSTEMD_MASKED = ("getty@tty1.service", "serial-getty@ttyAMA0.service", "console-getty.service",
                  "systemd-logind.service", "systemd-networkd.service", "systemd-resolved.service",
                  "systemd-hwdb-update.service", "systemd-pstore.service", "modprobe@.service", "getty.target",
                  "systemd-update-utmp.service", "dev-hugepages.mount", "sys-kernel-debug.mount",
                  "sys-kernel-tracing.mount", "dev-mqueue.mount", "systemd-timesyncd.service", "ldconfig.service")


def make_root(name, arch, root, hostname, busybox):
    """Writes the root of a system below the empty folder `root`."""
    for folder in ("bin", "dev", "etc/init.d", "lib", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin",
                   "usr/lib", "usr/local/bin", "usr/sbin", "var/lib", "var/log"):
        (root / folder).mkdir(parents=True)
    (root / "root").chmod(0o700)
    (root / "tmp").chmod(0o1777)
    (root / "var/run").symlink_to("../run")
    (root / "var/lock").symlink_to("../run")
    image.write(root, "etc/passwd", "root::0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    image.write(root, "etc/group", "root:x:0:\nnogroup:x:65534:\n")
    image.write(root, "etc/hostname", hostname + "\n")
    image.write(root, "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n")
    image.write(root, "etc/fstab", "")
    image.write(root, "usr/lib/driver", DRIVER, 0o755)
    image.write(root, "usr/lib/net-up", NET_UP, 0o755)
    if name in debian.SETS:
        image.copy_tree(debian.packages(arch.debian, name), root)
    (root / "bin").mkdir(exist_ok=True)
    shutil.copy2(busybox, root / "bin/busybox")
    if not (root / "bin/sh").exists():
        (root / "bin/sh").symlink_to("dash" if (root / "bin/dash").exists() else "busybox")
    BUILDERS[name](root)


def busybox_init(root):
    (root / "sbin/init").symlink_to("../bin/busybox")


def make_busybox(root):
    busybox_init(root)
    image.write(root, "etc/init.d/rcS", BUSYBOX_RCS, 0o755)
    image.write(root, "etc/inittab", INITTAB)


def make_rcs(root):
    busybox_init(root)
    image.write(root, "etc/init.d/rcS", BUSYBOX_RCS + RUN_PARTS, 0o755)
    image.write(root, "etc/init.d/S99driver", S99DRIVER, 0o755)


def make_openrc(root):
    busybox_init(root)
    image.write(root, "etc/inittab", OPENRC_INITTAB)
    for path in (root / "etc/runlevels").glob("*/*"):
        path.unlink()
    for level, name, text in (("sysinit", "mounts", OPENRC_MOUNTS), ("boot", "network", OPENRC_NET)):
        image.write(root, f"etc/init.d/{name}", text, 0o755)
        (root / "etc/runlevels" / level).mkdir(parents=True, exist_ok=True)
        (root / "etc/runlevels" / level / name).symlink_to(f"/etc/init.d/{name}")
    for level in ("default", "shutdown"):
        (root / "etc/runlevels" / level).mkdir(exist_ok=True)


def make_systemd(root):
    if not (root / "sbin/init").is_symlink():
        (root / "sbin/init").symlink_to("/lib/systemd/systemd")
    units = root / "etc/systemd/system"
    for name, text in SYSTEMD_UNITS.items():
        image.write(root, f"etc/systemd/system/{name}", text)
        target = units / "multi-user.target.wants" if name != "driver.service" else units / "sysinit.target.wants"
        target.mkdir(parents=True, exist_ok=True)
        (target / name).symlink_to(f"/etc/systemd/system/{name}")
    for name in SYSTEMD_MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    image.write(root, "var/lib/dpkg/status", "")
    (root / "var/lib/dpkg/info").mkdir(exist_ok=True)
    (root / "var/lib/dpkg/updates").mkdir(exist_ok=True)
    image.write(root, "etc/machine-id", "6b7562656564676500000000000000aa\n")
    image.write(root, "etc/fstab", "/dev/vda / ext4 rw,noatime 0 1\n")


def make_procd(root):
    image.copy_tree(HERE / "procd/root", root)
    # /var is in memory there.
    shutil.rmtree(root / "var")
    (root / "var").symlink_to("tmp")
    for folder in ("etc/config", "etc/rc.d", "lib/upgrade/keep.d"):
        (root / folder).mkdir(parents=True, exist_ok=True)


BUILDERS = {"busybox": make_busybox, "rcs": make_rcs, "openrc": make_openrc, "systemd": make_systemd,
            "procd": make_procd}
