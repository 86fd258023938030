"""Clocks: a device without an RTC, which wakes in 1970, and a 32-bit system in 2040."""

import struct

from . import image

YEAR_2040 = 2208988800
JOIN_HERE = ("kubeedge join --cloudcore-ipport 127.0.0.1:10000 --certport 10002 --edgenode-name late "
             "--token-file /run/token --timeout 240s")


def setter(seconds):
    """An executable for 32-bit ARM that sets the clock: the kernel refuses what its RTC says after 2038, and BusyBox
    has no words for it. clock_settime64(CLOCK_REALTIME, {seconds, 0}), then exit."""
    code = struct.pack("<6I", 0xE3007194, 0xE3A00000, 0xE28F1008, 0xEF000000, 0xE3A07001, 0xEF000000)
    base, start = 0x10000, 52 + 32
    data = struct.pack("<qq", seconds, 0)
    size = start + len(code) + len(data)
    head = b"\x7fELF" + bytes((1, 1, 1, 0)) + bytes(8)
    head += struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, base + start, 52, 0, 0x05000000, 52, 32, 1, 0, 0, 0)
    head += struct.pack("<8I", 1, 0, base, base, size, size, 5, 0x1000)
    return head + code + data


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
    life.step("joins", lambda: device.must(JOIN_HERE, 300)[-200:])
    life.step("the certificate is of 2040", lambda: of_2040(device))
    life.step("renews its certificate", lambda: device.must("kubeedge certs renew && kubeedge certs check")[-200:])
    life.step("comes back after a reboot", lambda: back_in_2040(device))
    life.step("renews its certificate again", lambda: device.must("kubeedge certs renew && kubeedge certs check")[-200:])
    life.off("goes off")
    life.step("files are of 2040", lambda: files_of_2040(device))


def says_2040(device):
    # /proc/uptime and the time of boot are the kernel's own; stat of BusyBox would overflow.
    booted = int(device.must("sed -n 's/^btime //p' /proc/stat"))
    assert abs(booted - YEAR_2040) < 86400, booted
    return f"btime {booted}"


def start_cloud(device):
    device.must("mkdir -p /etc/kubeedge/config && kubeedge cloudcore --allow-volatile-ca --listen 127.0.0.1 "
                ">/run/cloud.log 2>&1 & until [ -S /run/kubeedge/cloudcore.sock ]; do usleep 100000; done")
    device.must("kubeedge gettoken >/run/token && chmod 600 /run/token")
    log = device.must("cat /run/cloud.log")
    assert "2040-01-" in log, log
    return log.splitlines()[-1][:100]


def of_2040(device):
    said = device.must("kubeedge certs check; kubeedge status")
    assert "2040" in said or "2041" in said, said
    return next(line.strip() for line in said.splitlines() if "204" in line)[:100]


def back_in_2040(device):
    device.machine.reboot()
    device.await_ready()
    says_2040(device)
    device.must("kubeedge cloudcore --allow-volatile-ca --listen 127.0.0.1 >/run/cloud.log 2>&1 & true")
    device.machine.until("kubeedge status", 240)
    return ""


def files_of_2040(device):
    said = image.modified(device.disk, "/etc/kubeedge/config/edgecore.yaml")
    assert "2040" in said, said
    return said
