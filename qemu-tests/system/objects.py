"""An object of the cloud on the device: where it is kept, and that it outlives a reboot."""

from .cloud import wait_for

USUAL = "/var/lib/kubeedge/edgecore"
# Where /var is in memory or can't be written to.
BESIDE_IDENTITY = "/etc/kubeedge/state"
GREETING = """{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting", "namespace": "default"},
 "data": {"text": "kept on flash"}}"""
COME_SECONDS = 120


def give(life):
    life.step("gets an object of the cloud, and keeps it where it lasts", lambda: do_give(life.device))


def do_give(device):
    place = folder(device)
    device.cloud.apply(GREETING, device.node)
    wait_for(lambda: device.machine.run(f"grep -q 'kept on flash' {path(device)}").status == 0, COME_SECONDS, path(device))
    said = device.must("kubeedge status | grep 'objects in'")
    assert said.split(",")[0].endswith(place), said
    # It is memory that does not last.
    kind = device.must(f"stat -f -c %T {place}")
    assert kind == "ext2/ext3", kind
    return said


def folder(device):
    return BESIDE_IDENTITY if device.system == "procd" or device.is_read_only else USUAL


def path(device):
    return f"{folder(device)}/meta/configmap/default/greeting.json"


def file(device):
    """What tells the file that is there from one that was written anew."""
    return device.must(f"stat -c '%i %Y' {path(device)}")
