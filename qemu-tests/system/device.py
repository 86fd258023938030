"""A device of a test: a machine, what is installed on it, and what the cloud and the device say of each other."""

import contextlib
import shutil
import time

from . import image, machine, packages, systems
from .cloud import HOST

# Which processes are edgecore: `PID PARENT`, the supervisor first.
PROCESSES = r"""
for at in /proc/[0-9]*; do
  case $(readlink $at/exe) in */kubeedge) ;; *) continue ;; esac
  case $(tr '\0' ' ' <$at/cmdline) in *edgecore*) sed -n 's/^PPid:\t//p' $at/status | sed "s|^|${at#/proc/} |" ;; esac
done
"""
MEMORY = r"""
for pid in %s; do
  awk '/^Rss:/ { rss += $2 } /^Pss:/ { pss += $2 } END { print rss, pss }' /proc/$pid/smaps
done
"""
# Whether all that starts at boot was started; elsewhere the shell itself comes last.
READY = {"systemd": "systemctl is-system-running --wait | grep -qE 'running|degraded'", "procd": "test -e /run/procd/booted"}
# What changes by itself, or is the test's.
OWN_LIFE = ("/root/", "/var/lib/systemd/", "/var/log/wtmp", "/var/log/journal", "/lost+found", "/var/cache/",
            "/etc/resolv.conf", "/run/", "/tmp/")


class Device:
    def __init__(self, arch, system, folder, kernel, busybox, cloud, node, rtc=None, clock=None, memory=None):
        self.arch, self.system, self.folder, self.cloud, self.node = arch, system, folder, cloud, node
        self.kernel, self.busybox, self.clock = kernel, busybox, clock
        # Whether what is on its disk now boots with a root that can't be written to.
        self.is_read_only = False
        self.initramfs = folder / "initramfs"
        image.initramfs(kernel, busybox, self.initramfs, clock=clock)
        self.disk = folder / "disk"
        vmlinuz = next((kernel / "boot").glob("vmlinuz-*"))
        self.machine = machine.Machine(arch, vmlinuz, self.initramfs, self.disk, folder,
                                       memory or systems.memory(arch, system), rtc)

    # ---- disks

    def make_disk(self, given):
        """A disk with the system, and the packages below /root for the guest to install."""
        self.make_disk_with(given.lay)

    def make_bare_disk(self, given):
        """The same without packages; but for the archive, in /root/tarball."""
        self.make_disk_with(lambda root: packages.lay(given.tarball, root, "tarball"))

    def make_disk_with(self, lay):
        root = self.folder / "root"
        root.mkdir()
        systems.make_root(self.system, self.arch, root, self.node, self.busybox)
        lay(root)
        image.disk(root, self.disk, image.DISK_MB[self.system])
        shutil.rmtree(root)

    def keep_disk(self, name):
        """Remembers the disk; the machine is off."""
        copy(self.disk, self.folder / name)

    def take_disk(self, name):
        copy(self.folder / name, self.disk)

    @contextlib.contextmanager
    def called(self, node):
        """Meanwhile the cloud is asked for this node."""
        before, self.node = self.node, node
        try:
            yield
        finally:
            self.node = before

    # ---- power

    def boot(self, kept=None):
        if kept is None:
            self.machine.initramfs = self.initramfs
        else:
            self.machine.initramfs = self.folder / "initramfs-kept"
            image.initramfs(self.kernel, self.busybox, self.machine.initramfs, clock=self.clock, kept=kept)
        self.machine.power_on()
        self.await_ready()

    def await_ready(self):
        if self.system in READY:
            self.machine.until(READY[self.system], machine.BOOT_SECONDS)

    def off(self):
        self.machine.power_off()

    # ---- what is asked of it

    def must(self, command, seconds=machine.COMMAND_SECONDS):
        return self.machine.must(command, seconds)

    def join_command(self):
        return (f"kubeedge join --cloudcore-ipport {HOST}:{self.cloud.ports['hub']} "
                f"--certport {self.cloud.ports['https']} --edgenode-name {self.node} --token-file /run/token "
                f"--timeout 280s")

    def put_token(self):
        self.machine.put("/run/token", self.cloud.token() + "\n", "600")

    def processes(self):
        """The supervisor and the hub, in this order."""
        lines = [line.split() for line in self.must(PROCESSES).splitlines()]
        found = {pid: parent for pid, parent in (line for line in lines if len(line) == 2)}
        return sorted(found, key=lambda pid: (found[pid] in found, int(pid)))

    def memory(self):
        """Resident and proportional kilobytes of all processes of edgecore."""
        pids = self.processes()
        rows = [list(map(int, line.split())) for line in self.must(MEMORY % " ".join(pids)).splitlines()]
        return {"processes": len(pids), "rss_kb": sum(row[0] for row in rows), "pss_kb": sum(row[1] for row in rows)}

    def written(self):
        """Bytes that the disk took since it was powered on, all that was waiting included."""
        return int(self.must("sync; cut -c1- /sys/block/vda/stat").split()[6]) * 512

    def uptime(self):
        return float(self.must("cut -d' ' -f1 /proc/uptime"))

    def generation(self):
        return self.cloud.session(self.node).get("generation")

    def await_session(self, other_than=None, seconds=None):
        return self.cloud.await_session(self.node, other_than, *([seconds] if seconds else []))

    def boot_time(self, before):
        """Seconds from the start of userland to the session, measured by the host."""
        self.await_session(before)
        return time.monotonic() - self.machine.await_mark("userland")

    def files(self):
        """Every file of the root file system with its mode, owner, and what it has in it."""
        listing = self.must("find / -xdev \\( -type f -o -type l -o -type d \\) -exec stat -c '%A %u:%g %n' {} + ; "
                            "find /etc /usr/local /lib/systemd /lib/upgrade -xdev -type f -exec md5sum {} + 2>/dev/null; true",
                            machine.BOOT_SECONDS)
        return sorted(line for line in listing.splitlines()
                      if not any(own in line.split(" ")[-1] + "/" for own in OWN_LIFE))

    def off_keeping(self, paths):
        """Powers off; gives a tar.gz of these paths, words of the shell, as a firmware upgrade makes it."""
        self.must(f"cd / && tar -czf /root/kept.tgz {paths} 2>/dev/null")
        self.off()
        return image.content(self.disk, "/root/kept.tgz", self.folder / "kept.tgz")

    def log(self):
        """What its log says at the end, wherever this system keeps it."""
        return self.machine.run("logread 2>/dev/null | tail -n 30; cat /var/log/kubeedge/*.log 2>/dev/null | tail -n 30; "
                                "journalctl -u edgecore -n 30 --no-pager 2>/dev/null", 60).text


def copy(source, target):
    shutil.copyfile(source, target)
