"""OpenWrt up to 24.10: .ipk, a gzip'd tar of two gzip'd tars."""

import contents
from archive import Entry, gz, seconds, tar

# What a router calls its architecture (`opkg print-architecture`) -> the executables that run there, best first.
# Not here: arm_cortex-a9 (Broadcom's BCM53xx), arm_cortex-a7 and arm_arm926ej-s have no floating point unit.
TARGETS = {
    "armv7": [
        "arm_cortex-a5_vfpv4",
        "arm_cortex-a7_neon-vfpv4",
        "arm_cortex-a7_vfpv4",
        "arm_cortex-a8_vfpv3",
        "arm_cortex-a9_neon",
        "arm_cortex-a9_vfpv3-d16",
        "arm_cortex-a15_neon-vfpv4",
    ],
    "armv6": ["arm_arm1176jzf-s_vfp"],
    "aarch64": ["aarch64_cortex-a53", "aarch64_cortex-a72", "aarch64_cortex-a76", "aarch64_generic"],
    "mipsel": ["mipsel_24kc", "mipsel_24kc_24kf", "mipsel_74kc"],
    "mips": ["mips_24kc"],
    "riscv64": ["riscv64_generic"],
    "x86_64": ["x86_64"],
}
RELEASE = "r1"


def make(package):
    """(name, content) of each: a package's architecture must be the router's, to the letter."""
    entries = contents.openwrt(package)
    data = gz(tar(entries, prefix="./"))
    version = f"{package.version}-{RELEASE}"
    for architecture in TARGETS.get(package.target, []):
        members = [
            Entry("debian-binary", b"2.0\n"),
            Entry("data.tar.gz", data),
            Entry("control.tar.gz", gz(control(package, version, architecture, entries))),
        ]
        yield f"{package.name}_{version}_{architecture}.ipk", gz(tar(members, prefix="./", folders=False))


def control(package, version, architecture, entries):
    fields = {
        "Package": package.name,
        "Version": version,
        # Only one can be there. No "Replaces": opkg then forgets which files the new one has.
        "Conflicts": package.other,
        "Provides": package.other,
        "Source": "kubeedge",
        "License": contents.cargo()["license"],
        "Section": "net",
        "SourceDateEpoch": seconds(),
        "Architecture": architecture,
        "Installed-Size": contents.installed_size(entries),
        "Description": package.summary,
    }
    kept = "".join(f"/{entry.path}\n" for entry in entries if entry.is_configuration)
    return tar(
        [
            Entry("control", "".join(f"{key}: {value}\n" for key, value in fields.items()).encode()),
            Entry("conffiles", kept.encode()),
            Entry("postinst", contents.read("packaging/openwrt/postinst"), 0o755),
            Entry("prerm", contents.read("packaging/openwrt/prerm"), 0o755),
        ],
        prefix="./",
    )
