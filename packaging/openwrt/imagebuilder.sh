#!/bin/bash
# Makes an OpenWrt firmware image with kubeedge in it; `packaging/openwrt/imagebuilder.sh --help` is its manual.
set -euo pipefail

usage() {
  cat <<'END'
Runs OpenWrt's ImageBuilder with the package of dist/packages that fits its architecture. The executable is then part
of the firmware: an upgrade to the next image brings the next executable, and keeps /etc/kubeedge and
/etc/config/kubeedge. No network is needed for what this adds.

usage: packaging/openwrt/imagebuilder.sh FOLDER PROFILE [OPTION]... [-- WORD...]

  FOLDER           an unpacked ImageBuilder of OpenWrt 24.10 (.ipk) or 25.12 (.apk)
  PROFILE          the router's, as `make info` shows it there
  --flavour full   the package `kubeedge`; `kubeedge-edge`, the smaller one, if not said
  --join FILE      becomes /etc/kubeedge/join: every device with this image joins by itself at its first boot
  --files FOLDER   what else goes into the image, as ImageBuilder's FILES
  WORD             for make, such as PACKAGES="luci -ppp" or ROOTFS_PARTSIZE=256
END
}

main() {
  local builder profile flavour=edge join='' files='' words=()
  case ${1:-} in --help | -h) usage && return ;; esac
  [ $# -ge 2 ] || die "it needs the folder of ImageBuilder and a profile: see --help" 64
  builder=${1%/} profile=$2 && shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --) shift && words=("$@") && break ;;
      --flavour | --join | --files) [ $# -ge 2 ] || die "$1 needs a value: see --help" 64 ;;&
      --flavour) flavour=$2 ;;
      --join) join=$2 ;;
      --files) files=$2 ;;
      *) die "unknown option $1: see --help" 64 ;;
    esac
    shift 2
  done
  case $flavour in full) name=kubeedge ;; edge) name=kubeedge-edge ;; *) die "--flavour is full or edge, not $flavour" 64 ;; esac
  [ -f "$builder/.config" ] || die "$builder is not an unpacked ImageBuilder: it has no .config"
  [ -z "$join" ] || [ -r "$join" ] || die "there is no $join to join by"
  add_package "$builder"
  add_files "$builder" "$join" "$files"
  run "$builder" "$profile" "${words[@]}"
}

add_package() { # FOLDER: a package of another version would be taken in its stead
  local architecture found
  architecture=$(sed -n 's/^CONFIG_TARGET_ARCH_PACKAGES="\(.*\)"$/\1/p' "$1/.config")
  [ -n "$architecture" ] || die "$1/.config does not say its architecture (CONFIG_TARGET_ARCH_PACKAGES)"
  mkdir -p "$1/packages"
  rm -f "$1"/packages/kubeedge_* "$1"/packages/kubeedge-*
  if grep -q '^CONFIG_USE_APK=y' "$1/.config"; then
    found=$(newest "$packages/$name-"[0-9]*".openwrt-$architecture.apk")
    # ImageBuilder looks for NAME-VERSION.apk.
    [ -z "$found" ] || cp "$found" "$1/packages/$(basename "${found%.openwrt-*}").apk"
  else
    found=$(newest "$packages/${name}_"*"_$architecture.ipk")
    [ -z "$found" ] || cp "$found" "$1/packages/"
  fi
  [ -n "$found" ] || die "$packages has no $name for $architecture: run packaging/build.sh, after ./musl-build.sh"
}

newest() { # FILE...
  local file last=
  for file; do [ ! -f "$file" ] || last=$file; done
  echo "$last"
}

add_files() { # FOLDER JOIN FILES
  local made=$1/kubeedge-files mark=config
  rm -rf "$made"
  mkdir -p "$made/etc/uci-defaults"
  [ -z "$3" ] || cp -a "$3/." "$made/"
  if [ -n "$2" ]; then
    mkdir -p "$made/etc/kubeedge"
    chmod 700 "$made/etc/kubeedge"
    install -m 600 "$2" "$made/etc/kubeedge/join"
    # Runs once, at the first boot of each image. A router that has been asked before has a configuration, and an identity
    # where the image itself brings one, and stays as its owner wants it.
    [ ! -e "$made/etc/kubeedge/config" ] || mark=certs
    printf '%s\n' "[ ! -e /etc/kubeedge/$mark ] || exit 0" 'uci set kubeedge.edgecore.enabled=1' 'uci commit kubeedge' \
      '/etc/init.d/edgecore enable' 'exit 0' >"$made/etc/uci-defaults/95-kubeedge"
  fi
}

run() { # FOLDER PROFILE WORD...
  local builder=$1 profile=$2 wanted=$name word words=()
  shift 2
  for word; do
    case $word in
      PACKAGES=*) wanted="$wanted ${word#*=}" ;;
      *) words+=("$word") ;;
    esac
  done
  make -C "$builder" image "PROFILE=$profile" "PACKAGES=$wanted" FILES=kubeedge-files "${words[@]}"
}

die() { echo "imagebuilder: $1" >&2 && exit "${2:-1}"; }

packages=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/dist/packages
packages=${KUBEEDGE_PACKAGES:-$packages}
name=

main "$@"
