"""Chapters on packages: a higher version while the service runs, and the removal."""

from . import packages, services
from .cloud import wait_for

# What the package gives people to change, where a tool that knows installs it: it stays as they left it.
SETTINGS = {"procd": "/etc/config/kubeedge", "systemd": "/etc/default/edgecore"}
# Succeeds when nothing starts edgecore at boot any more.
DISABLED = {"procd": "! ls /etc/rc.d/*edgecore", "openrc": "! rc-update show | grep edgecore",
            "systemd": "! systemctl is-active edgecore && ! systemctl is-enabled edgecore",
            "busybox": "! grep '^[^#]*edgecore' /etc/inittab", "rcs": "! ls /etc/init.d/*edgecore"}
REMARK = "# A remark of whoever owns this device."
END_SECONDS = 120


def upgrade(life):
    """The disk is the one that joined; its life ends here."""
    life.step("package upgrade: the service goes on as the newer one", lambda: do_upgrade(life))
    life.step("package removal: nothing runs, nothing starts", lambda: do_remove(life))
    life.device.machine.cut()


def do_upgrade(life):
    device, settings = life.device, SETTINGS.get(life.device.system)
    session = device.generation()
    device.take_disk("joined")
    device.boot()
    before = device.await_session(session)
    if settings:
        device.must(f"echo '{REMARK}' >>{settings}")
    kept = settings and device.must(f"cat {settings}; stat -c %a {settings}")
    processes = device.processes()
    device.must(life.packages.upgrade_command())
    after = device.await_session(before["generation"])
    assert after["serial"] == before["serial"], (before, after)
    running = wait_for(lambda: two(device.processes()), END_SECONDS, "two processes")
    assert not {*processes} & {*running}, f"{processes} still run"
    packages.expect_newer(device, running)
    now = settings and device.must(f"cat {settings}; stat -c %a {settings}")
    assert now == kept, f"{settings} was {kept}, and is {now}"
    device.must("kubeedge certs check")
    return f"{life.packages.newer.name}, processes {' '.join(processes)} gave way to {' '.join(running)}"


def two(processes):
    return processes if len(processes) == 2 else None


def do_remove(life):
    device = life.device
    device.must(life.packages.remove_command())
    assert not device.processes(), device.processes()
    wait_for(lambda: not device.cloud.connected(device.node), END_SECONDS, "the session's end")
    device.must(DISABLED[device.system])
    left = device.must("ls -d /usr/bin/kubeedge /usr/bin/edgecore /usr/local/bin/* 2>/dev/null; true")
    assert not left, left
    # Without a tool that knows its files a reset comes first, and leaves nothing.
    is_packaged = device.system in services.PACKAGED
    device.must("test -s /etc/kubeedge/certs/server.key" if is_packaged else "! ls /etc/kubeedge/certs")
    return "its identity stays" if is_packaged else ""
