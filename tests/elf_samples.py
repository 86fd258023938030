"""Makes small ELF files that are right or wrong in one way, for tests/musl_build.py. They don't run."""

import struct

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
SHT_PROGBITS, SHT_ARM_ATTRIBUTES, SHT_MIPS_ABIFLAGS = 1, 0x70000003, 0x7000002A

# target -> what sample() needs to make a right one
RIGHT = {
    "x86_64": {"bits": 64, "machine": 62},
    "aarch64": {"bits": 64, "machine": 183},
    "armv7": {"machine": 40, "flags": 0x5000400, "arm": (10, 1)},
    "armv6": {"machine": 40, "flags": 0x5000400, "arm": (6, 1)},
    "mipsel": {"machine": 8, "flags": 0x70001000, "mips_float": 3},
    "mips": {"machine": 8, "flags": 0x70001000, "mips_float": 3, "big": True},
    "riscv64": {"bits": 64, "machine": 243, "flags": 5},
}


def sample(
    bits=32, big=False, machine=0, flags=0, kind=2, interp=False, dynamic=None, arm=None, mips_float=None
):
    """kind: e_type; dynamic: (tag, value) pairs; arm: (Tag_CPU_arch, Tag_ABI_VFP_args)."""
    order = ">" if big else "<"
    segments = [(PT_LOAD, b"")]
    if interp:
        segments.append((PT_INTERP, b"/lib/ld.so\0"))
    if dynamic is not None:
        pairs = "q" if bits == 64 else "i"
        segments.append((PT_DYNAMIC, b"".join(struct.pack(order + pairs * 2, *pair) for pair in dynamic)))
    sections = [(SHT_PROGBITS, b"code")]
    if arm is not None:
        sections.append((SHT_ARM_ATTRIBUTES, arm_attributes(order, *arm)))
    if mips_float is not None:
        flags_record = struct.pack(order + "HBBBBBBIIII", 0, 32, 2, 1, 0, 0, mips_float, 0, 0, 0, 0)
        sections.append((SHT_MIPS_ABIFLAGS, flags_record))

    header, segment, section = (64, 56, 64) if bits == 64 else (52, 32, 40)
    at = header + segment * len(segments) + section * len(sections)
    tables = data = b""
    for number, body in segments:
        tables += segment_header(order, bits, number, at + len(data), len(body))
        data += body
    for number, body in sections:
        layout = "IIQQQQIIQQ" if bits == 64 else "IIIIIIIIII"
        tables += struct.pack(order + layout, 0, number, 0, 0, at + len(data), len(body), 0, 0, 0, 0)
        data += body

    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 2 if big else 1, 1]) + bytes(9)
    words = "QQQ" if bits == 64 else "III"
    rest = struct.pack(
        order + "HHI" + words + "IHHHHHH",
        *(kind, machine, 1, 0, header, header + segment * len(segments), flags),
        *(header, segment, len(segments), section, len(sections), 0),
    )
    return ident + rest + tables + data


def segment_header(order, bits, number, offset, size):
    if bits == 64:
        return struct.pack(order + "IIQQQQQQ", number, 5, offset, 0, 0, size, size, 1)
    return struct.pack(order + "IIIIIIII", number, offset, 0, 0, size, size, 5, 1)


def arm_attributes(order, arch, vfp_args):
    # Tag_CPU_name is a text, and stands before what is looked for.
    tags = b"\x05cortex\0" + bytes([6, arch, 28, vfp_args])
    whole_file = b"\x01" + struct.pack(order + "I", 5 + len(tags)) + tags
    vendor = b"aeabi\0" + whole_file
    return b"A" + struct.pack(order + "I", 4 + len(vendor)) + vendor
