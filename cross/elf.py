#!/usr/bin/env python3
"""Refuses a file that is not the static ELF executable it should be: elf.py FILE KEY=VALUE...

Keys (cross/<target>.conf has them, as `elf`): class=32|64, endian=little|big, machine=NUMBER,
flags=VALUE/MASK of the header's e_flags, arm_arch=NUMBER,... (Tag_CPU_arch), arm_float=hard|soft
(Tag_ABI_VFP_args), mips_float=hard|soft (.MIPS.abiflags). Prints what it found; exit 1 names the fault.
"""

import struct
import sys

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_FLAGS_1, DF_1_PIE = 1, 0x6FFFFFFB, 0x08000000
SHT_MIPS_ABIFLAGS, SHT_ARM_ATTRIBUTES = 0x7000002A, 0x70000003
TAG_CPU_RAW_NAME, TAG_CPU_NAME, TAG_CPU_ARCH, TAG_ABI_VFP_ARGS, TAG_COMPATIBILITY = 4, 5, 6, 28, 32
MACHINES = {3: "x86", 8: "mips", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}


class Refused(Exception):
    pass


def main(path, *expectations):
    try:
        with open(path, "rb") as file:
            elf = Elf(file.read())
        check_static(elf)
        for expectation in expectations:
            check(elf, *expectation.split("=", 1))
    except (Refused, OSError) as fault:
        return f"{path}: {fault}"
    except (struct.error, IndexError):
        return f"{path}: the ELF structures are damaged or cut short"
    machine = MACHINES.get(elf.machine, elf.machine)
    print(f"{path}: static, {machine}, {elf.bits}-bit, {elf.endian} endian, flags {elf.flags:#x}")
    return 0


def check_static(elf):
    if elf.type not in (ET_EXEC, ET_DYN):
        raise Refused(f"not an executable (ELF type {elf.type})")
    kinds = [segment.kind for segment in elf.segments]
    if PT_LOAD not in kinds:
        raise Refused("not an executable (nothing to load)")
    if PT_INTERP in kinds:
        raise Refused("dynamically linked (it asks for a loader)")
    dynamic = elf.dynamic()
    if any(tag == DT_NEEDED for tag, _ in dynamic):
        raise Refused("dynamically linked (it asks for libraries)")
    if elf.type == ET_DYN and not any(t == DT_FLAGS_1 and v & DF_1_PIE for t, v in dynamic):
        raise Refused("a shared library, not an executable")


def check(elf, key, value):
    if key == "class":
        expect(f"{elf.bits}-bit", f"{value}-bit")
    elif key == "endian":
        expect(f"{elf.endian} endian", f"{value} endian")
    elif key == "machine":
        expect(f"machine {elf.machine}", f"machine {value}")
    elif key == "flags":
        flags, mask = (int(part, 0) for part in value.split("/"))
        if elf.flags & mask != flags:
            raise Refused(f"flags {elf.flags:#010x} mean another ABI ({flags:#010x} under {mask:#010x})")
    elif key == "arm_arch":
        arch = str(elf.arm_attributes().get(TAG_CPU_ARCH, 0))
        if arch not in value.split(","):
            raise Refused(f"CPU architecture tag {arch}, not {value}")
    elif key == "arm_float":
        # 1 = arguments in VFP registers; absent or 0 = in core registers
        passed = elf.arm_attributes().get(TAG_ABI_VFP_ARGS, 0)
        expect("hard float" if passed == 1 else "soft float", f"{value} float")
    elif key == "mips_float":
        expect("soft float" if elf.mips_float() == 3 else "hard float", f"{value} float")
    else:
        raise Refused(f"unknown expectation {key}")


def expect(found, wanted):
    if found != wanted:
        raise Refused(f"{found}, not {wanted}")


class Elf:
    """The parts of an ELF file that tell what it runs on."""

    def __init__(self, data):
        if data[:4] != b"\x7fELF":
            raise Refused("not an ELF file")
        self.data = data
        self.wide = data[4] == 2
        self.bits = {1: 32, 2: 64}.get(data[4], 0)
        self.endian = {1: "little", 2: "big"}.get(data[5], "unknown")
        self.order = ">" if data[5] == 2 else "<"
        fields = self.unpack("HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH", 16)
        self.type, self.machine, _, _, segments, sections, self.flags = fields[:7]
        _, segment_size, segment_count, section_size, section_count, _ = fields[7:]
        self.segments = [
            self.segment(segments + index * segment_size) for index in range(segment_count)
        ]
        self.sections = [
            self.section(sections + index * section_size) for index in range(section_count)
        ]

    def unpack(self, layout, offset):
        return struct.unpack_from(self.order + layout, self.data, offset)

    def segment(self, offset):
        if self.wide:
            kind, _, start, _, _, size = self.unpack("IIQQQQ", offset)
        else:
            kind, start, _, _, size = self.unpack("IIIII", offset)
        return Part(kind, start, size)

    def section(self, offset):
        _, kind, _, _, start, size = self.unpack("IIQQQQ" if self.wide else "IIIIII", offset)
        return Part(kind, start, size)

    def dynamic(self):
        layout, step = ("qQ", 16) if self.wide else ("iI", 8)
        return [
            self.unpack(layout, offset)
            for segment in self.segments
            if segment.kind == PT_DYNAMIC
            for offset in range(segment.start, segment.start + segment.size, step)
        ]

    def one_section(self, kind, name):
        for section in self.sections:
            if section.kind == kind:
                return section
        raise Refused(f"no {name} section to tell the float ABI by")

    def mips_float(self):
        section = self.one_section(SHT_MIPS_ABIFLAGS, ".MIPS.abiflags")
        return self.unpack("HBBBBBB", section.start)[-1]

    def arm_attributes(self):
        """The public ("aeabi") attributes of the whole file: tag -> number."""
        section = self.one_section(SHT_ARM_ATTRIBUTES, ".ARM.attributes")
        reader = Reader(self.data[section.start : section.start + section.size])
        reader.skip(1 + 4)  # version, length
        reader.text()  # vendor: "aeabi"
        reader.skip(1 + 4)  # Tag_File, length
        found = {}
        while not reader.done():
            tag = reader.number()
            if tag == TAG_COMPATIBILITY:
                reader.number()
                reader.text()
            elif tag in (TAG_CPU_RAW_NAME, TAG_CPU_NAME) or (tag > 32 and tag % 2):
                reader.text()
            else:
                found[tag] = reader.number()
        return found


class Part:
    def __init__(self, kind, start, size):
        self.kind, self.start, self.size = kind, start, size


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def done(self):
        return self.at >= len(self.data)

    def skip(self, count):
        self.at += count

    def text(self):
        end = self.data.find(b"\0", self.at)
        self.at = len(self.data) if end < 0 else end + 1

    def number(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip())
    sys.exit(main(*sys.argv[1:]))
