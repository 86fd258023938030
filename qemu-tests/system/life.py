"""What each device goes through, from the package to the reset; each function is one chapter."""

import random
import time

from . import objects
from .cloud import wait_for

CONFIRM_SECONDS = 120
# Of both processes, in kilobytes: with armv7 it is the bound that was asked for, with aarch64 that it grows no further.
PSS = {"armv7": 4096, "aarch64": 4400}
# While nothing happens nothing is written; ext4 may write its own notes once.
IDLE_BYTES = 64 * 1024
# The unit has WatchdogSec=120; then a supervisor that gets SIGABRT, or SIGKILL after TimeoutAbortSec.
WATCHDOG_SECONDS = 360


class Life:
    def __init__(self, device, report, packages, cuts, seed, idle_seconds, kills, with_service):
        self.device, self.report, self.packages = device, report, packages
        self.kills, self.with_service = kills, with_service
        self.cuts, self.random, self.idle_seconds = cuts, random.Random(seed), idle_seconds
        self.figures = report.figures

    def step(self, name, action):
        return self.report.step(name, action, self.evidence)

    def evidence(self):
        device, parts = self.device, []
        if device.machine.process:
            try:
                parts.append("-- in the guest:\n" + device.machine.run("ps | grep -v '\\['; df /", 60).text)
                parts.append("-- its log:\n" + device.log())
            except Exception as error:
                parts.append(f"-- its shell does not answer: {error}")
        parts.append("-- its console:\n" + device.machine.console_end())
        parts.append("-- cloudcore:\n" + device.cloud.log_end(15))
        return "\n".join(parts)

    # ---- chapters

    def install(self):
        device = self.device
        self.step("boots", lambda: self.first_boot())
        self.step("installs the package", self.install_package)
        self.before = device.files()
        self.off("goes off")
        device.keep_disk("installed")

    def first_boot(self):
        self.device.make_disk(self.packages)
        self.device.boot()
        free = self.device.must("sed -n 's/^MemTotal: *//p' /proc/meminfo")
        return f"{self.device.machine.memory} MB of RAM, {free} for programs"

    def install_package(self):
        device = self.device
        device.must(self.packages.install_command())
        said = device.must("kubeedge version && keadm version >/dev/null && edgecore --version >/dev/null")
        return f"{self.packages.first.name}: {said}"

    def join(self):
        device = self.device
        device.take_disk("installed")
        device.boot()
        device.put_token()
        self.step("joins, and the cloud sees its session", self.do_join)
        self.step("has the memory that it may have", self.measure_memory)

    def do_join(self):
        device = self.device
        before, written, started = device.generation(), device.written(), time.monotonic()
        device.must(device.join_command())
        self.figures["join_s"] = round(time.monotonic() - started, 1)
        session = device.await_session(before)
        self.figures["join_bytes"] = device.written() - written
        status = device.must("kubeedge status")
        assert session["serial"], session
        assert device.node in status, status
        return f"{self.figures['join_s']} s, {self.figures['join_bytes']} bytes to the disk"

    def measure_memory(self):
        memory = self.device.memory()
        self.figures.update(memory)
        assert memory["processes"] == 2, memory
        budget = PSS[self.device.arch.name]
        assert memory["pss_kb"] <= budget, f"PSS of {memory['pss_kb']} KB is more than {budget} KB"
        return f"RSS {memory['rss_kb']} KB, PSS {memory['pss_kb']} KB in {memory['processes']} processes"

    def reboot(self):
        objects.give(self)
        self.step("comes back by itself after a reboot", self.do_reboot)

    def do_reboot(self):
        device = self.device
        before, kept = device.generation(), objects.file(device)
        device.must("rm -f /run/token")
        device.machine.run("(sleep 1; exec reboot) >/dev/null 2>&1 &")
        device.machine.gone()
        device.machine.power_on(wait=False)
        self.figures["boot_to_session_s"] = round(device.boot_time(before), 1)
        device.machine.await_shell()
        device.await_ready()
        assert objects.file(device) == kept, kept
        return f"{self.figures['boot_to_session_s']} s from the start of userland to the session"

    def kill(self):
        self.step("kill -9 of the hub: a new one connects", lambda: self.do_kill(-1))
        # A script of rcS starts and stops, and nobody watches.
        if self.device.system != "rcs":
            self.step("kill -9 of both processes: init starts them again", lambda: self.do_kill(0))
            # More often than procd, OpenRC and systemd bear unless they are told that there is no end.
            if self.kills:
                self.step(f"kill -9 of both processes, {self.kills} times more", self.do_kills)
        if self.kills and self.device.system == "systemd":
            self.step("a supervisor that hangs: systemd's watchdog ends it and starts another", self.do_hang)

    def do_kill(self, which):
        device = self.device
        processes, before = device.processes(), device.generation()
        assert len(processes) == 2, processes
        started = time.monotonic()
        # The hub first: it ends by itself when its supervisor is gone, and would not be there to be killed.
        device.must("kill -9 " + (processes[-1] if which else " ".join(reversed(processes))))
        device.await_session(before)
        seconds = time.monotonic() - started
        after = wait_for(lambda: (lambda found: found if len(found) == 2 else None)(device.processes()),
                         CONFIRM_SECONDS, "two processes")
        assert processes[-1] not in after and (not which or processes[0] in after), (processes, after)
        return f"{seconds:.1f} s"

    def do_kills(self):
        return ", ".join(self.do_kill(0) for _ in range(self.kills))

    def do_hang(self):
        device = self.device
        processes, before, started = device.processes(), device.generation(), time.monotonic()
        device.must(f"kill -STOP {processes[0]}")
        device.await_session(before, WATCHDOG_SECONDS)
        seconds = time.monotonic() - started
        after = device.processes()
        assert processes[0] not in after and len(after) == 2, (processes, after)
        return f"{seconds:.0f} s: " + device.must("journalctl -u edgecore -o cat --no-pager | grep -m 1 -i watchdog")

    def rotate(self):
        self.step("renews its certificate", self.do_rotate)

    def do_rotate(self):
        device = self.device
        before, written, started = device.cloud.session(device.node), device.written(), time.monotonic()
        device.must("kubeedge certs renew")
        after = device.await_session(before["generation"])
        self.figures["rotation_s"] = round(time.monotonic() - started, 1)
        self.figures["rotation_bytes"] = device.written() - written
        assert after["serial"] != before["serial"], (before, after)
        device.must("kubeedge certs check")
        return f"{self.figures['rotation_s']} s, {self.figures['rotation_bytes']} bytes to the disk"

    def cut_rotations(self):
        self.step(f"power cuts during renewal: {self.cuts}", self.do_cut_rotations)

    def do_cut_rotations(self):
        device, serials = self.device, set()
        for _ in range(self.cuts):
            before = device.cloud.session(device.node)
            device.machine.run("kubeedge certs renew >/dev/null 2>&1 &")
            time.sleep(self.random.uniform(0, 1.2 * self.figures["rotation_s"]))
            device.machine.cut()
            # The renewal may have been done, with its session, before the cut.
            between = device.generation()
            device.boot()
            serials.add(device.await_session(between)["serial"] != before["serial"])
            device.must("kubeedge certs check")
        renewed = "some" if len(serials) == 2 else "all" if True in serials else "none"
        return f"back each time; the new certificate was there after {renewed}"

    def idle(self):
        self.step("writes nothing when nothing happens", self.do_idle)

    def do_idle(self):
        device = self.device
        written = device.written()
        # Nothing to wait for: it is the passing of time that is measured.
        device.must(f"sleep {self.idle_seconds}", self.idle_seconds + 120)
        got = device.written() - written
        self.figures["idle_bytes"], self.figures["idle_seconds"] = got, self.idle_seconds
        self.figures["idle_bytes_per_day"] = got * 86400 // self.idle_seconds
        assert got <= IDLE_BYTES, f"{got} bytes in {self.idle_seconds} s are more than {IDLE_BYTES}"
        return f"{got} bytes in {self.idle_seconds} s"

    def off(self, name):
        self.step(name, self.device.off)
