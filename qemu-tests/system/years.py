"""Clocks: a device without an RTC, which wakes in 1970, and a 32-bit system that crosses 2038 or lives in 2040."""

import json

from . import image, machine
from .cloud import wait_for

YEAR_2040 = 2208988800
# The last second that 32 bits can hold, and how long before it the clock starts: time enough for a join.
LAST_OF_32_BITS = 2**31 - 1
BEFORE_IT = 120
JOIN_HERE = ("kubeedge join --cloudcore-ipport 127.0.0.1:10000 --certport 10002 --edgenode-name late "
             "--token-file /run/token --timeout 240s")
# Long enough for an emulated device to renew in time, which it does at 70 to 90 % of it.
SHORT_LIFE_SECONDS = 90
ARGUMENTS = f"--listen 127.0.0.1 --allow-volatile-ca --edge-cert-lifetime {SHORT_LIFE_SECONDS}s --renew-after-expiry 30d"
RENEW_SECONDS = 300


def wake_in_1970(life):
    """No RTC: each boot starts in 1970, and the cloud's word is all that tells the time."""
    life.install()
    device = life.device
    device.boot()
    life.step("the clock shows 1970", lambda: shows(device, 1970))
    device.put_token()
    life.step("joins, and the cloud sees its session", life.do_join)
    life.reboot()
    life.step("the clock shows 1970 again", lambda: shows(device, 1970))
    life.rotate()
    life.kill()
    life.off("goes off")


def shows(device, year):
    said = device.must("date +%Y")
    assert said == str(year), said
    return said


def live_in_2040(life):
    """Cloud and device are in the guest: this machine's cloud lives in another year."""
    device = life.device
    life.install()
    device.boot()
    life.step("kernel and executable say 2040", lambda: says_2040(device))
    life.step("cloudcore starts, and gives a token", lambda: start_cloud(device))
    life.step("joins", lambda: device.must(JOIN_HERE).splitlines()[-1].strip())
    life.step("the certificate is of 2040", lambda: of_2040(device))
    life.step("renews its certificate", lambda: renew(device))
    life.step("comes back after a reboot", lambda: back_in_2040(device))
    life.step("renews its certificate again", lambda: renew(device))
    life.step("renews a short-lived certificate by itself", lambda: renews_by_itself(device))
    life.off("goes off")
    life.step("files are of 2040", lambda: files_of_2040(device))


def cross_2038(life):
    """The clock passes the end of 32 bits while edgecore has a session and a timer for its renewal."""
    device = life.device
    life.install()
    device.boot()
    life.step("cloudcore starts, and gives a token", lambda: start_cloud(device, ARGUMENTS))
    life.step("joins", lambda: device.must(JOIN_HERE).splitlines()[-1].strip())
    life.step("the clock passes the end of 32 bits", lambda: passes(device))
    life.step("renews its certificate by itself, beyond it", lambda: renews_beyond(device))
    life.off("goes off")


def says_2040(device):
    booted = int(device.must("sed -n 's/^btime //p' /proc/stat"))
    assert abs(booted - YEAR_2040) < 86400, booted
    shows(device, 2040)
    return f"btime {booted}"


# ---- the cloud in the guest

def start_cloud(device, arguments="--listen 127.0.0.1 --allow-volatile-ca"):
    serve(device, arguments)
    device.must("kubeedge gettoken >/run/token && chmod 600 /run/token")
    log, year = device.must("cat /run/cloud.log"), device.must("date +%Y")
    assert f"{year}-01-" in log, log
    return log.splitlines()[-1][:100]


def serve(device, arguments):
    """Starts a cloudcore, after the one that runs."""
    device.must("[ ! -e /run/cloud.pid ] || kill $(cat /run/cloud.pid); "
                "while [ -e /run/cloud.pid ] && kill -0 $(cat /run/cloud.pid) 2>/dev/null; do usleep 100000; done; "
                f"mkdir -p /etc/kubeedge/config; kubeedge cloudcore {arguments} >>/run/cloud.log 2>&1 & "
                "echo $! >/run/cloud.pid")
    device.machine.until("kubeedge gettoken", machine.COMMAND_SECONDS)


# ---- certificates

def facts(device):
    """What status says of the certificate: serial, notBefore, notAfter; and of the session's."""
    said = json.loads(device.machine.run("kubeedge status -o json").text)
    session = (said["edgecore"] or {}).get("session") or {}
    return said["certificate"], session.get("serial")


def renew(device):
    before, _ = facts(device)
    device.must("kubeedge certs renew")
    said = await_other(device, before)
    device.must("kubeedge status")
    return said


def await_other(device, before):
    """Waits for a session with another certificate."""
    def other():
        found, of_session = facts(device)
        return found if found["serial"] != before["serial"] and of_session == found["serial"] else None
    found = wait_for(other, RENEW_SECONDS, "a session with another certificate")
    return f"{found['serial'][:12]}…, until {found['notAfter']}"


def renews_by_itself(device):
    """The certificate of a short life comes by hand, the next one by edgecore's timer."""
    serve(device, ARGUMENTS)
    device.machine.until("kubeedge status", RENEW_SECONDS)
    renew(device)
    return await_other(device, facts(device)[0])


def of_2040(device):
    """A year, from the first of January."""
    device.must("kubeedge certs check")
    found, of_session = facts(device)
    assert of_session == found["serial"], (of_session, found)
    years = found["notBefore"][:4], found["notAfter"][:4]
    # It begins a little before it was asked for.
    assert years[0] in ("2039", "2040") and years[1] in ("2040", "2041"), found
    return f"from {found['notBefore']} to {found['notAfter']}"


def back_in_2040(device):
    device.must("rm /run/cloud.pid")
    device.machine.reboot()
    device.await_ready()
    says_2040(device)
    serve(device, "--listen 127.0.0.1 --allow-volatile-ca")
    device.machine.until("kubeedge status", 240)
    return ""


def files_of_2040(device):
    said = image.modified(device.disk, "/etc/kubeedge/config/edgecore.yaml")
    assert "2040" in said, said
    return said


# ---- 2038

def passes(device):
    """It is connected before, and after."""
    before = int(device.must("kubeedge status >/dev/null && date +%s"))
    assert before < LAST_OF_32_BITS, f"{before}: it took too long to get here"
    device.machine.until(f"[ $(date +%s) -gt {LAST_OF_32_BITS} ]", machine.COMMAND_SECONDS)
    device.must("kubeedge status")
    return f"{LAST_OF_32_BITS - before} s after the join"


def renews_beyond(device):
    said = await_other(device, facts(device)[0])
    found, _ = facts(device)
    # What was issued before it ends less than its life after it.
    assert found["notAfter"] > "2038-01-19T03:15:38", found
    return said
