#!/usr/bin/env python3
"""The packages of packaging/build.sh: read member by member, and installed, upgraded and removed.

usage: tests/packages.py          of stand-ins for executables; with dpkg, and with opkg and apk where there are any
       tests/packages.py --built  the sizes of packages of the executables in dist/
Ends with `N passed, N failed, N skipped`.
"""

import hashlib
import os
import sys
import tempfile
import unittest

import elf_samples
import package_readers as readers
from package_places import EPOCH, NOBODY, OFFLINE, TARGETS, TOP, Place, run

ROOT = (0, 0, "root", "root")
PROGRAMS = {
    "usr/bin/kubeedge": (0o755, ""),
    "usr/bin/keadm": (0o777, "kubeedge"),
    "usr/bin/edgecore": (0o777, "kubeedge"),
}
CLOUD = {"usr/bin/cloudcore": (0o777, "kubeedge")}
# format -> what is installed by kubeedge-edge, and by kubeedge besides: path -> mode, where a link leads
FILES = {
    "openwrt": (
        {
            "etc/init.d/edgecore": (0o755, ""),
            "etc/config/kubeedge": (0o600, ""),
            "lib/upgrade/keep.d/kubeedge": (0o644, ""),
        },
        {"etc/init.d/cloudcore": (0o755, "")},
    ),
    "alpine": (
        {"etc/init.d/edgecore": (0o755, ""), "etc/conf.d/edgecore": (0o644, "")},
        {"etc/init.d/cloudcore": (0o755, ""), "etc/conf.d/cloudcore": (0o644, "")},
    ),
    "debian": (
        {
            "lib/systemd/system/edgecore.service": (0o644, ""),
            "lib/systemd/system/edgecore.service.d/package.conf": (0o644, ""),
            "etc/default/edgecore": (0o644, ""),
        },
        {"lib/systemd/system/cloudcore.service": (0o644, ""), "etc/default/cloudcore": (0o644, "")},
    ),
}
# Bytes of packages and of executables, for devices with little flash.
LIMITS = {
    "kubeedge-edge, installed": 1_800_000,
    "kubeedge-edge, packed as .deb": 1_000_000,
    # docs/decisions.md, "What the executable weighs", says which goals are missed, and why.
    "kubeedge-edge, packed as .ipk": 1_220_000,
    "kubeedge, packed as .ipk": 2_470_000,
}


class Formats(unittest.TestCase):
    """What is in the packages of every target and both flavours."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.place = Place(cls.folder.name)
        cls.place.build()

    def each(self, pattern, architectures):
        """(flavour, architecture, target, content) of each package that must be there."""
        for flavour, name in (("full", "kubeedge"), ("edge", "kubeedge-edge")):
            for architecture, target in architectures.items():
                with self.subTest(name=name, architecture=architecture):
                    file = pattern.format(name=name, version="1.0.0", architecture=architecture)
                    yield flavour, architecture, target, self.place.package(file)

    def check(self, read, system, flavour, target, more=()):
        edge, cloud = FILES[system]
        expected = {**PROGRAMS, **edge, **({**CLOUD, **cloud} if flavour == "full" else {}), **dict(more)}
        found = {path: (member.mode, member.link) for path, member in read.files.items()}
        self.assertEqual(found, expected)
        for path, member in {**read.files, **read.folders}.items():
            self.assertEqual(member.owner, ROOT, path)
        for path, member in read.files.items():
            self.assertEqual(member.time, EPOCH, path)
        for path, member in read.folders.items():
            self.assertEqual(member.mode, 0o755, path)
        self.assertEqual(read.files["usr/bin/kubeedge"].content, self.place.executable("1.0.0", flavour, target))
        for path, member in read.files.items():
            self.assertNotIn(b"/usr/local/bin", member.content, f"{path} names where a package puts nothing")

    OPENWRT = {
        "arm_cortex-a7_neon-vfpv4": "armv7",
        "arm_cortex-a9_vfpv3-d16": "armv7",
        "arm_arm1176jzf-s_vfp": "armv6",
        "aarch64_cortex-a53": "aarch64",
        "aarch64_generic": "aarch64",
        "mipsel_24kc": "mipsel",
        "x86_64": "x86_64",
    }

    def test_ipk(self):
        for flavour, architecture, target, data in self.each("{name}_{version}-r1_{architecture}.ipk", self.OPENWRT):
            read = readers.ipk(data)
            self.check(read, "openwrt", flavour, target)
            names = ["kubeedge", "kubeedge-edge"] if flavour == "full" else ["kubeedge-edge", "kubeedge"]
            found = [read.fields[key] for key in ("Package", "Conflicts", "Provides", "Version", "Architecture")]
            self.assertEqual(found, [*names, names[1], "1.0.0-r1", architecture])
            self.assertEqual(int(read.fields["SourceDateEpoch"]), EPOCH)
            self.assertEqual(read.kept, ["/etc/config/kubeedge"])
            self.assertEqual(set(read.scripts), {"postinst", "prerm"})
            self.assertEqual(read.files["lib/upgrade/keep.d/kubeedge"].content, b"/etc/kubeedge/\n")

    def test_openwrt_apk(self):
        for flavour, architecture, target, data in self.each("{name}-{version}-r1.openwrt-{architecture}.apk", self.OPENWRT):
            read = readers.openwrt_apk(data)
            name, other = ("kubeedge", "kubeedge-edge") if flavour == "full" else ("kubeedge-edge", "kubeedge")
            lists = {f"lib/apk/packages/{name}.{end}": (0o644, "") for end in ("list", "conffiles", "conffiles_static")}
            self.check(read, "openwrt", flavour, target, lists)
            found = [read.fields[key] for key in ("name", "version", "arch", "build-time")]
            self.assertEqual(found, [name, "1.0.0-r1", architecture, EPOCH])
            self.assertEqual(read.fields["provides"], [[other.encode(), b"1.0.0-r1"]])
            self.assertEqual(read.fields["replaces"], [[other.encode()]])
            self.assertEqual(set(read.scripts), {"post-install", "pre-deinstall", "pre-upgrade", "post-upgrade"})
            for script, content in read.scripts.items():
                upgrades = " PKG_UPGRADE=1" if script.endswith("upgrade") else ""
                self.assertTrue(content.startswith(f"#!/bin/sh\nexport pkgname={name}{upgrades}\n".encode()), content)
            listed = read.files[f"lib/apk/packages/{name}.list"].content.decode().split()
            self.assertEqual(listed, sorted(f"/{path}" for path in read.files if path not in lists))
            digest = hashlib.sha256(read.files["etc/config/kubeedge"].content).hexdigest()
            static = read.files[f"lib/apk/packages/{name}.conffiles_static"].content.decode()
            self.assertEqual(static, f"/etc/config/kubeedge {digest}\n")

    def test_alpine(self):
        architectures = {"armv7": "armv7", "armhf": "armv6", "aarch64": "aarch64", "x86_64": "x86_64"}
        for flavour, architecture, target, data in self.each("{name}-{version}-r0.alpine-{architecture}.apk", architectures):
            read = readers.alpine(data)
            self.check(read, "alpine", flavour, target)
            name, other = ("kubeedge", "kubeedge-edge") if flavour == "full" else ("kubeedge-edge", "kubeedge")
            found = [read.fields[key] for key in ("pkgname", "pkgver", "arch", "provides", "replaces", "builddate")]
            self.assertEqual(found, [name, "1.0.0-r0", architecture, f"{other}=1.0.0-r0", other, str(EPOCH)])
            self.assertEqual(set(read.scripts), {"post-install", "post-upgrade", "pre-deinstall"})

    def test_deb(self):
        architectures = {"armhf": "armv7", "armhf-armv6": "armv6", "arm64": "aarch64", "amd64": "x86_64"}
        for flavour, architecture, target, data in self.each("{name}_{version}-1_{architecture}.deb", architectures):
            read = readers.deb(data)
            name, other = ("kubeedge", "kubeedge-edge") if flavour == "full" else ("kubeedge-edge", "kubeedge")
            papers = ["share/doc/{}/copyright", "share/doc/{}/changelog.Debian.gz", "share/lintian/overrides/{}"]
            more = {"usr/" + path.format(name): (0o644, "") for path in papers}
            self.check(read, "debian", flavour, target, more)
            # Their owners and modes, which systemd would have them have, are checked with those of all folders.
            above = {path.rpartition("/")[0] for path in (*read.files, *read.folders)}
            self.assertEqual(set(read.folders) - above, {"var/lib/kubeedge", "var/log/kubeedge"})
            keys = ("Package", "Version", "Architecture", "Conflicts", "Provides", "Replaces")
            expected = [name, "1.0.0-1", architecture.removesuffix("-armv6"), *[other] * 3]
            self.assertEqual([read.fields[key] for key in keys], expected)
            kept = {"full": ["/etc/default/cloudcore", "/etc/default/edgecore"], "edge": ["/etc/default/edgecore"]}
            self.assertEqual(sorted(read.kept), kept[flavour])
            self.assertEqual(set(read.scripts), {"postinst", "postrm", "prerm"})
            unit = read.files["lib/systemd/system/edgecore.service"].content.decode()
            own = ["/etc/kubeedge", "/var/lib/kubeedge", "/run/kubeedge", "/var/log/kubeedge"]
            lines = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ReadWritePaths=")]
            # Only the whole one replaces itself.
            self.assertEqual(" ".join(lines).split(), [f"-{path}" for path in own + ["/usr/bin"] * (flavour == "full")])
            self.assertEqual("replace the executable" in unit, flavour == "full")

    def test_tar_gz(self):
        for flavour, target, _, data in self.each("{name}-{version}-{architecture}.tar.gz", {t: t for t in TARGETS}):
            folder = f"{'kubeedge' if flavour == 'full' else 'kubeedge-edge'}-1.0.0-{target}"
            files = readers.tar_gz(data)
            modes = {path: member.mode for path, member in files.items()}
            expected = {f"{folder}/kubeedge": 0o755, f"{folder}/install.sh": 0o755, f"{folder}/LICENSE": 0o644}
            self.assertEqual(modes, expected)
            for path, member in files.items():
                self.assertEqual((member.owner, member.time), (ROOT, EPOCH), path)

    def test_sums_are_those_of_every_package(self):
        with open(f"{self.place.out}/SHA256SUMS") as file:
            sums = dict(reversed(line.split()) for line in file)
        names = set(os.listdir(self.place.out)) - {"SHA256SUMS"}
        self.assertEqual(set(sums), names)
        for name in names:
            self.assertEqual(sums[name], hashlib.sha256(self.place.package(name)).hexdigest(), name)

    def test_no_router_finds_two_packages(self):
        said = [readers.ipk(self.place.package(name)).fields for name in os.listdir(self.place.out) if name.endswith(".ipk")]
        pairs = [(fields["Package"], fields["Architecture"]) for fields in said]
        self.assertEqual(len(pairs), len(set(pairs)))

    @unittest.skipUnless(OFFLINE, "no right to take the network away, with which all of these tests run then")
    def test_all_is_done_without_a_network(self):
        interfaces = [line.split(":")[0].strip() for line in run(["cat", "/proc/self/net/dev"]).splitlines()[2:]]
        self.assertEqual(interfaces, ["lo"])

    def test_same_bytes_twice(self):
        """From another folder, by another umask, in another time zone, of files with other times; without root."""
        with tempfile.TemporaryDirectory() as folder:
            other = Place(f"{folder}/other")
            for above, _, names in os.walk(other.top):
                for name in names:
                    os.utime(f"{above}/{name}", (1, 1), follow_symlinks=False)
            other.build(umask=0o077, environment={"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"})
            self.assertEqual(self.place.sums(), other.sums())
            if os.geteuid() == 0:
                os.chmod(folder, 0o755)
                other.build(within=other.give_away())
                self.assertEqual(self.place.sums(), other.sums(), "made without root")
                self.assertEqual(os.stat(other.out).st_uid, NOBODY)
            other.build(environment={"SOURCE_DATE_EPOCH": str(EPOCH + 1)})
            self.assertNotEqual(self.place.sums(), other.sums())


class Refusals(unittest.TestCase):
    """Each is one sentence, and leaves the packages that were there."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.place = Place(folder.name)

    def refused(self, sentence, *options, status=1):
        said = self.place.build(*options, status=status)
        self.assertIn(sentence, said)
        self.assertEqual(len([line for line in said.splitlines() if line.startswith("packaging")]), 1, said)
        self.assertNotIn("Traceback", said)

    def test_no_executable(self):
        os.remove(f"{self.place.dist}/kubeedge-1.0.0-armv7")
        self.refused("kubeedge-1.0.0-armv7: run ./musl-build.sh armv7 first", "--flavour", "full", "armv7")
        self.refused("run ./musl-build.sh --edge riscv64 first", "--flavour", "edge", "riscv64")

    def test_no_executables_at_all(self):
        self.refused("there is no kubeedge-7.0.0-TARGET in", "--version", "7.0.0")

    def test_another_architecture(self):
        self.place.build("x86_64")
        before = self.place.sums()
        with open(f"{self.place.dist}/kubeedge-1.0.0-armv7", "wb") as file:
            file.write(elf_samples.sample(**elf_samples.RIGHT["armv6"]))
        self.refused("not an executable for armv7: ", "armv7")
        self.assertEqual(self.place.sums(), before)

    def test_what_nobody_knows(self):
        self.refused("unknown target pdp11", "--flavour", "full", "pdp11")
        self.refused("no format is called rpm", "--format", "rpm", status=2)
        self.refused("invalid choice: 'half'", "--flavour", "half", status=2)


class Built(unittest.TestCase):
    """The real executables, by limits that are promised."""

    def test_sizes(self):
        sys.path.insert(0, f"{TOP}/packaging")
        import contents

        version, dist = contents.cargo()["version"], f"{TOP}/dist"
        run([f"{TOP}/packaging/build.sh"])
        packed = f"{version}-r1_arm_cortex-a7_neon-vfpv4.ipk"
        sizes = {
            "kubeedge-edge, installed": contents.installed_size(contents.openwrt(contents.load(dist, version, "edge", "armv7"))),
            "kubeedge-edge, packed as .deb": os.path.getsize(f"{dist}/packages/kubeedge-edge_{version}-1_armhf.deb"),
            "kubeedge-edge, packed as .ipk": os.path.getsize(f"{dist}/packages/kubeedge-edge_{packed}"),
            "kubeedge, packed as .ipk": os.path.getsize(f"{dist}/packages/kubeedge_{packed}"),
        }
        over = over_limit(sizes)
        self.assertFalse(over, over)


def over_limit(sizes):
    """A sentence for each that is larger than it may be."""
    return [f"{what}: {size} bytes, {size - LIMITS[what]} too many" for what, size in sizes.items() if size > LIMITS[what]]


class Limits(unittest.TestCase):
    def test_one_byte_too_many_is_too_many(self):
        self.assertEqual(over_limit(LIMITS), [])
        for what, limit in LIMITS.items():
            self.assertEqual(over_limit({what: limit + 1}), [f"{what}: {limit + 1} bytes, 1 too many"])


def main():
    loader = unittest.defaultTestLoader
    if sys.argv[1:] == ["--built"]:
        suite = loader.loadTestsFromTestCase(Built)
    elif not sys.argv[1:]:
        import package_installs

        cases = [Formats, Refusals, Limits]
        suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases)
        suite.addTests(loader.loadTestsFromModule(package_installs))
    else:
        sys.exit(__doc__)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    # A subtest that fails counts by itself, so that a test may fail more than once.
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    passed = max(0, result.testsRun - skipped - len({str(test).split(" (")[0] for test, _ in result.failures + result.errors}))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
