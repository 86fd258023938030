"""Clocks: a device without an RTC, which wakes in 1970, and a 32-bit system in 2040."""

from . import image

YEAR_2040 = 2208988800
JOIN_HERE = ("kubeedge join --cloudcore-ipport 127.0.0.1:10000 --certport 10002 --edgenode-name late "
             "--token-file /run/token --timeout 240s")


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
    life.off("goes off")
    life.step("files are of 2040", lambda: files_of_2040(device))


def says_2040(device):
    booted = int(device.must("sed -n 's/^btime //p' /proc/stat"))
    assert abs(booted - YEAR_2040) < 86400, booted
    shows(device, 2040)
    return f"btime {booted}"


def start_cloud(device):
    device.must("mkdir -p /etc/kubeedge/config && kubeedge cloudcore --allow-volatile-ca --listen 127.0.0.1 "
                ">/run/cloud.log 2>&1 & until [ -S /run/kubeedge/cloudcore.sock ]; do usleep 100000; done")
    device.must("kubeedge gettoken >/run/token && chmod 600 /run/token")
    log = device.must("cat /run/cloud.log")
    assert "2040-01-" in log, log
    return log.splitlines()[-1][:100]


def renew(device):
    device.must("kubeedge certs renew && kubeedge certs check")


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
