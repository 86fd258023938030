#!/usr/bin/env python3
"""musl-build.sh: which executables it refuses, whose Rust it takes, and what it then runs.

Compilers and package managers are stand-ins that record how they were called. Ends with `N passed, N failed`.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import elf_samples

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMIT = 60  # seconds for one run of the script with stand-ins

DT_NEEDED, DT_FLAGS_1, DF_1_PIE = 1, 0x6FFFFFFB, 0x08000000

# what is changed in a right executable, for which target -> what the refusal says (None: accepted)
ELF_CASES = [
    *((target, {}, None) for target in elf_samples.RIGHT),
    ("armv6", {"arm": (9, 1)}, None),
    ("x86_64", {"kind": 3, "dynamic": [(DT_FLAGS_1, DF_1_PIE)]}, None),
    ("x86_64", {"interp": True}, "asks for a loader"),
    ("x86_64", {"kind": 3, "dynamic": [(DT_NEEDED, 1), (DT_FLAGS_1, DF_1_PIE)]}, "asks for libraries"),
    ("x86_64", {"kind": 3, "dynamic": []}, "shared library"),
    ("x86_64", {"kind": 1}, "not an executable"),
    ("x86_64", {"kind": 4}, "not an executable"),
    ("x86_64", {"machine": 183}, "machine 183, not machine 62"),
    ("x86_64", {"bits": 32}, "32-bit, not 64-bit"),
    ("aarch64", {"machine": 62}, "machine 62, not machine 183"),
    ("aarch64", {"big": True}, "big endian, not little endian"),
    ("armv7", {"machine": 183, "bits": 64}, "64-bit, not 32-bit"),
    ("armv7", {"flags": 0x5000200}, "another ABI"),
    ("armv7", {"flags": 0x5000000}, "another ABI"),
    ("armv7", {"flags": 0x4000400}, "another ABI"),
    ("armv7", {"arm": (10, 0)}, "soft float, not hard float"),
    ("armv7", {"arm": (6, 1)}, "tag 6, not 10"),
    ("armv7", {"arm": None}, "no .ARM.attributes"),
    ("armv6", {"arm": (10, 1)}, "tag 10, not 6,7,9"),
    ("armv6", {"arm": (8, 1)}, "tag 8, not 6,7,9"),
    ("mipsel", {"big": True}, "big endian, not little endian"),
    ("mipsel", {"mips_float": 1}, "hard float, not soft float"),
    ("mipsel", {"flags": 0x50001000}, "another ABI"),
    ("mips", {"big": False}, "little endian, not big endian"),
    ("riscv64", {"flags": 1}, "another ABI"),
]

# file -> what the refusal says
FILE_CASES = {
    "kubeedge-0.1.0-x86_64": (b"", "not an ELF file"),
    "kubeedge-0.1.0-armv7": (b"#!/bin/sh\n", "not an ELF file"),
    "kubeedge-0.1.0-aarch64": (elf_samples.sample(**elf_samples.RIGHT["aarch64"])[:70], "cut short"),
    "kubeedge-0.1.0-pdp11": (b"", "unknown target pdp11"),
}

MADE = ["SHA256SUMS", "kubeedge-0.1.0-armv7", "kubeedge-0.1.0.cdx.json", "kubeedge-0.1.0.crates.txt"]

# tools of the system that the script may use as they are
REAL_TOOLS = """awk basename bash cat chmod cp cut dirname env flock grep gzip head id install ln mkdir mktemp mv
    python3 readlink realpath rm sed sh sha256sum sort stat touch wc""".split()

RECORD = '#!/bin/bash\necho "${0##*/} $*" >>"$LOG"\n'
SOURCES = r"""mkdir -p "$SYSROOT/lib/rustlib/src/rust/library"
printf 'name = "libc"\nversion = "0.2.183"\n' >"$SYSROOT/lib/rustlib/src/rust/library/Cargo.lock"
"""
STAND_INS = {
    "cc": RECORD,
    "rustc": '#!/bin/bash\ncase $1 in --print) echo "$SYSROOT" ;; *) echo stand-in 1.95.0 ;; esac\n',
    "cargo": RECORD
    + r"""
echo "  from $0 bootstrap=${RUSTC_BOOTSTRAP:-} time64=${RUST_LIBC_UNSTABLE_MUSL_V1_2_3:-} rustc=${RUSTC:-}" >>"$LOG"
echo "  armv7 ${CARGO_TARGET_ARMV7_UNKNOWN_LINUX_MUSLEABIHF_RUSTFLAGS:-} cc=${CC_armv7_unknown_linux_musleabihf:-}" >>"$LOG"
[ "$1" = build ] || exit 0
while [ $# -gt 0 ]; do
  case $1 in
    --target) targets+=("$2") ;;
    --target-dir) library=$2 ;;
  esac
  shift
done
for target in "${targets[@]}"; do
  if [ -n "${library:-}" ]; then
    mkdir -p "$library/$target/release/deps"
    touch "$library/$target/release/deps/"lib{std,standard_library}-1.r{lib,meta}
  else
    mkdir -p "$CARGO_TARGET_DIR/$target/release"
    cp "$RESULT" "$CARGO_TARGET_DIR/$target/release/kubeedge"
  fi
done
""",
}
RUSTUP_WORKS = RECORD + SOURCES
RUSTUP_FAILS = RECORD + "exit 1\n"
TIMEOUT_PASSES = RECORD + 'shift; "$@"\n'
TIMEOUT_STRIKES = RECORD + "exit 124\n"
DEBIAN = {
    "apt-get": RECORD + '[ "$1" != update ] || touch "$HOME/updated"\n[ "$1" != download ] || touch rust.deb\n',
    "apt-cache": r"""#!/bin/bash
[ "$1" = depends ] || exit 0
case "$*" in
  *libstd-rust-web-1.96*) printf '%s\n' a '  Depends: libc6' '  Depends: libllvm22' ' |Depends: gcc' ;;
  *) printf '%s\n' a '  Depends: libstd-rust-web-1.96' ;;
esac
""",
    "dpkg-query": '#!/bin/sh\n[ "$4" != libllvm22 ] || exit 1\necho install ok installed\n',
    "dpkg": r"""#!/bin/bash
mkdir -p "$3/usr/bin" "$3/usr/lib/x-linux-gnu" "$3/usr/lib/rustlib/src/rust/library"
cp "$(command -v rustc)" "$(command -v cargo)" "$3/usr/bin/"
""",
}


# Its lists are from before the security updates; the second never gets any.
BEFORE_UPDATE = DEBIAN["apt-cache"].replace(
    "case", "[ -e $HOME/updated ] || { printf '%s\\n' a '  Depends: libstd-rust-web-1.85'; exit; }\ncase", 1
)
WITHOUT_UPDATES = DEBIAN["apt-cache"].replace("1.96", "1.85")


class Place:
    """A copy of the script with a PATH of real tools and stand-ins, and the log of the stand-ins."""

    def __init__(self, folder, stand_ins):
        self.folder = folder
        self.bin, self.top, self.home = f"{folder}/bin", f"{folder}/top", f"{folder}/home"
        for path in (self.bin, self.top, f"{self.home}/zig-0.17.1/ziglang", f"{folder}/sysroot"):
            os.makedirs(path)
        for tool in REAL_TOOLS:
            os.symlink(shutil.which(tool), f"{self.bin}/{tool}")
        for name, text in {**STAND_INS, **stand_ins}.items():
            write_executable(f"{self.bin}/{name}", text)
        write_executable(f"{self.home}/zig-0.17.1/ziglang/zig", "#!/bin/sh\n")
        shutil.copy(f"{TOP}/musl-build.sh", self.top)
        shutil.copytree(f"{TOP}/cross", f"{self.top}/cross")
        # The real one asks cargo about crates: see tests/supply_chain.py.
        write_executable(f"{self.top}/cross/sbom.py", RECORD)
        shutil.copy(f"{TOP}/Cargo.toml", self.top)
        self.result = elf_samples.RIGHT["armv7"]

    def have_sources(self, libc="0.2.183"):
        os.makedirs(f"{self.folder}/sysroot/lib/rustlib/src/rust/library")
        with open(f"{self.folder}/sysroot/lib/rustlib/src/rust/library/Cargo.lock", "w") as lock:
            lock.write(f'[[package]]\nname = "libc"\nversion = "{libc}"\n')

    def run(self, *arguments, mode=None):
        with open(f"{self.folder}/result", "wb") as file:
            file.write(elf_samples.sample(**self.result))
        log = f"{self.folder}/log"
        open(log, "w").close()
        environment = {
            "PATH": self.bin,
            "HOME": self.folder,
            "MUSL_HOME": self.home,
            "LOG": log,
            "SYSROOT": f"{self.folder}/sysroot",
            "RESULT": f"{self.folder}/result",
        }
        if mode:
            environment["MUSL_MODE"] = mode
        self.status, self.said = run([f"{self.top}/musl-build.sh", *arguments], environment)
        with open(log) as file:
            self.log = file.read()

    def made(self):
        dist = f"{self.top}/dist"
        return sorted(os.listdir(dist)) if os.path.isdir(dist) else []

    def expect(self, status, said=(), logged=(), not_logged=(), made=None):
        assert self.status == status, f"exit {self.status}, not {status}"
        for text in said:
            assert text in self.said, f"does not say {text!r}"
        for text in logged:
            assert text in self.log, f"does not run {text!r}"
        for text in not_logged:
            assert text not in self.log, f"runs {text!r}"
        assert made is None or self.made() == made, f"made {self.made()}"


def rust_with_sources(place):
    place.have_sources()
    os.makedirs(f"{place.top}/dist")
    # An image of the executables that were there before would be taken for one of the new ones.
    open(f"{place.top}/dist/kubeedge-0.1.0-image.tar", "w").close()
    place.run("armv7")
    flags = ["-Clink-self-contained=no", "-Ctarget-feature=+crt-static", f"--remap-path-prefix={place.top}=/kubeedge"]
    place.expect(
        0,
        logged=[
            "-Zbuild-std=std,panic_abort",
            "cargo build --release --locked",
            "sbom.py armv7-unknown-linux-musleabihf\n",
            "bootstrap=1 time64=1",
            "bootstrap= time64=1",
            f"--sysroot={place.home}/std/armv7-",
            f"cc={place.top}/target/musl/bin/cc-armv7",
            *flags,
        ],
        not_logged=["rustup", "apt-get"],
        made=MADE,
    )
    place.run("armv7-unknown-linux-musleabihf")
    place.expect(0, logged=["cargo build --release --locked"], not_logged=["-Zbuild-std"])


def rustup_adds_sources(place):
    place.run("--setup", "armv7")
    place.expect(0, logged=["timeout 60 rustup component add rust-src", "-Zbuild-std"], not_logged=["--locked --target", "apt-get"])


def debian_when_rustup_fails(place):
    place.run("armv7")
    debian = f"{place.home}/debian-rust"
    place.expect(
        0,
        said=["taking Debian's Rust"],
        logged=[
            "rustup component add rust-src",
            "apt-get install -y -q --no-install-recommends libllvm22\n",
            "apt-get download -q rustc-web cargo-web libstd-rust-web-dev rust-web-src libstd-rust-web-1.96",
            f"from {debian}/usr/bin/cargo bootstrap= time64=1 rustc={debian}/bin/rustc",
        ],
        not_logged=[f"from {place.bin}/cargo"],
        made=MADE,
    )
    place.run("--setup", "armv7")
    place.expect(0, not_logged=["rustup", "apt-get", "-Zbuild-std"])


def debian_when_rustup_hangs(place):
    place.run("--setup", "armv7")
    place.expect(0, logged=["timeout 60 rustup", "apt-get download"], not_logged=["\nrustup"])


def debian_on_request(place):
    place.have_sources()
    place.run("--setup", "armv7", mode="debian")
    place.expect(0, logged=["apt-get download"], not_logged=["rustup"])


def old_lists_of_debian_are_updated(place):
    place.run("--setup", "armv7", mode="debian")
    place.expect(0, logged=["apt-get update", "rust-web-src libstd-rust-web-1.96"], not_logged=["libstd-rust-web-1.85"])


def old_rust_of_debian_is_refused(place):
    place.run("--setup", "armv7", mode="debian")
    place.expect(69, said=["Debian's Rust is 1.85 here", "security updates"], not_logged=["apt-get download", "cargo build"])


def rustup_on_request_only(place):
    place.run("--setup", "armv7", mode="rustup")
    place.expect(69, said=["try MUSL_MODE=debian"], not_logged=["apt-get", "cargo build"])


def time_of_32_bits_is_refused(place):
    place.have_sources(libc="0.2.178")
    place.run("--setup", "aarch64")
    place.expect(0, logged=["-Zbuild-std"], not_logged=["apt-get"])
    place.run("--setup", "armv7", mode="rustup")
    place.expect(69, said=["32-bit time", "MUSL_MODE=debian"], not_logged=["apt-get"])
    place.run("--setup", "aarch64", "armv7")
    place.expect(0, said=["taking Debian's Rust"], logged=["apt-get download"])


def no_way_at_all(place):
    place.run("--setup", "armv7")
    place.expect(69, said=["install Rust with rustup"], not_logged=["cargo build"])


def several_targets_at_once(place):
    place.have_sources()
    place.run("--setup", "armv7", "armv6")
    place.expect(0, logged=["--target armv7-unknown-linux-musleabihf --target arm-unknown-linux-musleabihf"])


def wrong_result(place):
    place.have_sources()
    place.result = elf_samples.RIGHT["armv6"]
    place.run("armv7")
    place.expect(1, said=["refused: not a static executable for armv7"], made=[])


def for_little_flash(place):
    place.have_sources()
    place.run("--edge", "armv7")
    place.expect(
        0,
        logged=['--no-default-features --features edge --config profile.release.package.ring.opt-level="z"\n'],
        not_logged=["sbom.py"],
        made=["SHA256SUMS", "kubeedge-0.1.0-edge-armv7"],
    )


def all_that_a_device_runs(place):
    place.have_sources()
    place.run("--device", "armv7")
    place.expect(
        0,
        logged=["--no-default-features --features device\n"],
        not_logged=["sbom.py", "opt-level"],
        made=["SHA256SUMS", "kubeedge-0.1.0-device-armv7"],
    )


def smaller_by_the_compiler(place):
    """What the program's crates are compiled with, and what build scripts are not."""
    place.have_sources()
    place.run("--env", "armv7")
    place.expect(0, said=[f"export RUSTC_WRAPPER='{place.top}/cross/rustc'"])
    def ours(target):
        return ["--crate-name", "kubeedge", "--target", f"{target}-unknown-linux-musl"]

    others = ["--crate-name", "serde", "--target", "aarch64-unknown-linux-musl"]
    none, all_of_it = (f"-Zfmt-debug=shallow -Zlocation-detail={places}" for places in ("none", "file,line,column"))
    for places, arguments, added in [
        ({}, others, f" {none} bootstrap=1"),
        ({}, ours("aarch64"), f" {all_of_it} bootstrap=1"),
        ({}, ours("armv7"), " -Zfmt-debug=shallow -Zlocation-detail=line bootstrap=1"),
        ({"KUBEEDGE_PLACES": "none"}, ours("armv7"), f" {none} bootstrap=1"),
        ({}, ["--crate-name", "build_script_build"], " bootstrap="),
    ]:
        environment = {"PATH": place.bin, **places}
        status, said = run([f"{place.top}/cross/rustc", f"{place.bin}/printed", *arguments], environment)
        assert (status, said) == (0, f"{' '.join(arguments)}{added}\n"), said


def environment_for_cargo(place):
    place.have_sources()
    place.run("--env", "armv7")
    place.expect(
        0,
        said=["export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_MUSLEABIHF_LINKER=", "export CC_armv7_unknown_linux_musleabihf="],
        not_logged=["--release --locked"],
        made=[],
    )


def bad_words(place):
    for arguments, mode, said in [
        (["pdp11"], None, "unknown target pdp11: there are aarch64 armv6 armv7 mips mipsel riscv64 x86_64"),
        (["--frob"], None, "unknown option --frob"),
        (["--check"], None, "--check needs a file"),
        (["armv7"], "nix", "MUSL_MODE=nix: auto, rustup and debian exist"),
    ]:
        place.run(*arguments, mode=mode)
        place.expect(64, said=[said], not_logged=["cargo build"])


RUSTUP = {"rustup": RUSTUP_WORKS, "timeout": TIMEOUT_PASSES}
NO_RUSTUP = {"rustup": RUSTUP_FAILS, "timeout": TIMEOUT_PASSES}
PLACES = [
    (rust_with_sources, {**RUSTUP, **DEBIAN}),
    (rustup_adds_sources, {**RUSTUP, **DEBIAN}),
    (debian_when_rustup_fails, {**NO_RUSTUP, **DEBIAN}),
    (debian_when_rustup_hangs, {"rustup": RUSTUP_WORKS, "timeout": TIMEOUT_STRIKES, **DEBIAN}),
    (debian_on_request, {**RUSTUP, **DEBIAN}),
    (old_lists_of_debian_are_updated, {**RUSTUP, **DEBIAN, "apt-cache": BEFORE_UPDATE}),
    (old_rust_of_debian_is_refused, {**RUSTUP, **DEBIAN, "apt-cache": WITHOUT_UPDATES}),
    (rustup_on_request_only, {**NO_RUSTUP, **DEBIAN}),
    (time_of_32_bits_is_refused, {**RUSTUP, **DEBIAN}),
    (no_way_at_all, {}),
    (several_targets_at_once, RUSTUP),
    (wrong_result, RUSTUP),
    (all_that_a_device_runs, RUSTUP),
    (for_little_flash, RUSTUP),
    (smaller_by_the_compiler, {**RUSTUP, "printed": '#!/bin/sh\necho "$* bootstrap=$RUSTC_BOOTSTRAP"\n'}),
    (environment_for_cargo, RUSTUP),
    (bad_words, {}),
]


def write_executable(path, text):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o755)


def run(command, environment=None):
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=LIMIT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def check_file(folder, name, data, refusal):
    path = f"{folder}/{name}"
    with open(path, "wb") as file:
        file.write(data)
    status, said = run([f"{TOP}/musl-build.sh", "--check", path])
    if refusal is None:
        assert status == 0 and "static" in said, said
    else:
        assert status == 1 and refusal in said, f"exit {status}, should say {refusal!r}: {said}"


def main():
    passed = failed = 0

    def case(name, test, *arguments):
        nonlocal passed, failed
        try:
            test(*arguments)
            passed += 1
        except (AssertionError, subprocess.TimeoutExpired) as fault:
            failed += 1
            print(f"FAIL {name}: {fault}")

    with tempfile.TemporaryDirectory() as folder:
        for target, change, refusal in ELF_CASES:
            data = elf_samples.sample(**{**elf_samples.RIGHT[target], **change})
            case(f"{target} {change}", check_file, folder, f"kubeedge-0.1.0-{target}", data, refusal)
        for name, (data, refusal) in FILE_CASES.items():
            case(name, check_file, folder, name, data, refusal)
        with open(shutil.which("bash"), "rb") as file:
            case("this machine's bash", check_file, folder, f"bash-{os.uname().machine}", file.read(), "asks for")
    for test, stand_ins in PLACES:
        with tempfile.TemporaryDirectory() as folder:
            place = Place(folder, stand_ins)
            before = failed
            case(test.__name__, test, place)
            if failed > before:
                print(place.log, place.said)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
