#!/bin/bash
# Measures all that README promises, and writes the table into docs/benchmarks.md.
# usage: benches/all.sh    takes ten minutes, on a machine that does nothing else; builds x86_64 and armv7 first
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
page=docs/benchmarks.md
load=$(cut -d" " -f1 /proc/loadavg)

./musl-build.sh x86_64 armv7 >&2
for less in device edge; do ./musl-build.sh --$less armv7 >&2; done
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
export KUBEEDGE_BIN=$PWD/dist/kubeedge-$version-x86_64
cargo bench --no-run >&2

table=$(mktemp)
trap 'rm -f "$table" "$table.page"' EXIT
megabytes() { awk -v bytes="$(stat -c %s "dist/kubeedge-$version-$1")" 'BEGIN { printf "%.2f MB", bytes / 1e6 }'; }
{
  echo '| what | to reach | measured | method |'
  echo '| --- | --- | --- | --- |'
  echo "| armv7 executable | ≤ 2.5 MB; upstream 79 + 93 MB | $(megabytes device-armv7) with all that a device runs; $(megabytes edge-armv7) for little flash; with cloudcore and Kubernetes too $(megabytes armv7), which misses it | \`benches/sizes.sh armv7 device-armv7 edge-armv7\` |"
  echo "| x86_64 executable, every role | upstream 113 + 101 + 71 MB | $(megabytes x86_64) | \`benches/sizes.sh x86_64\` |"
  cargo bench --quiet --bench edge
  cargo bench --quiet --bench load
  cargo bench --quiet --bench messages
} >"$table"

commit=$(git describe --always --dirty)
cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
{
  sed '/^<!-- table -->$/q' "$page"
  echo
  echo "Measured on $(date -u +%F), commit $commit, $(nproc) × ${cpu:-$(uname -m)}, load before it $load."
  echo
  cat "$table"
  echo
  sed -n '/^<!-- end of table -->$/,$p' "$page"
} >"$table.page"
cat "$table.page" >"$page"
cat "$table"
