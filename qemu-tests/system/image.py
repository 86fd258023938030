"""Makes what a machine boots from: an initramfs that mounts the disk, and the disk, an ext4 image. Needs no root."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path

# What the initramfs loads, in this order, each with what it depends on; a module that is built in is left out.
MODULES = ("virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "crc32c_generic", "ext4")
DISK_MB = {"busybox": 40, "rcs": 40, "procd": 40, "openrc": 64, "systemd": 144}

INIT = """#!/bin/busybox sh
# Mounts the disk and gives way to the init of the system there.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in $(/bin/busybox cat /modules); do
  /bin/busybox insmod /lib/$module
done
[ ! -e /clock ] || /bin/busybox date -s "@$(/bin/busybox cat /clock)"
until [ -b /dev/vda ]; do /bin/busybox usleep 20000; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root || exec /bin/busybox sh
[ -L /root/bin/ls ] || /bin/busybox chroot /root /bin/busybox --install -s 2>/dev/null
[ ! -e /kept.tgz ] || /bin/busybox tar -xzf /kept.tgz -C /root
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
echo "MARK userland"
exec /bin/busybox switch_root /root /sbin/init
"""


def initramfs(kernel, busybox, out, clock=None, kept=None):
    """Writes the initramfs. `clock`: what the clock shows, in seconds, before anything else runs; `kept`: a tar.gz
    of what a firmware upgrade has kept, unpacked over the root."""
    files = {"bin/busybox": busybox.read_bytes(), "init": INIT.encode()}
    order = []
    for name in MODULES:
        add_module(modules_of(kernel), name, files, order)
    files["modules"] = "\n".join(order).encode() + b"\n"
    if kept:
        files["kept.tgz"] = kept
    if clock:
        files["clock"] = str(clock).encode()
    with gzip.open(out, "wb", compresslevel=1) as written:
        written.write(cpio(("bin", "dev", "lib", "proc", "root"), files))


def modules_of(kernel):
    """Where each module's file is, by its name with underscores."""
    found = sorted((kernel / "lib/modules").glob("*/kernel/**/*.ko"))
    return {path.stem.replace("-", "_"): path for path in found}


def add_module(known, name, files, order):
    path = known.get(name.replace("-", "_"))
    if path is None or path.name in order:
        return
    content = path.read_bytes()
    for needed in depends(content):
        add_module(known, needed, files, order)
    files[f"lib/{path.name}"] = content
    order.append(path.name)


def depends(module):
    """The names in the module's own list of what it needs."""
    start = module.find(b"\0depends=")
    if start < 0:
        return []
    text = module[start + 9:module.index(b"\0", start + 9)].decode()
    return [name for name in text.split(",") if name]


def cpio(folders, files):
    """An archive in the format "newc", all owned by root, every file executable."""
    entries = [(name, 0o040755, b"") for name in folders]
    entries += [(name, 0o100755, content) for name, content in files.items()]
    archive = bytearray()
    for number, (name, mode, content) in enumerate(entries, 1):
        archive += entry(name, mode, content, number)
    # The kernel opens it for /init before anything is mounted.
    archive += entry("dev/console", 0o020600, b"", len(entries) + 1, (5, 1))
    archive += entry("TRAILER!!!", 0, b"", 0)
    return bytes(archive)


def entry(name, mode, content, number, device=(0, 0)):
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return pad(head) + pad(content)


def pad(data):
    return data + bytes(-len(data) % 4)


def disk(root, out, megabytes):
    """Makes an ext4 image of the files below `root`, owned by root whoever runs this."""
    # What is left to the kernel to initialise, it would write while bytes are counted.
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-L", "root",
               "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", str(root), str(out), f"{megabytes}M"]
    if os.getuid() != 0:
        command = ["unshare", "--map-root-user", *command]
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=with_sbin())


def modified(out, name):
    """When a file of the image was modified, as debugfs writes it: the inode's own words, with the bits past 2038."""
    done = subprocess.run(["debugfs", "-R", f"stat {name}", str(out)], capture_output=True, text=True, timeout=60,
                          env=with_sbin(TZ="UTC"))
    return next((line.strip() for line in done.stdout.splitlines() if "mtime:" in line), done.stderr)


def content(out, name, copy):
    """What a file of the image has in it; `copy` is where it may lie."""
    subprocess.run(["debugfs", "-R", f"dump {name} {copy}", str(out)], capture_output=True, check=True, timeout=60,
                   env=with_sbin())
    return copy.read_bytes()


def with_sbin(**more):
    return dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin", **more)


def copy_tree(source, target):
    """Copies what is below `source` over `target`, links as links."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def write(root, name, text, mode=0o644):
    path = Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
