"""Packages installed, upgraded with a changed configuration, and removed, for tests/packages.py."""

import hashlib
import os
import platform
import shutil
import tempfile
import unittest

import package_readers as readers
from package_places import Place, run

SHELLS = [["dash"], ["busybox", "ash"]]
MINE = "mine = 1\n"
IDENTITY = "etc/kubeedge/certs/server.key"
FOLDERS = ["var/lib/kubeedge", "var/log/kubeedge"]


class Installed(unittest.TestCase):
    """Versions 1.0.0 and 2.0.0, which has another configuration too, and an empty root."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.places = {version: Place(f"{folder.name}/{version}", [version]) for version in ("1.0.0", "2.0.0")}
        for name in ("packaging/debian/edgecore.default", "init-scripts/procd/kubeedge.config", "init-scripts/openrc/edgecore.confd"):
            with open(f"{cls.places['2.0.0'].top}/{name}", "a") as file:
                file.write("# new in 2.0.0\n")
        for version, place in cls.places.items():
            place.build("--format", cls.FORMAT, *cls.TARGETS, version=version)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name

    def at(self, path):
        return f"{self.root}/{path}"

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        with open(self.at(path), "w") as file:
            file.write(text)
        os.chmod(self.at(path), mode)

    def read(self, path):
        with open(self.at(path)) as file:
            return file.read()

    def file(self, version, pattern, name="kubeedge"):
        return f"{self.places[version].out}/" + pattern.format(name=name, version=version)

    def check_programs(self, version, flavour, target, folder="usr/bin"):
        with open(self.at(f"{folder}/kubeedge"), "rb") as file:
            self.assertEqual(file.read(), Place.executable(version, flavour, target))
        links = sorted(name for name in os.listdir(self.at(folder)) if os.path.islink(self.at(f"{folder}/{name}")))
        self.assertEqual(links, ["cloudcore", "edgecore", "keadm"] if flavour == "full" else ["edgecore", "keadm"])
        for name in links:
            self.assertEqual(os.readlink(self.at(f"{folder}/{name}")), "kubeedge")

    def check_gone(self):
        left = [name for name in ("kubeedge", "edgecore", "keadm", "cloudcore") if os.path.lexists(self.at(f"usr/bin/{name}"))]
        self.assertEqual(left, [])
        self.assertFalse(os.path.lexists(self.at("etc/init.d/edgecore")))


@unittest.skipUnless(shutil.which("dpkg") and shutil.which("deb-systemd-helper") and os.geteuid() == 0, "no dpkg, or not root")
class Dpkg(Installed):
    FORMAT, TARGETS = "deb", ["x86_64"]
    PATTERN = "{name}_{version}-1_amd64.deb"
    ENABLED = "etc/systemd/system/multi-user.target.wants/edgecore.service"

    def setUp(self):
        super().setUp()
        for folder in ("info", "updates", "triggers"):
            os.makedirs(self.at(f"var/lib/dpkg/{folder}"))
        self.write("var/lib/dpkg/status", "")
        self.write("var/lib/dpkg/arch", "amd64\n")

    def dpkg(self, *words):
        # The scripts run with $DPKG_ROOT, so that the root needs no shell of its own.
        options = [f"--root={self.root}", "--force-script-chrootless", "--force-architecture", "--force-confold"]
        return run(["dpkg", *options, *words])

    def install(self, version, name="kubeedge"):
        return self.dpkg("--install", self.file(version, self.PATTERN, name))

    def test_install_upgrade_remove_purge(self):
        self.install("1.0.0")
        self.check_programs("1.0.0", "full", "x86_64")
        self.assertTrue(os.path.lexists(self.at(self.ENABLED)))
        self.assertFalse(os.path.lexists(self.at(self.ENABLED.replace("edgecore", "cloudcore"))))
        self.assertIn("ExecStart=/usr/bin/edgecore\n", self.read("lib/systemd/system/edgecore.service"))

        self.write("etc/default/edgecore", MINE)
        self.write(IDENTITY, "key", 0o600)
        for folder in FOLDERS:
            # As systemd would make them.
            self.assertEqual(os.stat(self.at(folder)).st_mode & 0o7777, 0o755)
            self.write(f"{folder}/mine", MINE)
        os.remove(self.at(self.ENABLED))
        self.install("2.0.0")
        self.check_programs("2.0.0", "full", "x86_64")
        self.assertEqual(self.read("etc/default/edgecore"), MINE)
        self.assertIn("new in 2.0.0", self.read("etc/default/edgecore.dpkg-dist"))
        self.assertFalse(os.path.lexists(self.at(self.ENABLED)), "an upgrade enables what was disabled")
        self.assertEqual(self.read(IDENTITY), "key")

        self.dpkg("--remove", "kubeedge")
        self.check_gone()
        self.assertEqual(self.read("etc/default/edgecore"), MINE)
        self.assertEqual(self.read(IDENTITY), "key")
        self.assertEqual([self.read(f"{folder}/mine") for folder in FOLDERS], [MINE] * 2)
        self.dpkg("--purge", "kubeedge")
        self.assertEqual([path for path in ("etc/kubeedge", *FOLDERS) if os.path.exists(self.at(path))], [])
        self.assertFalse(os.path.exists(self.at("etc/default/edgecore")))

    def test_one_flavour_takes_the_place_of_the_other(self):
        self.install("1.0.0")
        self.write("etc/default/edgecore", MINE)
        self.write(IDENTITY, "key", 0o600)
        self.dpkg("--auto-deconfigure", "-B", "--install", self.file("2.0.0", self.PATTERN, "kubeedge-edge"))
        self.check_programs("2.0.0", "edge", "x86_64")
        self.assertEqual(self.read("etc/default/edgecore"), MINE)
        # What the first left behind is not what the second lives on.
        self.dpkg("--purge", "kubeedge")
        self.check_programs("2.0.0", "edge", "x86_64")
        self.assertEqual(self.read(IDENTITY), "key")
        self.assertEqual(self.read("etc/default/edgecore"), MINE)
        self.assertTrue(os.path.lexists(self.at(self.ENABLED)))

    def test_a_purge_keeps_what_runs_without_the_package(self):
        for program in ("kubeedge", "edgecore"):
            self.install("1.0.0")
            self.write(IDENTITY, "key", 0o600)
            self.write("var/lib/kubeedge/meta/objects", "mine")
            self.dpkg("--remove", "kubeedge")
            self.write(f"usr/local/bin/{program}", "another", 0o755)
            self.dpkg("--purge", "kubeedge")
            self.assertEqual(self.read(IDENTITY), "key")
            self.assertEqual(self.read("var/lib/kubeedge/meta/objects"), "mine")
            os.remove(self.at(f"usr/local/bin/{program}"))

    def test_a_purge_keeps_a_cloud(self):
        for key in ("etc/kubeedge/ca/rootCA.key", "etc/kubeedge/cloudcore/ca.key"):
            self.install("1.0.0")
            self.write(key, "key", 0o600)
            said = self.dpkg("--purge", "kubeedge")
            self.assertIn("has the keys of a cloud", said)
            self.assertEqual(self.read(key), "key")
            shutil.rmtree(self.at("etc/kubeedge"))


class OpenWrt(Installed):
    """The scripts of .ipk and .apk as opkg, apk and ImageBuilder run them, with a stand-in for OpenWrt's functions."""

    FORMAT, TARGETS = "ipk,openwrt-apk", ["armv7"]
    PATTERNS = {"ipk": "{name}_{version}-r1_arm_cortex-a7_neon-vfpv4.ipk", "apk": "{name}-{version}-r1.openwrt-arm_cortex-a7_neon-vfpv4.apk"}
    # What the real ones do with services, told instead of done.
    FUNCTIONS = """
tell() { echo "$1 ${pkgname:-$(basename "${2%.*}")} root=${IPKG_INSTROOT:-none} upgrade=${PKG_UPGRADE:-0}" >>"$TOLD"; }
default_postinst() { tell postinst "$1"; }
default_prerm() { tell prerm "$1"; }
"""

    def script(self, shell, name, text, **environment):
        """Returns what OpenWrt's functions were told."""
        self.write("told", "")
        self.write(f"info/{name}", text.decode())
        words = {"IPKG_INSTROOT": self.root, "TOLD": self.at("told"), **environment}
        run([*shell, self.at(f"info/{name}")], words)
        return self.read("told").strip()

    def test_scripts_of_ipk(self):
        with open(self.file("1.0.0", self.PATTERNS["ipk"], "kubeedge-edge"), "rb") as file:
            scripts = readers.ipk(file.read()).scripts
        for shell in SHELLS:
            with self.subTest(shell=shell):
                # Entware and others have no such functions.
                shutil.rmtree(self.at("lib"), ignore_errors=True)
                self.assertEqual(self.script(shell, "kubeedge-edge.postinst", scripts["postinst"]), "")
                self.assertEqual(self.script(shell, "kubeedge-edge.prerm", scripts["prerm"]), "")
                self.write("lib/functions.sh", self.FUNCTIONS)
                for name in ("postinst", "prerm"):
                    told = self.script(shell, f"kubeedge-edge.{name}", scripts[name])
                    self.assertEqual(told, f"{name} kubeedge-edge root={self.root} upgrade=0")
                self.assertEqual(self.script(shell, "kubeedge-edge.postinst", scripts["postinst"], IPKG_NO_SCRIPT="1"), "")

    def test_scripts_of_apk(self):
        with open(self.file("1.0.0", self.PATTERNS["apk"]), "rb") as file:
            scripts = readers.openwrt_apk(file.read()).scripts
        expected = {
            "post-install": "postinst kubeedge root={} upgrade=0",
            "pre-deinstall": "prerm kubeedge root={} upgrade=0",
            "pre-upgrade": "prerm kubeedge root={} upgrade=1",
            "post-upgrade": "postinst kubeedge root={} upgrade=1",
        }
        self.write("lib/functions.sh", self.FUNCTIONS)
        for shell in SHELLS:
            for name, told in expected.items():
                self.assertEqual(self.script(shell, f"x.{name}", scripts[name]), told.format(self.root))

    def test_a_service_script_reads_as_one(self):
        """In both shells, under both names, by OpenWrt's way to start it: as the argument of rc.common."""
        with open(self.file("1.0.0", self.PATTERNS["ipk"]), "rb") as file:
            files = readers.ipk(file.read()).files
        for shell in SHELLS:
            for role in ("edgecore", "cloudcore"):
                self.write(f"etc/init.d/{role}", files[f"etc/init.d/{role}"].content.decode(), 0o755)
                tried = f'initscript=/etc/init.d/{role}; . {self.at(f"etc/init.d/{role}")}; echo $N $START'
                self.assertEqual(run([*shell, "-c", tried]), f"{role} 95\n")


@unittest.skipUnless(shutil.which("opkg"), "no opkg, which Debian and PyPI lack")
class Opkg(Installed):
    FORMAT, TARGETS = "ipk", ["armv7"]
    PATTERN = "{name}_{version}-r1_arm_cortex-a7_neon-vfpv4.ipk"

    def setUp(self):
        super().setUp()
        self.write("etc/opkg.conf", "dest root /\narch all 1\narch arm_cortex-a7_neon-vfpv4 10\n")
        os.makedirs(self.at("usr/lib/opkg"))
        os.makedirs(self.at("tmp"))

    def opkg(self, *words, status=0):
        return run(["opkg", "-o", self.root, "-f", self.at("etc/opkg.conf"), *words], {"IPKG_INSTROOT": self.root}, status)

    def test_install_upgrade_remove(self):
        self.opkg("install", self.file("1.0.0", self.PATTERN))
        self.check_programs("1.0.0", "full", "armv7")
        self.write("etc/config/kubeedge", MINE, 0o600)
        self.opkg("install", self.file("2.0.0", self.PATTERN))
        self.check_programs("2.0.0", "full", "armv7")
        self.assertEqual(self.read("etc/config/kubeedge"), MINE)
        self.assertIn("new in 2.0.0", self.read("etc/config/kubeedge-opkg"))
        edge = self.file("2.0.0", self.PATTERN, "kubeedge-edge")
        self.opkg("install", edge, status=255)
        self.check_programs("2.0.0", "full", "armv7")
        self.opkg("remove", "kubeedge")
        self.check_gone()
        self.assertEqual(self.read("etc/config/kubeedge"), MINE)
        self.opkg("install", edge)
        self.check_programs("2.0.0", "edge", "armv7")
        self.assertEqual(self.read("etc/config/kubeedge"), MINE)


    def test_in_the_place_of_what_join_wrote(self):
        """tests/init_scripts.rs has what `kubeedge service` does then."""
        kept = ["etc/kubeedge/config/edgecore.yaml", IDENTITY, "etc/config/kubeedge"]
        replaced = ["etc/init.d/edgecore", "lib/upgrade/keep.d/kubeedge"]
        for path in kept + replaced:
            self.write(path, MINE, 0o600)
        self.opkg("install", self.file("1.0.0", self.PATTERN))
        self.check_programs("1.0.0", "full", "armv7")
        self.assertEqual([self.read(path) for path in kept], [MINE] * len(kept))
        self.assertIn("/usr/bin/", self.read(replaced[0]))
        self.assertEqual(self.read(replaced[1]), "/etc/kubeedge/\n")


@unittest.skipUnless(shutil.which("apk"), "no apk, which Debian and PyPI lack")
class Apk(Installed):
    FORMAT, TARGETS = "alpine,openwrt-apk", ["armv7"]

    def apk(self, *words, architecture="armv7"):
        options = ["--root", self.root, "--arch", architecture, "--no-network", "--allow-untrusted"]
        return run(["apk", *options, "--repositories-file", "/dev/null", *words])

    def life(self, pattern, configuration, architecture):
        self.apk("--initdb", "add", "--no-scripts", self.file("1.0.0", pattern), architecture=architecture)
        self.check_programs("1.0.0", "full", "armv7")
        self.write(configuration, MINE)
        self.apk("add", "--no-scripts", self.file("2.0.0", pattern), architecture=architecture)
        self.check_programs("2.0.0", "full", "armv7")
        self.assertEqual(self.read(configuration), MINE)
        self.assertIn("new in 2.0.0", self.read(f"{configuration}.apk-new"))
        self.assertEqual(self.apk("audit", "--system", architecture=architecture), "")
        self.apk("del", "--no-scripts", "kubeedge", architecture=architecture)
        self.check_gone()
        self.apk("add", "--no-scripts", self.file("2.0.0", pattern, "kubeedge-edge"), architecture=architecture)
        self.check_programs("2.0.0", "edge", "armv7")

    def test_alpine(self):
        self.life("{name}-{version}-r0.alpine-armv7.apk", "etc/conf.d/edgecore", "armv7")

    def test_openwrt(self):
        name = "arm_cortex-a7_neon-vfpv4"
        self.life("{name}-{version}-r1.openwrt-%s.apk" % name, "etc/config/kubeedge", name)


class Alpine(Installed):
    """Its scripts, with stand-ins for OpenRC's tools."""

    FORMAT, TARGETS = "alpine", ["armv7"]

    def test_scripts(self):
        with open(self.file("1.0.0", "{name}-{version}-r0.alpine-armv7.apk"), "rb") as file:
            scripts = readers.alpine(file.read()).scripts
        service = "rc-service --ifexists --ifstarted {} {}\n"
        delete = "rc-update --quiet --all delete {}\n"
        expected = {
            "post-install": "",
            "post-upgrade": service.format("edgecore", "restart") + service.format("cloudcore", "restart"),
            "pre-deinstall": "".join(service.format(n, "stop") + delete.format(n) for n in ("edgecore", "cloudcore")),
        }
        for shell in SHELLS:
            for name, told in expected.items():
                self.write(f"scripts/{name}", scripts[name].decode())
                run([*shell, self.at(f"scripts/{name}")])
                self.write("told", "")
                for tool in ("rc-service", "rc-update"):
                    self.write(f"bin/{tool}", f'#!/bin/sh\necho "{tool} $*" >>{self.at("told")}\nexit 1\n', 0o755)
                run([*shell, self.at(f"scripts/{name}")], {"PATH": f"{self.at('bin')}:{os.environ['PATH']}"})
                self.assertEqual(self.read("told"), told)
                shutil.rmtree(self.at("bin"))


class InstallScript(Installed):
    FORMAT, TARGETS = "tar.gz", ["armv7"]

    def unpack(self, version, name="kubeedge", runs=None):
        """runs: a program in place of the executable, which is of another machine."""
        with open(self.file(version, "{name}-{version}-armv7.tar.gz", name), "rb") as file:
            files = readers.tar_gz(file.read())
        for path, member in files.items():
            self.write(path, "", member.mode)
            with open(self.at(path), "wb") as file:
                file.write(member.content)
        folder = f"{name}-{version}-armv7"
        if runs is not None:
            self.write(f"{folder}/kubeedge", runs, 0o755)
        return self.at(f"{folder}/install.sh")

    def each_shell(self):
        for shell in SHELLS:
            with self.subTest(shell=shell):
                shutil.rmtree(self.at("system"), ignore_errors=True)
                os.mkdir(self.at("system"))
                yield shell

    def test_into_the_root_of_an_image(self):
        for shell in self.each_shell():
            self.write("system/etc/kubeedge/config/edgecore.yaml", MINE)
            before = os.stat(self.at("system/etc/kubeedge")).st_mtime_ns
            root = ["--root", self.at("system")]
            for version in ("1.0.0", "2.0.0"):
                said = run([*shell, self.unpack(version), *root])
                self.assertIn("installed ", said)
                self.assertNotIn("next:", said)
                self.check_programs(version, "full", "armv7", "system/usr/local/bin")
            run([*shell, self.unpack("2.0.0"), *root, "--uninstall"])
            self.assertEqual(os.listdir(self.at("system/usr/local/bin")), [])
            self.assertEqual(os.listdir(self.at("system/etc/kubeedge")), ["config"])
            self.assertEqual(os.stat(self.at("system/etc/kubeedge")).st_mtime_ns, before)

    def test_what_it_says_is_installed_is_on_the_disk(self):
        """A stand-in for sync tells what is there when it is called: whole files, before a name is theirs and after."""
        for shell in self.each_shell():
            bin = self.at("system/usr/local/bin")
            tell = f'[ ! -e {bin}/.kubeedge.new ] || sum=$(sha256sum <{bin}/.kubeedge.new)\necho "$(ls -A {bin} | tr "\\n" " ")$sum" >>{self.at("told")}\n'
            self.write("bin/sync", f"#!/bin/sh\nLC_ALL=C\nexport LC_ALL\n{tell}", 0o755)
            self.write("told", "")
            path = {"PATH": f"{self.at('bin')}:{os.environ['PATH']}"}
            run([*shell, self.unpack("1.0.0"), "--root", self.at("system")], path)
            whole = hashlib.sha256(Place.executable("1.0.0", "full", "armv7")).hexdigest()
            self.assertEqual(self.read("told").split("\n"), [f".kubeedge.new {whole}  -", "cloudcore edgecore keadm kubeedge ", ""])
            shutil.rmtree(self.at("bin"))

    def test_the_edge_has_no_cloudcore(self):
        for shell in self.each_shell():
            run([*shell, self.unpack("1.0.0", "kubeedge-edge"), f"--root={self.at('system')}", "--prefix=/usr"])
            self.check_programs("1.0.0", "edge", "armv7", "system/usr/bin")

    def test_says_what_is_next(self):
        for shell in self.each_shell():
            prefix = self.at("system")
            script = self.unpack("1.0.0", runs="#!/bin/sh\nexit 0\n")
            said = run([*shell, script, "--prefix", prefix])
            self.assertRegex(said, f"next: {prefix}/bin/keadm (join --cloudcore-ipport|service restart)")
            self.assertTrue(os.access(f"{prefix}/bin/keadm", os.X_OK))

    def test_an_executable_of_another_machine(self):
        for shell in self.each_shell():
            script = self.unpack("1.0.0", runs="#!/bin/sh\nexit 1\n")
            said = run([*shell, script, "--prefix", self.at("system")], status=1)
            self.assertIn(f"does not run on this machine ({platform.machine()})", said)
            self.assertEqual(os.listdir(self.at("system")), [])

    def test_programs_of_others_stay(self):
        for shell in self.each_shell():
            self.write("system/usr/local/bin/edgecore", "upstream")
            os.symlink("elsewhere", self.at("system/usr/local/bin/keadm"))
            root = ["--root", self.at("system")]
            said = run([*shell, self.unpack("1.0.0"), *root], status=73)
            self.assertIn("edgecore is another program", said)
            run([*shell, self.unpack("1.0.0"), *root, "--uninstall"])
            self.assertEqual(sorted(os.listdir(self.at("system/usr/local/bin"))), ["edgecore", "keadm"])

    def test_words_that_it_does_not_know(self):
        for shell in self.each_shell():
            script = self.unpack("1.0.0")
            self.assertIn("unknown option --force", run([*shell, script, "--force"], status=64))
            self.assertIn("--root needs a folder", run([*shell, script, "--root"], status=64))
            self.assertIn("must start with a slash", run([*shell, script, "--prefix", "usr"], status=64))
            self.assertIn("usage: ./install.sh", run([*shell, script, "--help"]))


class ImageBuilder(Installed):
    """With a stand-in for OpenWrt's ImageBuilder that tells what it was asked for."""

    FORMAT, TARGETS = "ipk,openwrt-apk", ["armv7"]

    def builder(self, configuration):
        self.write("builder/.config", configuration)
        told = "@printf '%s\\n' '$(PROFILE)' '$(PACKAGES)' '$(FILES)' '$(ROOTFS_PARTSIZE)' >told"
        self.write("builder/Makefile", f"image:\n\t{told}\n")
        self.write("builder/packages/kubeedge_0.0.1-r1_arm_cortex-a7_neon-vfpv4.ipk", "old")

    def image(self, *words, status=0):
        script = f"{self.places['1.0.0'].top}/packaging/openwrt/imagebuilder.sh"
        return run([script, self.at("builder"), "router", *words], status=status)

    def test_a_package_that_fits(self):
        fits = 'CONFIG_TARGET_ARCH_PACKAGES="arm_cortex-a7_neon-vfpv4"\n'
        cases = [
            (fits, [], "kubeedge-edge", "kubeedge-edge_1.0.0-r1_arm_cortex-a7_neon-vfpv4.ipk"),
            (fits, ["--flavour", "full"], "kubeedge", "kubeedge_1.0.0-r1_arm_cortex-a7_neon-vfpv4.ipk"),
            (fits + "CONFIG_USE_APK=y\n", [], "kubeedge-edge", "kubeedge-edge-1.0.0-r1.apk"),
            (fits + "CONFIG_USE_APK=y\n", ["--flavour", "full"], "kubeedge", "kubeedge-1.0.0-r1.apk"),
        ]
        for configuration, words, name, file in cases:
            self.builder(configuration)
            self.image(*words, "--", "PACKAGES=luci -ppp", "ROOTFS_PARTSIZE=256")
            self.assertEqual(os.listdir(self.at("builder/packages")), [file])
            told = self.read("builder/told").split("\n")[:4]
            self.assertEqual(told, ["router", f"{name} luci -ppp", "kubeedge-files", "256"])

    def test_devices_that_join_by_themselves(self):
        self.builder('CONFIG_TARGET_ARCH_PACKAGES="arm_cortex-a7_neon-vfpv4"\n')
        self.write("join", "token: x\n", 0o644)
        self.write("more/etc/banner", "hello\n")
        self.image("--join", self.at("join"), "--files", self.at("more"))
        join = self.at("builder/kubeedge-files/etc/kubeedge/join")
        self.assertEqual(os.stat(join).st_mode & 0o777, 0o600)
        self.assertEqual(self.read("builder/kubeedge-files/etc/banner"), "hello\n")
        defaults = "builder/kubeedge-files/etc/uci-defaults/95-kubeedge"
        self.first_boots(self.read(defaults))
        self.write("more/etc/kubeedge/config/edgecore.yaml", MINE)
        self.image("--join", self.at("join"), "--files", self.at("more"))
        self.first_boots(self.read(defaults), "config/edgecore.yaml", "certs/server.key")
        # The next image has no secret that this one had.
        self.image()
        self.assertFalse(os.path.exists(join))

    def first_boots(self, script, brought="join", made="config/edgecore.yaml"):
        """Of a router with this image, new and after an upgrade, with stand-ins for what it calls."""
        self.write("defaults", script.replace("/etc/", f"{self.at('etc')}/"))
        tell = f'#!/bin/sh\necho "${{0##*/}} $*" >>{self.at("told")}\n'
        for program in ("bin/uci", "etc/init.d/edgecore"):
            self.write(program, tell, 0o755)
        enabled = "uci set kubeedge.edgecore.enabled=1\nuci commit kubeedge\nedgecore enable\n"
        for shell in SHELLS:
            self.write(f"etc/kubeedge/{brought}", MINE)
            for told in (enabled, ""):
                self.write("told", "")
                run([*shell, self.at("defaults")], {"PATH": f"{self.at('bin')}:{os.environ['PATH']}"})
                self.assertEqual(self.read("told"), told)
                # From now on its owner may have switched it off.
                self.write(f"etc/kubeedge/{made}", MINE)
            shutil.rmtree(self.at("etc/kubeedge"))

    def test_refuses(self):
        self.builder('CONFIG_TARGET_ARCH_PACKAGES="arm_cortex-a9"\n')
        self.assertIn("has no kubeedge-edge for arm_cortex-a9", self.image(status=1))
        self.assertIn("there is no /nowhere to join by", self.image("--join", "/nowhere", status=1))
        os.remove(self.at("builder/.config"))
        self.assertIn("is not an unpacked ImageBuilder", self.image(status=1))
