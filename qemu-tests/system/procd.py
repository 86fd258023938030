"""Chapters of OpenWrt alone: what its triggers do, and a firmware that has no package."""

import contextlib

from . import image, services, systems, upkeep
from .cloud import wait_for

CONFIG = "/etc/config/kubeedge"
YAML = "/etc/kubeedge/config/edgecore.yaml"
END_SECONDS = 120


def triggers(life):
    """The device is on and joined."""
    device = life.device
    before = device.must(f"cat {CONFIG}")
    life.step("procd: option log_level counts after a restart", lambda: log_level(device))
    life.step("procd: option enabled and reload_config stop it, and start it", lambda: enabled(device))
    life.step("procd: reload tells it of a changed edgecore.yaml", lambda: told(device, 17, "/etc/init.d/edgecore reload"))
    life.step("procd: so does start, by the file that it watches", lambda: watched(device, 16, "/etc/init.d/edgecore start"))
    life.step("procd: so does an uplink that comes up", lambda: told(device, 18, "/lib/procd/event interface.wan.up wan"))
    life.step("procd: stop counts between two starts", lambda: between_starts(device))
    device.machine.put(CONFIG, before + "\n", "600")


def log_level(device):
    assert info_lines(device), "nothing to be silent about"
    device.must(f"sed -i \"s/# option log_level .*/option log_level 'error'/\" {CONFIG} && grep -q 'error' {CONFIG}")
    restart(device)
    assert not info_lines(device), info_lines(device)
    device.must(f"sed -i \"s/option log_level .*/# option log_level 'debug'/\" {CONFIG}")
    restart(device)
    assert info_lines(device)


def restart(device):
    session, before = device.generation(), device.processes()
    device.must("/etc/init.d/edgecore restart")
    device.await_session(session)
    assert not {*before} & {*device.processes()}, before


def info_lines(device):
    """Of the processes that run."""
    which = "\\|".join(device.processes())
    return device.must(f"logread | grep 'daemon.info edgecore\\[\\({which}\\)\\]'; true")


def enabled(device):
    session = device.generation()
    switch(device, 0)
    wait_for(lambda: not device.processes(), END_SECONDS, "the end of edgecore")
    wait_for(lambda: not device.cloud.connected(device.node), END_SECONDS, "the session's end")
    device.must("! /etc/init.d/edgecore running")
    services.expect(device, services.NOT_RUNNING, running=False, startsAtBoot=False)
    switch(device, 1)
    device.await_session(session)
    services.expect(device, 0, running=True, startsAtBoot=True)


def switch(device, value):
    """As `uci set kubeedge.edgecore.enabled=…; uci commit; reload_config`."""
    device.must(f"sed -i \"/config edgecore/,/^$/s/enabled '.'/enabled '{value}'/\" {CONFIG} && reload_config")
    device.must(f"grep -q \"enabled '{value}'\" {CONFIG}")


def told(device, heartbeat, event):
    """Another heartbeat begins another session; in the same processes, since a SIGHUP is all that comes."""
    session, before = device.generation(), device.processes()
    device.must(f"sed -i 's/heartbeat: .*/heartbeat: {heartbeat}/' {YAML} && grep -q 'heartbeat: {heartbeat}$' {YAML}")
    device.must(event)
    device.await_session(session)
    assert device.processes() == before, (before, device.processes())


def watched(device, heartbeat, event):
    """What the script sends by itself is not asked for here: procd compares the file."""
    session = device.generation()
    device.must(event)
    told(device, heartbeat, event)
    # One new session, and not two: with the file as it was, nothing had come.
    assert device.generation() == session + 1, (session, device.generation())


def between_starts(device):
    """What ends at once is started again 5 s later; until then procd says that it does not run."""
    session, ask = device.generation(), "ubus call service list '{\"name\":\"edgecore\"}'"
    device.must(f"cp {YAML} /tmp/edgecore.yaml && echo '{{' >{YAML} && /etc/init.d/edgecore restart")
    wait_for(lambda: '"running":false' in device.must(ask), END_SECONDS, "the end of what can't start")
    services.service(device, "stop")
    assert device.must(ask).strip() == "{}", device.must(ask)
    device.must(f"cat /tmp/edgecore.yaml >{YAML} && rm /tmp/edgecore.yaml")
    services.service(device, "start")
    device.await_session(session)


# ---- a firmware without the package

def bare_firmware(life):
    life.step("firmware without the package: back with what join has listed in keep.d", lambda: do_bare_firmware(life))


def do_bare_firmware(life):
    """The program came by the archive, the rest by join: no package is in the next firmware."""
    device = life.device
    with device.called(f"{device.node}-bare"):
        device.make_bare_disk(life.packages)
        device.keep_disk("bare")
        device.boot()
        device.must(f"set -e; tar -xzf /root/tarball/*.tar.gz -C /tmp; /tmp/kubeedge-*/install.sh; rm -rf /tmp/kubeedge-*")
        device.put_token()
        device.must(device.join_command())
        before = device.await_session()
        kept = device.off_keeping(upkeep.KEPT["procd"])
        device.take_disk("bare")
        device.boot(kept)
        after = device.await_session(before["generation"])
        assert after["serial"] == before["serial"], (before, after)
        device.must("kubeedge certs check && kubeedge status")
        device.machine.cut()
    return f"{len(kept)} bytes kept"
