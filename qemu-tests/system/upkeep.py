"""Chapters that begin with another disk: firmware upgrade, reset, first boot, and power cuts during join."""

import time

from . import packages
from .machine import MachineError

# What outlives a firmware upgrade: what is there of procd's lists, read as sysupgrade does; elsewhere it is the one folder.
KEPT = {"procd": "$(find $(sed '/^#/d; /^[[:space:]]*$/d' /lib/upgrade/keep.d/*) /etc/config '(' -type f -o -type l ')' "
                 "2>/dev/null)"}
# How a service is enabled in an image, without being started: by its own means where the package brings the script.
ENABLE = {
    "procd": "sed -i \"/config edgecore/,/^$/s/enabled '0'/enabled '1'/\" /etc/config/kubeedge; /etc/init.d/edgecore enable",
    "openrc": "rc-update add edgecore default",
    # The package has done it.
    "systemd": "systemctl is-enabled edgecore && systemctl is-active edgecore | grep -q inactive",
    "busybox": "kubeedge service install",
    "rcs": "kubeedge service install",
}
BACK_SECONDS = 120
# The .deb enables its unit; whoever resets the device has it disabled. Its two empty folders are edgecore's, and go.
BY_PACKAGE = ("/etc/systemd/system/multi-user.target.wants/edgecore.service", " /var/lib/kubeedge", " /var/log/kubeedge")
# qemu gives it to the first network card.
MAC = "525400123456"


def prepare_image(life, more="true"):
    """A firmware: its executable is a newer one, its service enabled, and nothing configured. `more` is done there besides."""
    life.step("makes a firmware with the service enabled", lambda: do_prepare_image(life, more))


def do_prepare_image(life, more):
    device = life.device
    device.take_disk("installed")
    device.boot()
    device.must(ENABLE[device.system])
    end = packages.NEWER_END.decode().replace("\n", "\\n")
    device.must(f"printf '{end}' >>\"$(readlink -f \"$(command -v kubeedge)\")\"")
    device.must(f"rm -rf /etc/kubeedge/join; {more}; sync")
    device.off()
    device.keep_disk("firmware")


def firmware(life):
    life.step("firmware upgrade: back with its identity, without a token", lambda: do_firmware(life))


def do_firmware(life):
    """The device is on and joined; it gets the other disk, and the files that an upgrade keeps."""
    device = life.device
    before = device.cloud.session(device.node)
    kept = device.off_keeping(KEPT.get(device.system, "etc/kubeedge"))
    device.keep_disk("joined")
    device.take_disk("firmware")
    device.boot(kept)
    after = device.await_session(before["generation"])
    assert after["serial"] == before["serial"], (before, after)
    device.must("kubeedge certs check")
    packages.expect_newer(device, device.processes())
    device.off()
    device.take_disk("joined")
    return f"{len(kept)} bytes kept"


def reset(life):
    """The device is off, its disk the one that joined."""
    life.step("reset leaves nothing", lambda: do_reset(life))


def do_reset(life):
    device = life.device
    device.boot()
    device.must("kubeedge reset --force")
    after, before = set(device.files()), {line for line in life.before if not line.endswith(BY_PACKAGE)}
    assert after == before, f"more: {sorted(after - before)[:20]} less: {sorted(before - after)[:20]}"
    # These may be in memory, where the list of files does not look.
    left = device.must("ls -d /run/kubeedge /run/edgecore.pid /var/lib/kubeedge /var/log/kubeedge /etc/kubeedge/* "
                       "2>/dev/null; true")
    assert not left, left
    assert not device.processes()
    device.off()
    return f"{len(before)} files as before the join"


def first_boot(life):
    life.step("first boot: joins by /etc/kubeedge/join, which is gone then", lambda: do_first_boot(life))


def do_first_boot(life):
    device = life.device
    before = device.generation()
    device.take_disk("firmware")
    device.boot()
    put_join_file(device)
    device.must("sync")
    device.machine.cut()
    device.machine.power_on(wait=False)
    seconds = device.boot_time(before)
    device.machine.await_shell()
    device.machine.until("test ! -e /etc/kubeedge/join", BACK_SECONDS)
    device.must("kubeedge status")
    device.off()
    return f"{seconds:.1f} s from the start of userland to the session"


def put_join_file(device):
    text = (f"cloudcore-ipport: 10.0.2.2:{device.cloud.ports['hub']}\ncertport: {device.cloud.ports['https']}\n"
            f"token: {device.cloud.token()}\nnode-name: {{hostname}}\n")
    device.machine.put("/etc/kubeedge/join", text, "600")


# ---- the other ways to ask a device to join

def other_first_boot(life):
    if life.device.system == "procd":
        life.step("first boot: joins by UCI, its name made of its MAC", lambda: first_boot_by_uci(life.device))
    if life.device.system == "busybox":
        life.step("first boot: joins by the kernel's command line", lambda: first_boot_by_command_line(life.device))


def first_boot_by_uci(device):
    device.take_disk("firmware")
    device.boot()
    options = (("server", f"10.0.2.2:{device.cloud.ports['hub']}"), ("certport", device.cloud.ports["https"]),
               ("token", device.cloud.token()), ("node_name", "uci-{mac}"))
    lines = "".join(f"\toption {key} '{value}'\n" for key, value in options)
    # Into the section of edgecore, the first one.
    before = device.must("cat /etc/config/kubeedge")
    device.machine.put("/etc/config/kubeedge", before.replace("'edgecore'\n", f"'edgecore'\n{lines}", 1) + "\n", "600")
    device.must("sync")
    device.machine.cut()
    with device.called(f"uci-{MAC}"):
        device.machine.power_on()
        device.await_session()
        device.machine.until("! grep -q 'option token' /etc/config/kubeedge", BACK_SECONDS)
        device.must("grep -q 'option server' /etc/config/kubeedge && kubeedge status")
        device.machine.cut()


def first_boot_by_command_line(device):
    """It can't be erased: the next boot has it as well, and the device goes on with its identity."""
    device.take_disk("firmware")
    device.machine.append = (f"kubeedge.join=cloudcore-ipport=10.0.2.2:{device.cloud.ports['hub']},"
                             f"certport={device.cloud.ports['https']},token={device.cloud.token()},node-name=line-{{mac}}")
    try:
        with device.called(f"line-{MAC}"):
            device.boot()
            before = device.await_session()
            device.must("kubeedge status")
            device.machine.reboot()
            after = device.await_session(before["generation"])
            assert after["serial"] == before["serial"], (before, after)
            device.machine.cut()
    finally:
        device.machine.append = ""


# ---- power cuts

def cut_joins(life):
    life.step(f"power cuts during join: {life.cuts}", lambda: do_cut_joins(life))


def do_cut_joins(life):
    """After each cut the person repeats the command, with the token that the device had."""
    device, alone, node = life.device, 0, life.device.node
    for number in range(life.cuts):
        # Each is another device, which the cloud has not seen.
        device.node = f"{node}-{number}"
        device.take_disk("installed")
        device.boot()
        device.put_token()
        device.machine.run(f"{device.join_command()} >/dev/null 2>&1 &")
        time.sleep(life.random.uniform(0, 1.1 * life.figures["join_s"]))
        device.machine.cut()
        between = device.generation()
        device.boot()
        alone += comes_alone(device, between)
        device.put_token()
        device.must(device.join_command())
        device.await_session(None)
        device.must("kubeedge status && kubeedge certs check")
        device.machine.cut()
    device.node = node
    return f"back each time, {alone} without another word"


def comes_alone(device, between):
    """Whether edgecore runs and connects by itself; it can only if it was told where to."""
    try:
        if not device.processes():
            return False
        device.await_session(between, BACK_SECONDS // 4)
        return True
    except (RuntimeError, MachineError):
        return False


def cut_first_boots(life):
    life.step(f"power cuts during the first boot: {life.cuts}", lambda: do_cut_first_boots(life))


def do_cut_first_boots(life):
    """Nobody is there: it comes by itself each time, whatever the instant."""
    device = life.device
    for _ in range(life.cuts):
        device.take_disk("firmware")
        device.boot()
        put_join_file(device)
        device.must("sync")
        device.machine.cut()
        device.machine.power_on(wait=False)
        device.machine.await_mark("userland")
        time.sleep(life.random.uniform(0, 1.2 * life.figures["boot_to_session_s"]))
        device.machine.cut()
        between = device.generation()
        device.boot()
        device.await_session(between)
        device.machine.until("test ! -e /etc/kubeedge/join", BACK_SECONDS)
        device.machine.cut()
    return "back each time"
