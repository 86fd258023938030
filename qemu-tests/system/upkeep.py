"""Chapters that begin with another disk: firmware upgrade, reset, first boot, and power cuts during join."""

import time

from .machine import MachineError

# What outlives a firmware upgrade: procd's list is what the package says, elsewhere it is the one folder.
KEPT = {"procd": "$(cat /lib/upgrade/keep.d/*) etc/config"}
# How a service is enabled in an image, without being started: by its own means where the package brings the script.
ENABLE = {
    "procd": "sed -i \"/config edgecore/,/^$/s/enabled '0'/enabled '1'/\" /etc/config/kubeedge; /etc/init.d/edgecore enable",
    "openrc": "rc-update add edgecore default",
    "systemd": "systemctl enable edgecore",
    "busybox": "kubeedge service install",
    "rcs": "kubeedge service install",
}
BACK_SECONDS = 120


def prepare_image(life):
    """A firmware: the package is in it, its service enabled, and nothing configured."""
    life.step("makes a firmware with the service enabled", lambda: do_prepare_image(life))


def do_prepare_image(life):
    device = life.device
    device.take_disk("installed")
    device.boot()
    device.must(ENABLE[device.system])
    device.must("rm -rf /etc/kubeedge/join; sync")
    device.off()
    device.keep_disk("firmware")


def firmware(life):
    life.step("firmware upgrade: back with its identity, without a token", lambda: do_firmware(life))


def do_firmware(life):
    """The device is on and joined; it gets the other disk, and the files that an upgrade keeps."""
    device = life.device
    before = device.cloud.session(device.node)
    kept = device.kept(KEPT.get(device.system, "etc/kubeedge").split(" "))
    device.off()
    device.keep_disk("joined")
    device.take_disk("firmware")
    device.boot(kept)
    after = device.await_session(before["generation"])
    assert after["serial"] == before["serial"], (before, after)
    device.must("kubeedge certs check")
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
    after, before = set(device.files()), set(life.before)
    assert after == before, f"more: {sorted(after - before)[:20]} less: {sorted(before - after)[:20]}"
    left = device.must("ls -d /run/kubeedge /etc/kubeedge/* 2>/dev/null; true")
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
