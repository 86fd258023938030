#!/bin/bash
# Builds static musl executables of kubeedge; `./musl-build.sh --help` is its manual.
set -euo pipefail
export LC_ALL=C

DEFAULT_TARGETS=(x86_64 aarch64 armv7 armv6)
IMAGE_TARGETS=(x86_64 aarch64 armv7)
ZIG_VERSION=0.17.1
PROBE_SECONDS=60

usage() {
  cat <<'END'
Builds kubeedge as one static executable per target and writes dist/kubeedge-<version>-<target>,
dist/SHA256SUMS, the parts list kubeedge-<version>.cdx.json (CycloneDX) with kubeedge-<version>.crates.txt, and a
table of sizes. What it needs, it installs first.

usage: ./musl-build.sh [TARGET...]            build (x86_64 aarch64 armv7 armv6 unless told otherwise)
       ./musl-build.sh --device [TARGET...]   build all that a device runs, without cloudcore and Kubernetes:
                                                dist/kubeedge-<version>-device-<target>
       ./musl-build.sh --edge [TARGET...]     build for little flash: besides, without QUIC, upgrades, jobs and tools:
                                                dist/kubeedge-<version>-edge-<target>
       ./musl-build.sh --setup [TARGET...]    only install and prepare what a build needs
       ./musl-build.sh --image [TARGET...]    put what dist/ has (x86_64 aarch64 armv7) into a container image:
                                                dist/kubeedge-<version>-image.tar, an OCI image layout
       ./musl-build.sh --check FILE...        is kubeedge-<version>-<target> a static ELF for its target?
       ./musl-build.sh --env [TARGET...]      print the environment in which plain cargo builds them:
                                                eval "$(./musl-build.sh --env armv7)"
                                                cargo build --release --target armv7-unknown-linux-musleabihf

A TARGET is a file of cross/ (x86_64 aarch64 armv7 armv6 mipsel mips riscv64) or a full Rust triple.

The C compiler and linker is zig, from Python's package index. Rust's standard library is built here, once per
target and compiler: with 64-bit time on 32-bit machines, optimised for size, without unwind tables.

MUSL_MODE  whose Rust compiler and library sources are used
  rustup     the Rust that is installed, with the library sources: `rustup component add rust-src` if need be.
             (Not `rustup target add`: its library has 32-bit time, and there is none for MIPS.)
  debian     Debian's rustc-web, cargo-web and rust-web-src, unpacked into MUSL_HOME. They are not installed,
             and meet neither rustup's toolchains nor Debian's rustc.
  auto       (default) what was set up before; else rustup if it answers within a minute; else debian.
             A Rust before 1.96 has 32-bit time in its library: for 32-bit targets auto then takes debian.
MUSL_HOME  where all that is kept: ~/.cache/musl-build unless set; about 2 GB
SOURCE_DATE_EPOCH  the time of the sources, for the clock of devices that have none: git's last commit unless set
CARGO_TARGET_DIR  where cargo works, in a folder `musl` of its own: target unless set
END
}

main() {
  local action=build
  case ${1:-} in
    --help | -h) usage && return ;;
    --check | --setup | --env | --image | --device | --edge) action=${1#--} && shift ;;
    -*) die "unknown option $1: see --help" 64 ;;
  esac
  if [ "$action" = check ]; then
    check_named "$@"
    return
  fi

  local names=() target
  if [ "$action" = image ]; then
    for target in "${@:-${IMAGE_TARGETS[@]}}"; do names+=("$(target_name "$target")"); done
    image "${names[@]}"
    return
  fi
  for target in "${@:-${DEFAULT_TARGETS[@]}}"; do names+=("$(target_name "$target")"); done
  set_up "${names[@]}"
  case $action in
    env) environment "${names[@]}" ;;
    build) build "${names[@]}" ;;
    device) build_device "${names[@]}" ;;
    edge) build_edge "${names[@]}" ;;
  esac
}

# ---- building

build() {
  local version
  version=$(version)
  compile "kubeedge-$version" "$@"
  list_parts "$version" "$@"
  rm -f "$top/dist/kubeedge-$version-image.tar" # it holds the executables from before
  write_sums
}

build_device() {
  features=(--no-default-features --features device)
  compile "kubeedge-$(version)-device" "$@"
  write_sums
}

build_edge() {
  # A device signs and verifies once a connection, and has little flash. (Cargo knows the options apart: neither build
  # spoils what the other has made.)
  features=(--no-default-features --features edge --config 'profile.release.package.ring.opt-level="z"')
  export KUBEEDGE_PLACES=none
  compile "kubeedge-$(version)-edge" "$@"
  write_sums
}

compile() { # NAME TARGET...: dist/NAME-TARGET
  local prefix=$top/dist/$1 name file options=()
  shift
  for name; do options+=(--target "$(value "$name" rust)"); done
  say "building ${prefix##*/} for $* ($mode)"
  # One cargo for all targets: they share the host's build scripts, and link side by side.
  in_environment "$@" cargo build --release --locked --manifest-path "$top/Cargo.toml" "${options[@]}" "${features[@]}" ||
    die "cargo could not build: see its messages above"

  mkdir -p "$top/dist"
  rm -rf "$top/dist/packages" # they hold the executables from before
  for name; do
    file=$target_dir/$(value "$name" rust)/release/kubeedge
    check "$name" "$file" || return 1
    install -m 755 "$file" "$prefix-$name"
  done

  printf '\n%-10s %12s %12s\n' target bytes 'gzip -9'
  for name; do
    file=$prefix-$name
    printf '%-10s %12d %12d\n' "$name" "$(stat -c %s "$file")" "$(gzip -9c "$file" | wc -c)"
  done
}

list_parts() { # VERSION TARGET...: what the executables are made of
  local parts=$top/dist/kubeedge-$1 triples=() name
  shift
  for name; do triples+=("$(value "$name" rust)"); done
  (
    eval "$(environment "$@")"
    "$top/cross/sbom.py" "${triples[@]}" >"$parts.cdx.json"
    "$top/cross/sbom.py" --crates "${triples[@]}" >"$parts.crates.txt"
  ) || die "the parts can't be listed: see the messages above"
}

image() { # TARGET...: of executables that are there
  local name file version
  version=$(version)
  need_command python3 python3
  for name; do
    file=$top/dist/kubeedge-$version-$name
    [ -f "$file" ] || die "there is no $file: run ./musl-build.sh $name first"
    check "$name" "$file" || return 1
  done
  SOURCE_DATE_EPOCH=$(built) "$top/cross/image.py" "$top/dist" "$version" "$@" || die "the image can't be written: see the message above"
  write_sums
  say "wrote $top/dist/kubeedge-$version-image.tar for $*"
}

version() { sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1; }

write_sums() { (cd "$top/dist" && sha256sum kubeedge-* >SHA256SUMS); }

check_named() { # FILE...: the target is the last part of the file's name
  local file name failed=0
  [ $# -gt 0 ] || die "--check needs a file" 64
  for file; do
    name=$(target_name "${file##*-}") || { failed=1 && continue; }
    check "$name" "$file" || failed=1
  done
  return $failed
}

check() { # TARGET FILE
  local expected
  read -ra expected <<<"$(value "$1" elf)"
  python3 "$top/cross/elf.py" "$2" "${expected[@]}" >&2 || { say "refused: not a static executable for $1" && return 1; }
}

# ---- what differs per target

target_name() { # short name or Rust triple -> short name
  local conf
  for conf in "$top"/cross/*.conf; do
    if [ "$top/cross/$1.conf" = "$conf" ] || grep -qxF "rust=$1" "$conf"; then
      basename "$conf" .conf
      return
    fi
  done
  die "unknown target $1: there are $(cd "$top/cross" && printf '%s ' *.conf | sed 's/\.conf//g')" 64
}

value() { # TARGET KEY: from cross/TARGET.conf
  # shellcheck source=cross/armv7.conf
  (. "$top/cross/$1.conf" && printf '%s\n' "${!2}")
}

environment() { # TARGET...: shell commands
  local name rust lower cflags=
  cflags='-fno-unwind-tables -fno-asynchronous-unwind-tables'
  echo "export ZIG='$zig' ZIG_GLOBAL_CACHE_DIR='$MUSL_HOME/zig-cache' ZIG_LOCAL_CACHE_DIR='$MUSL_HOME/zig-cache'"
  echo "export RUSTC_WRAPPER='$top/cross/rustc' CARGO_TARGET_DIR='$target_dir' $LIBC_TIME64 SOURCE_DATE_EPOCH='$(built)'"
  if [ "$mode" = debian ]; then
    echo "export PATH='$debian/bin':\"\$PATH\" RUSTC='$debian/bin/rustc' RUSTDOC='$debian/bin/rustdoc'"
  fi
  for name; do
    rust=$(value "$name" rust)
    lower=${rust//-/_}
    echo "export CC_$lower='$target_dir/bin/cc-$name' AR_$lower='$top/cross/ar'"
    echo "export CFLAGS_$lower='$cflags $(value "$name" cflags)'"
    echo "export CARGO_TARGET_${lower^^}_LINKER='$target_dir/bin/cc-$name'"
    echo "export CARGO_TARGET_${lower^^}_RUSTFLAGS='$RUSTFLAGS_ALL $(value "$name" rustflags) --sysroot=$(std_folder "$name")$(remapped)'"
  done
}

in_environment() { # "TARGET..." are the words before the command, which starts with cargo
  local names=()
  while [ "$1" != cargo ]; do names+=("$1") && shift; done
  (
    eval "$(environment "${names[@]}")"
    "$@"
  )
}

# When the sources were changed last: the program knows that it can't be earlier.
built() { echo "${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || true)}"; }

# No folder of this machine shows in the executable. (The flags stay the same as long as the folders do.)
remapped() {
  local folder
  printf ' --remap-path-prefix=%s=/kubeedge --remap-path-prefix=%s=/target' "$top" "$target_dir"
  for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    printf ' --remap-path-prefix=%s=/crates' "${folder%/}"
  done
}

# ---- setting up

set_up() { # TARGET...
  local name
  case "$top$MUSL_HOME$target_dir" in *[[:space:]\']*) die "a folder with blanks or quotes in its name won't do: $top, $MUSL_HOME, $target_dir" ;; esac
  mkdir -p "$MUSL_HOME" "$target_dir/bin"
  exec 9>"$MUSL_HOME/lock" && flock 9
  need_command python3 python3
  need_command cc gcc libc6-dev
  set_up_zig
  mode=$(chosen_mode "$@")
  [ "$mode" = rustup ] || set_up_debian
  for name; do ln -sfn "$top/cross/cc" "$target_dir/bin/cc-$name"; done
  # The crates must be there before their folder can be named in flags.
  in_environment "$1" cargo fetch --quiet --locked --manifest-path "$top/Cargo.toml" >&2
  set_up_std "$@"
  flock -u 9
}

chosen_mode() { # TARGET...
  case $MUSL_MODE in
    rustup)
      have_rust_src || add_rust_src || die "rustup can't add rust-src: try MUSL_MODE=debian" 69
      has_time64 "$@" || die "this Rust's library has 32-bit time on 32-bit machines: update Rust, or set MUSL_MODE=debian" 69
      ;;
    debian) echo debian && return ;;
    auto)
      if ! have_rust_src; then
        [ ! -x "$debian/bin/cargo" ] || { echo debian && return; }
        add_rust_src || { say "no library sources from rustup: taking Debian's Rust" && echo debian && return; }
      fi
      has_time64 "$@" || { say "this Rust's library has 32-bit time on 32-bit machines: taking Debian's Rust" && echo debian && return; }
      ;;
    *) die "MUSL_MODE=$MUSL_MODE: auto, rustup and debian exist" 64 ;;
  esac
  echo rustup
}

have_rust_src() { # whatever Rust is on PATH
  local sysroot
  sysroot=$(rustc --print sysroot 2>/dev/null) && [ -f "$sysroot/lib/rustlib/src/rust/library/Cargo.lock" ]
}

has_time64() { # TARGET...: does the library have 64-bit time, where the target is a 32-bit machine?
  local name version
  version=$(sed -n '/^name = "libc"$/ { n; s/^version = "0\.2\.\([0-9]*\)"$/\1/p; }' "$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock")
  [ "${version:-0}" -lt "$LIBC_WITH_TIME64" ] || return 0
  for name; do [[ "$(value "$name" elf)" != *class=32* ]] || return 1; done
}

add_rust_src() {
  command -v rustup >/dev/null && timeout "$PROBE_SECONDS" rustup component add rust-src >&2 2>/dev/null && have_rust_src
}

set_up_zig() {
  [ ! -x "$zig" ] || return 0
  say "installing zig $ZIG_VERSION"
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  rm -rf "$zig_home.new"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target "$zig_home.new" "ziglang==$ZIG_VERSION" >&2 ||
    die "could not install zig (ziglang $ZIG_VERSION) with pip: is the package index within reach?" 69
  mv "$zig_home.new" "$zig_home"
}

set_up_debian() {
  [ ! -x "$debian/bin/cargo" ] || return 0
  command -v apt-get >/dev/null || die "no library sources for this Rust, and no apt-get: install Rust with rustup" 69
  say "unpacking Debian's Rust into $debian"
  local packages=(rustc-web cargo-web libstd-rust-web-dev rust-web-src) std libraries file tool folder
  std=$(library_of_debian)
  is_recent "$std" || { as_root apt-get update -q >&2 && std=$(library_of_debian); }
  [ -n "$std" ] || die "this system has no rustc-web: install Rust with rustup, or use Debian 12 or later" 69
  is_recent "$std" ||
    die "Debian's Rust is ${std##*-} here, and must be 1.$DEBIAN_RUST_SINCE: add Debian's security updates to apt's sources, or install Rust with rustup" 69
  # The shared libraries conflict with nothing, and go into the system.
  mapfile -t libraries < <(depends "${packages[@]}" "$std" | grep '^lib' | grep -v rust)
  install_packages "${libraries[@]}"

  rm -rf "$debian.new" && mkdir -p "$debian.new/packages" "$debian.new/bin"
  (cd "$debian.new/packages" && apt-get download -q "${packages[@]}" "$std" >&2) || die "could not download Debian's Rust" 69
  for file in "$debian.new/packages/"*.deb; do dpkg -x "$file" "$debian.new"; done
  rm -rf "$debian.new/packages" "$debian.new/usr/share" "$debian.new"/usr/src/rustc-*/compiler
  folder=$(cd "$debian.new" && echo usr/lib/*-linux-gnu)
  for tool in rustc rustdoc cargo; do
    # Debian's executables look for their library only where Debian installs it.
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$debian/$folder" "$debian/usr/bin/$tool" >"$debian.new/bin/$tool"
    chmod 755 "$debian.new/bin/$tool"
  done
  rm -rf "$debian" && mv "$debian.new" "$debian"
}

library_of_debian() { # its name has the version, such as libstd-rust-web-1.96
  depends libstd-rust-web-dev | grep '^libstd-rust-web-' || true
}

is_recent() { # LIBRARY
  [ -n "$1" ] && [ "${1##*-1.}" -ge "$DEBIAN_RUST_SINCE" ]
}

set_up_std() { # TARGET...: the standard library where the compiler looks for it, below a sysroot of our own
  local missing=() options=() name work rust library file
  for name; do [ -e "$(std_folder "$name")/complete" ] || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "building the standard library for ${missing[*]} ($mode)"
  work=$(mktemp -d)
  mkdir "$work/src"
  echo '#![no_std]' >"$work/src/lib.rs"
  cat >"$work/Cargo.toml" <<'END'
[package]
name = "standard-library"
version = "0.0.0"
edition = "2024"

[profile.release]
opt-level = "z"
panic = "abort"
codegen-units = 1
END
  for name in "${missing[@]}"; do options+=(--target "$(value "$name" rust)"); done
  (
    eval "$(environment "${missing[@]}")"
    for name in "${missing[@]}"; do
      rust=$(value "$name" rust)
      rust=${rust//-/_}
      export RUSTC_WRAPPER='' "CARGO_TARGET_${rust^^}_RUSTFLAGS=$RUSTFLAGS_ALL $(value "$name" rustflags) $RUSTFLAGS_STD$(remapped)$(remapped_library)"
    done
    RUSTC_BOOTSTRAP=1 cargo build --quiet --release --manifest-path "$work/Cargo.toml" --target-dir "$work/target" \
      -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size "${options[@]}" >&2
  ) || die "could not build the standard library: see the messages above"

  for name in "${missing[@]}"; do
    rust=$(value "$name" rust)
    library=$(std_folder "$name")/lib/rustlib/$rust/lib
    rm -rf "$(std_folder "$name")" && mkdir -p "$library"
    for file in "$work/target/$rust/release/deps/"*.r{lib,meta}; do
      case ${file##*/} in libstandard_library-*) ;; *) cp "$file" "$library" ;; esac
    done
    touch "$(std_folder "$name")/complete"
  done
  rm -rf "$work"
}

std_folder() { # one per target, compiler and way of building
  local key
  key=$(
    eval "$(if [ "$mode" = debian ]; then echo "PATH='$debian/bin':\$PATH"; fi)"
    { rustc -vV && echo "$ZIG_VERSION $RUSTFLAGS_ALL $RUSTFLAGS_STD $LIBC_TIME64" && cat "$top/cross/cc" "$top/cross/$1.conf"; } |
      sha256sum | cut -c 1-12
  )
  echo "$MUSL_HOME/std/$1-$key"
}

remapped_library() {
  local source
  if [ "$mode" = debian ]; then source=$debian/usr; else source=$(rustc --print sysroot); fi
  source=$source/lib/rustlib/src/rust
  printf ' --remap-path-prefix=%s=/rust --remap-path-prefix=%s=/rust' "$source" "$(readlink -f "$source")"
}

# ---- the machine

need_command() { # COMMAND PACKAGE...
  command -v "$1" >/dev/null || install_packages "${@:2}"
}

depends() { # PACKAGE...: the packages that these need
  apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    sed -n 's/^ *|\?Depends: \([a-z0-9.+-]*\)$/\1/p' | sort -u
}

install_packages() {
  local package missing=()
  command -v apt-get >/dev/null || die "please install: $*" 69
  for package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  apt-cache show "${missing[@]}" >/dev/null 2>&1 || as_root apt-get update -q >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2 ||
    die "apt-get could not install ${missing[*]}" 69
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

say() { echo "musl-build: $*" >&2; }
die() { say "$1" && exit "${2:-1}"; }

top=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
MUSL_HOME=${MUSL_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/musl-build}
MUSL_MODE=${MUSL_MODE:-auto}
target_dir=$(realpath -m "${CARGO_TARGET_DIR:-$top/target}/musl")
zig_home=$MUSL_HOME/zig-$ZIG_VERSION
zig=$zig_home/ziglang/zig
debian=$MUSL_HOME/debian-rust
mode=
features=()
# zig brings the C library and start-up objects: rustc must not look for its own. MIPS is not static by default.
RUSTFLAGS_ALL='-Clink-self-contained=no -Ctarget-feature=+crt-static -Cforce-unwind-tables=no'
# Link-time optimisation of the program reaches into the library. The others: see cross/rustc.
RUSTFLAGS_STD='-Cembed-bitcode=yes -Zfmt-debug=shallow -Zlocation-detail=none'
# The libc crate's own switch for 64-bit time_t on 32-bit musl (year 2038); library and program must agree on it.
LIBC_TIME64='RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1'
# The first 0.2.x of libc, as Rust's own library uses it, in which that switch changes time_t.
LIBC_WITH_TIME64=183
# Rust 1.x of Debian that has it. The first that Debian 12 had is older; its security updates bring the other.
DEBIAN_RUST_SINCE=96

main "$@"; exit # on one line, so that editing this file does not disturb a run
