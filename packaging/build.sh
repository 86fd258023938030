#!/bin/bash
# Packs the executables of dist/ for each system; `packaging/build.sh --help` is its manual.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022

usage() {
  cat <<'END'
Makes packages from dist/kubeedge-VERSION-TARGET and dist/kubeedge-VERSION-edge-TARGET, as musl-build.sh wrote them,
into dist/packages, with their checksums in SHA256SUMS there. Needs Python and nothing else: no root, no network.
The same executables and the same sources give the same bytes.

usage: packaging/build.sh [OPTION]... [TARGET]...    for every executable that is there, unless targets are named

  --flavour full|edge   only `kubeedge` (everything), or only `kubeedge-edge` (for devices): both if not said
  --format NAME,...     only these: ipk deb alpine openwrt-apk tar.gz
  --version VERSION     of which executables: Cargo.toml's if not said
  --dist FOLDER         where they are; the packages go into its folder `packages`

SOURCE_DATE_EPOCH  the time in the packages: git's last commit unless set
MAINTAINER         `Name <address>` in the packages
END
}

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${1:-} in --help | -h) usage && exit ;; esac
command -v python3 >/dev/null || { echo "packaging: please install python3" >&2 && exit 69; }
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || true)}
export SOURCE_DATE_EPOCH PYTHONDONTWRITEBYTECODE=1
exec python3 "$top/packaging/make.py" "$@"
