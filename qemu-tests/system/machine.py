"""One machine under qemu-system: power on, power cut, what its console says, and a shell inside it."""

import base64
import contextlib
import itertools
import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

# Emulation is slow, and other machines run beside this one: far more than anything here takes.
BOOT_SECONDS = 600
COMMAND_SECONDS = 300
CONSOLE_BYTES = 512 * 1024


@dataclass(frozen=True)
class Arch:
    name: str
    debian: str
    kernel: str
    qemu: tuple
    dynamic_linker: str


ARCHES = {
    "armv7": Arch("armv7", "armhf", "linux-image-armmp", ("qemu-system-arm", "-M", "virt", "-cpu", "cortex-a15"),
                  "lib/ld-linux-armhf.so.3"),
    "aarch64": Arch("aarch64", "arm64", "linux-image-cloud-arm64",
                    ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53"), "lib/ld-linux-aarch64.so.1"),
}


class MachineError(Exception):
    """The machine did not do in time what was waited for."""


@dataclass
class Answer:
    status: int
    text: str


class Machine:
    """A guest with a disk. `power_on` may be called again after it went off."""

    def __init__(self, arch, kernel, initramfs, disk, folder, memory=64, rtc=None, append=""):
        self.arch, self.kernel, self.initramfs, self.disk = arch, kernel, initramfs, disk
        self.folder, self.memory, self.rtc, self.append = folder, memory, rtc, append
        self.process = self.driver = None
        self.console = ""
        self.changed = threading.Condition()
        self.marks = {}
        self.numbers = itertools.count(1)
        self.boots = 0

    def power_on(self, wait=True):
        """Starts the machine; with `wait` until its shell answers."""
        assert self.process is None, "it is on"
        self.boots += 1
        self.marks = {}
        listener = socket.socket(socket.AF_UNIX)
        path = self.folder / "driver"
        path.unlink(missing_ok=True)
        with listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(60)
            self.process = subprocess.Popen(self.command(path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.STDOUT, start_new_session=True)
            threading.Thread(target=self.read_console, args=(self.process,), daemon=True).start()
            self.driver, _ = listener.accept()
        if wait:
            self.await_shell()

    def command(self, driver):
        virt = "virtio-{}-device"
        command = ["setpriv", "--pdeathsig", "KILL", *self.arch.qemu, "-m", str(self.memory), "-smp", "1",
                   "-nographic", "-no-reboot", "-nodefaults",
                   "-serial", "stdio", "-monitor", "none",
                   "-kernel", str(self.kernel), "-initrd", str(self.initramfs),
                   "-append", f"console=ttyAMA0 panic=-1 quiet cma=0 {self.append}".strip(),
                   # What the guest has flushed or the disk has taken outlives the machine, nothing else does.
                   "-drive", f"file={self.disk},format=raw,if=none,id=d0,cache=writethrough",
                   "-device", virt.format("blk") + ",drive=d0",
                   "-netdev", "user,id=n0", "-device", virt.format("net") + ",netdev=n0",
                   "-device", virt.format("serial"), "-chardev", f"socket,id=c0,path={driver}",
                   "-device", "virtserialport,chardev=c0,name=driver"]
        return command + (["-rtc", f"base={self.rtc}"] if self.rtc else [])

    def read_console(self, process):
        """Keeps the end of what the console says, and when each line `MARK name` came."""
        for raw in iter(process.stdout.readline, b""):
            line = raw.decode(errors="replace").replace("\r", "")
            with self.changed:
                if line.startswith("MARK "):
                    self.marks.setdefault(line[5:].strip(), time.monotonic())
                self.console = (self.console + line)[-CONSOLE_BYTES:]
                self.changed.notify_all()
        process.stdout.close()
        process.wait()
        with self.changed:
            self.changed.notify_all()

    def await_mark(self, name, seconds=BOOT_SECONDS):
        """When the console said `MARK name` during this boot, on the host's clock."""
        process = self.process
        with self.changed:
            self.changed.wait_for(lambda: name in self.marks or process.poll() is not None, seconds)
            if name not in self.marks:
                raise MachineError(f"no mark {name} within {seconds} s")
            return self.marks[name]

    def await_shell(self, seconds=BOOT_SECONDS):
        answer = self.run("true", seconds)
        if answer.status != 0:
            raise MachineError(f"the shell answers {answer}")

    def run(self, command, seconds=COMMAND_SECONDS):
        """Runs a command by the guest's shell as root, and waits for its end."""
        number = next(self.numbers)
        coded = base64.b64encode(command.encode()).decode()
        self.driver.settimeout(seconds)
        try:
            self.driver.sendall(f"{number} {coded}\n".encode())
            while True:
                words = self.read_line(time.monotonic() + seconds).split()
                if len(words) >= 2 and words[0] == str(number):
                    text = base64.b64decode(words[2]).decode(errors="replace") if len(words) > 2 else ""
                    return Answer(int(words[1]), text)
        except (OSError, ValueError) as error:
            raise MachineError(f"`{command[:200]}` got no answer: {error}") from error

    def read_line(self, end):
        line = bytearray()
        while not line.endswith(b"\n"):
            self.driver.settimeout(max(0.01, end - time.monotonic()))
            # One byte at a time would be slow for long answers; an answer is all that can be waiting.
            got = self.driver.recv(65536)
            if not got:
                raise MachineError("the machine went off")
            line += got
            if len(line) > 16 * 1024 * 1024:
                raise MachineError("an answer without end")
        return line.decode()

    def must(self, command, seconds=COMMAND_SECONDS):
        answer = self.run(command, seconds)
        if answer.status != 0:
            raise MachineError(f"`{command[:200]}` ends with {answer.status}: {answer.text[-1500:]}")
        return answer.text.strip()

    def until(self, command, seconds=COMMAND_SECONDS):
        """Runs a command in the guest until it succeeds."""
        loop = f"n=0; until {{ {command}\n}} >/dev/null 2>&1; do n=$((n + 1)); usleep 100000; done"
        self.must(f"timeout {seconds} /bin/sh -c {quoted(loop)}", seconds + 60)

    def put(self, name, content, mode="644"):
        """Writes a file of the guest."""
        coded = base64.b64encode(content.encode() if isinstance(content, str) else content).decode()
        self.must(f"mkdir -p $(dirname {name}) && echo {coded} | base64 -d >{name} && chmod {mode} {name}")

    def cut(self):
        """Takes away the power: what the guest had not written is lost."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.gone(60)

    def gone(self, seconds=BOOT_SECONDS):
        """Waits until the machine is off."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        if self.process.poll() is None:
            raise MachineError("it does not go off")
        self.driver.close()
        self.process = self.driver = None

    def reboot(self):
        """As a person does: `reboot`, and on again; the init in the guest stops what runs."""
        self.run("(sleep 1; exec reboot) >/dev/null 2>&1 &")
        self.gone()
        self.power_on()

    def power_off(self):
        self.run("(sleep 1; exec poweroff) >/dev/null 2>&1 &")
        self.gone()

    def console_end(self, lines=40):
        with self.changed:
            return "\n".join(self.console.splitlines()[-lines:])


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


# The shell inside: takes lines `NUMBER COMMAND`, answers `NUMBER STATUS OUTPUT`, texts in base64.
DRIVER = """#!/bin/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
until [ -c /dev/vport0p1 ]; do usleep 50000; done
exec 3<>/dev/vport0p1
while read -r number coded <&3; do
  text=$(/bin/sh -c "$(echo "$coded" | base64 -d)" 2>&1 </dev/null 3>&-)
  echo "$number $? $(echo "$text" | base64 | tr -d '\\n')" >&3
done
"""
