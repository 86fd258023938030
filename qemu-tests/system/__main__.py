"""Takes the words of run.sh, boots the machines two at a time, and prints the table."""

import argparse
import concurrent.futures
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from . import debian, figures, packages, procd, report, readonly, services, systems, upgrade, upkeep, years
from .cloud import Cloud, native
from .device import Device
from .life import Life
from .machine import ARCHES

TOP = Path(__file__).resolve().parent.parent.parent
# What runs when nothing is said: each architecture with BusyBox and one more, and the clocks.
SHORT = (("aarch64", "systemd"), ("armv7", "procd"), ("armv7", "openrc"), ("armv7", "busybox"), ("aarch64", "busybox"),
         ("armv7", "edge"), ("armv7", "2040"), ("armv7", "1970"))
# Its service and its package are tried with the other architecture then.
AGAIN = ("aarch64", "busybox")
# Where the short form stops, starts and removes edgecore by hand, and has cloudcore as a service.
BY_HAND, CLOUDCORE = ("busybox", "procd"), ("procd",)
# Machines that are not called by their init system, and which that is: they are of the 32-bit system alone.
SPECIAL = {"edge": "procd", "readonly": "busybox", "1970": "busybox", "2038": "busybox", "2040": "busybox"}
# Of two machines, with the disks that they remember.
MEMORY_BYTES = 2 * 1024**3
KILLS = 12
# What their clock shows at each boot, by the initramfs.
CLOCKS = {"2038": years.LAST_OF_32_BITS - years.BEFORE_IT, "2040": years.YEAR_2040}
# Of the short form, on two processors.
LIMIT_SECONDS = 900


def main():
    wish = parse(sys.argv[1:])
    if wish.readme:
        figures.readme()
        return
    version = re.search(r'^version = "(.*)"', (TOP / "Cargo.toml").read_text(), re.M).group(1)
    print(f"seed {wish.seed}", flush=True)
    cloud_executable = native(TOP, version)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="kq", dir=in_memory()))
    signal.signal(signal.SIGTERM, lambda *_: (shutil.rmtree(folder, ignore_errors=True), os._exit(143)))
    try:
        packages.build(TOP, version, {(arch, flavour(system)) for arch, system in wish.jobs}, folder)
        with concurrent.futures.ThreadPoolExecutor(wish.parallel) as pool:
            done = [pool.submit(run, arch, system, folder, version, cloud_executable, wish) for arch, system in wish.jobs]
            # A run takes hours: what a machine showed is kept when it ends, whatever becomes of the others.
            for one in concurrent.futures.as_completed(done) if wish.out else ():
                figures.save(Path(wish.out), [one.result()])
            reports = [one.result() for one in done]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - started)
    if wish.out:
        for one in reports:
            one.made["run_seconds"] = seconds
        figures.save(Path(wish.out), reports)
    print("\n" + report.table(reports) + "\n\n" + figures.table(reports))
    failed = sum(one.failed for one in reports) + in_time(wish, seconds)
    print(f"{sum(one.passed for one in reports)} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def in_time(wish, seconds):
    """Says how long it took; 1 when that is more than whoever waits for the short form bears."""
    print(f"in {seconds / 60:.1f} minutes")
    if tuple(wish.jobs) != SHORT or wish.long or seconds <= wish.limit:
        return 0
    print(f"FAIL the short form took {seconds} s: at most {wish.limit}")
    return 1


def in_memory():
    """Where disks are best kept: each write of a guest is flushed, and a busy disk of the host makes it wait for that."""
    shm = Path("/dev/shm")
    try:
        return shm if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > MEMORY_BYTES else None
    except OSError:
        return None


def parse(arguments):
    parser = argparse.ArgumentParser(prog="qemu-tests/run.sh")
    parser.add_argument("words", nargs="*", metavar="armv7|aarch64|busybox|rcs|openrc|systemd|procd|edge|readonly|1970|2038|2040|all")
    parser.add_argument("--long", action="store_true", help="every machine, ten power cuts of each kind, twelve kills")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9), help="of the random instants")
    parser.add_argument("--cuts", type=int, help="power cuts of each kind: 10 in the long form, else 1, with BusyBox only")
    parser.add_argument("--parallel", type=int, default=min(2, os.cpu_count() or 1), help="machines at a time")
    parser.add_argument("--limit", type=int, default=LIMIT_SECONDS, help="seconds that the short form may take: 900")
    parser.add_argument("--readme", action="store_true",
                        help="boots nothing: puts the figures of qemu-tests/results into README.md")
    parser.add_argument("--out", help="folder for the results as Markdown and JSON, beside those of other machines there")
    wish = parser.parse_args(arguments)
    known = {*ARCHES, *systems.NAMES, *SPECIAL, "all"}
    for word in wish.words:
        if word not in known:
            parser.error(f"unknown word {word}: there are {' '.join(sorted(known))}")
    arches = [name for name in ARCHES if name in wish.words] or list(ARCHES)
    named = [name for name in (*systems.NAMES, *SPECIAL) if name in wish.words]
    if named or wish.long or "all" in wish.words:
        wish.jobs = [(arch, name) for name in named or (*systems.NAMES, *SPECIAL) for arch in arches
                     if name not in SPECIAL or arch == "armv7"]
    else:
        wish.jobs = [job for job in SHORT if job[0] in arches]
    wish.idle = 600 if wish.long else 60
    return wish


def run(arch_name, name, folder, version, cloud_executable, wish):
    """One machine, from its first boot to the last; what went wrong is in the report."""
    arch, system = ARCHES[arch_name], SPECIAL.get(name, name)
    made = {"date": time.strftime("%Y-%m-%d"), "form": "long" if wish.long else "short", "seed": wish.seed}
    result = report.Report(arch_name, name, made)
    here = folder / f"{arch_name}-{name}"
    (here / "cloud").mkdir(parents=True)
    cloud = Cloud(cloud_executable, here / "cloud")
    device, started = None, time.monotonic()
    try:
        given = packages.find(folder, version, arch, system, flavour(name))
        kernel, busybox = debian.kernel(arch.debian, arch.kernel), debian.busybox(arch.debian, name in CLOCKS)
        cloud.start()
        device = Device(arch, system, here, kernel, busybox, cloud, f"qemu-{arch_name}-{name}",
                        **({"rtc": "1970-01-01"} if name == "1970" else {}),
                        **({"clock": CLOCKS[name], "memory": 96} if name in CLOCKS else {}))
        # Power cuts and rest are the same executable's whatever starts it: the short form tries them once.
        once = wish.long or system == "busybox"
        cuts = wish.cuts if wish.cuts is not None else 10 if wish.long else 1 if once else 0
        life = Life(device, result, given, cuts, f"{wish.seed} {arch_name} {name}", wish.idle if once else 0,
                    KILLS if wish.long else 0, with_service=wish.long or (arch_name, name) != AGAIN)
        life.by_hand, life.with_cloudcore = wish.long or system in BY_HAND, wish.long or system in CLOUDCORE
        LIVES.get(name, whole)(life)
    except report.Stop:
        pass
    except Exception:
        result.add("runs", False, 0, traceback.format_exc(limit=-4))
    finally:
        if device:
            device.machine.cut()
        cloud.stop()
        shutil.rmtree(here, ignore_errors=True)
        made["seconds"] = round(time.monotonic() - started)
    return result


def flavour(name):
    """Of the package that a machine gets."""
    return "edge" if name == "edge" else "full"


def whole(life):
    life.install()
    upkeep.prepare_image(life)
    life.join()
    services.logs(life)
    if life.device.system == "systemd":
        services.confined(life)
        services.delivers(life)
    life.reboot()
    life.kill()
    life.rotate()
    if life.cuts:
        life.cut_rotations()
    if life.idle_seconds:
        life.idle()
    if life.device.system == "procd":
        procd.triggers(life)
    if life.with_service and life.by_hand:
        services.by_hand(life)
    upkeep.firmware(life)
    upkeep.reset(life)
    if life.with_service:
        upgrade.upgrade(life)
    upkeep.first_boot(life)
    if life.with_service:
        upkeep.other_first_boot(life)
    if life.device.system == "procd":
        procd.bare_firmware(life)
    if life.with_cloudcore:
        services.cloudcore(life)
    if life.cuts:
        upkeep.cut_joins(life)
        upkeep.cut_first_boots(life)


def small(life):
    """With the package for little flash: what differs by the executable."""
    life.install()
    life.join()
    services.logs(life)
    life.reboot()
    life.kill()
    life.rotate()
    if life.idle_seconds:
        life.idle()
    life.off("goes off, joined")
    life.device.keep_disk("joined")
    upkeep.reset(life)
    upgrade.upgrade(life)


LIVES = {"1970": years.wake_in_1970, "2038": years.cross_2038, "2040": years.live_in_2040, "edge": small,
         "readonly": readonly.live_read_only}

if __name__ == "__main__":
    main()
