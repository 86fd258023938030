"""Chapters on the service: what its log says, the words of `kubeedge service`, and cloudcore as a service."""

import json
import re

from .cloud import wait_for

# How a person asks for edgecore's lines of level info, and for all of its lines.
LOGREAD = ("logread | grep 'daemon.info edgecore\\['", "logread | grep edgecore")
LOGS = {"systemd": ("journalctl -u edgecore -o cat --no-pager -p info..info", "journalctl -o cat --no-pager")}
# systemd's unit, and the scripts of procd and OpenRC, come with the package; what a person installed goes away.
PACKAGED = ("systemd", "procd", "openrc")
NOT_RUNNING, NOT_INSTALLED, UNAVAILABLE = 3, 4, 69
END_SECONDS = 120


# ---- the log

def logs(life):
    life.step("its log is where people look: each line once, with its level", lambda: do_logs(life))


def do_logs(life):
    """There was one session; who was told of it twice would read of it twice."""
    device = life.device
    line = re.compile(rf"connected to \S+ as {device.node} \(session 1,")
    of_level, of_all = ([found for found in device.must(command).splitlines() if line.search(found)]
                        for command in LOGS.get(device.system, LOGREAD))
    assert len(of_level) == 1, f"of level info: {of_level}; of any: {of_all}"
    assert len(of_all) == 1, of_all
    # The prefix by which a line tells the journal its level is none of its text.
    assert "<6>" not in of_level[0], of_level
    return of_level[0][:120]


# ---- what systemd's unit forbids

def confined(life):
    life.step("what the unit protects, its processes can't write", lambda: do_confined(life.device))


def do_confined(device):
    for pid in device.processes():
        lines = [line.split() for line in device.must(f"cat /proc/{pid}/mountinfo").splitlines()]
        mode = {line[4]: line[5].split(",")[0] for line in lines}
        assert mode["/"] == "ro", mode
        assert all(mode[place] == "rw" for place in ("/etc/kubeedge", "/var/lib/kubeedge")), mode
        assert "/tmp" in mode, "a /tmp of its own"
        # The unit's filters of system calls: the supervisor has none of its own.
        assert re.search(r"^Seccomp:\s*2$", device.must(f"cat /proc/{pid}/status"), re.M), "no filter"


# In /run the unit forbids nothing.
FOLDER, ALLOWING = "/etc/app", "/run/systemd/system/edgecore.service.d"
DELIVERED = f"""{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "app", "namespace": "default",
 "annotations": {{"kubeedge.io/deliver": "{FOLDER}"}}}}, "data": {{"greeting": "hello"}}}}"""


def delivers(life):
    life.step("delivers into a folder when a drop-in allows it", lambda: do_deliver(life.device))


def do_deliver(device):
    config = "/etc/kubeedge/config/edgecore.yaml"
    device.must(f"cp -p {config} /run/before && kubeedge config-update --set 'modules.metaManager.deliver[0].folder={FOLDER}'")
    device.cloud.apply(DELIVERED, device.node)
    wait_for(lambda: "ReadWritePaths=" in device.machine.run("kubeedge status").text, END_SECONDS, "what the unit forbids")
    device.must(f"mkdir -p {FOLDER} {ALLOWING}; printf '[Service]\\nReadWritePaths=-{FOLDER}\\n' >{ALLOWING}/folders.conf; "
                "systemctl daemon-reload && systemctl restart edgecore")
    wait_for(lambda: device.machine.run(f"grep -q hello {FOLDER}/greeting").status == 0, END_SECONDS, "the file")
    before = device.generation()
    device.must(f"rm -r {ALLOWING} {FOLDER} && cp -p /run/before {config} && systemctl daemon-reload && systemctl restart edgecore")
    device.await_session(before)


# ---- by hand

def by_hand(life):
    life.step("kubeedge service: stop, start, restart", lambda: stop_and_start(life.device))
    life.step("kubeedge service: disable, enable", lambda: disable_and_enable(life.device))
    life.step("kubeedge service: remove, print, install", lambda: remove_and_install(life.device))


def service(device, words, code=0):
    answer = device.machine.run(f"kubeedge service {words}")
    assert answer.status == code, f"kubeedge service {words} ends with {answer.status}, not {code}: {answer.text}"
    return answer.text


def stop_and_start(device):
    expect(device, 0, running=True, startsAtBoot=True)
    before, session = device.processes(), device.generation()
    service(device, "stop")
    expect(device, NOT_RUNNING, running=False)
    assert not device.processes(), device.processes()
    wait_for(lambda: not device.cloud.connected(device.node), END_SECONDS, "the session's end")
    service(device, "start")
    session = device.await_session(session)["generation"]
    between = device.processes()
    service(device, "restart")
    device.await_session(session)
    after = device.processes()
    assert not {*before} & {*between} and not {*between} & {*after}, (before, between, after)
    expect(device, 0, running=True)


def disable_and_enable(device):
    if device.system == "rcs":
        said = service(device, "disable", UNAVAILABLE)
        assert "rename the script" in said, said
        return "its script's name is what starts it"
    session = device.generation()
    service(device, "disable")
    device.machine.reboot()
    device.await_ready()
    expect(device, NOT_RUNNING, running=False, startsAtBoot=False)
    assert not device.processes(), device.processes()
    service(device, "enable")
    service(device, "start")
    device.await_session(session)
    expect(device, 0, running=True, startsAtBoot=True)
    return ""


def remove_and_install(device):
    session, is_packaged = device.generation(), device.system in PACKAGED
    service(device, "remove")
    expect(device, NOT_RUNNING if is_packaged else NOT_INSTALLED, running=False, installed=is_packaged)
    assert not device.processes(), device.processes()
    folder = device.must("dirname $(command -v edgecore)")
    printed = service(device, "print")
    assert f"{folder}/" in printed, printed
    for word in ("install", "enable", "start"):
        service(device, word)
    device.await_session(session)
    expect(device, 0, running=True, startsAtBoot=True, installed=True)


def expect(device, code, daemon="edgecore", **expected):
    """That `service status` ends with this code, and says this."""
    said = json.loads(service(device, f"status --daemon {daemon} -o json", code))
    found = {key: said[key] for key in expected}
    assert found == expected, f"{found}, not {expected}"


# ---- cloudcore

def cloudcore(life):
    if life.device.system in PACKAGED:
        life.step("cloudcore as a service: starts at boot, keeps its CA, goes away", lambda: do_cloudcore(life))


def do_cloudcore(life):
    device = life.device
    device.take_disk("installed")
    device.boot()
    for word in ("install", "enable", "start"):
        service(device, f"{word} --daemon cloudcore")
    before = ca_of_cloud(device)
    expect(device, 0, "cloudcore", running=True, startsAtBoot=True)
    device.machine.reboot()
    device.await_ready()
    device.machine.until("kubeedge service status --daemon cloudcore")
    after = ca_of_cloud(device)
    assert after == before, (before, after)
    service(device, "remove --daemon cloudcore")
    expect(device, NOT_RUNNING, "cloudcore", running=False, startsAtBoot=False)
    device.machine.cut()
    return f"CA {before[:16]}…"


def ca_of_cloud(device):
    """The digest with which its tokens begin."""
    device.machine.until("kubeedge gettoken")
    return device.must("kubeedge gettoken").split(".")[0]
