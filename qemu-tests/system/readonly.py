"""A device whose root can't be written to, but for /etc/kubeedge: it is joined by its first boot, and by a person."""

from . import objects, upkeep
from .systems import READ_ONLY


def live_read_only(life):
    life.install()
    upkeep.prepare_image(life, f"mkdir -p /etc/kubeedge; touch /{READ_ONLY}")
    life.device.is_read_only = True
    upkeep.first_boot(life)
    life.step("its root can't be written to", lambda: can_not_write(life.device))
    life.reboot()
    life.kill()
    life.rotate()
    life.cut_rotations()
    life.off("goes off, joined")
    life.step("join, by hand, and reset", lambda: join_and_reset(life))
    upkeep.cut_first_boots(life)


def can_not_write(device):
    device.boot()
    for folder in ("/usr/bin", "/usr/local/bin", "/etc", "/var/lib"):
        said = device.machine.run(f"touch {folder}/probe")
        assert said.status != 0 and "Read-only file system" in said.text, f"{folder}: {said}"
    device.must("touch /etc/kubeedge/probe && rm /etc/kubeedge/probe")
    return device.must("grep ' / ext4 ' /proc/mounts")


def join_and_reset(life):
    """Of what is on the root join finds all, and reset takes away what it can. The name is another device's so far."""
    device = life.device
    device.take_disk("firmware")
    device.boot()
    with device.called(f"{device.node}-by-hand"):
        device.put_token()
        said = life.do_join()
    device.must("kubeedge certs check")
    assert objects.folder(device) in device.must("kubeedge status"), "objects"
    # What starts at boot is the image's.
    reset = device.machine.run("kubeedge reset --force")
    told = [line for line in reset.text.splitlines() if line.startswith("  left ")]
    assert reset.status == 1 and len(told) == 1 and "/etc/inittab" in told[0], reset.text
    left = device.must("ls -d /etc/kubeedge/* 2>/dev/null; true")
    assert not left, left
    device.off()
    return said
