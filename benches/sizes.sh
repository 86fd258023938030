#!/bin/bash
# Sizes of the static executables, and the limits they must keep.
# usage: benches/sizes.sh [--built] [TARGET...]    builds first, unless --built takes what dist/ has; device-TARGET
#                                                and edge-TARGET are the builds with less in them
# Besides, how much of it stands apart from what edgecore runs (cross/cold.ld): a compiler that calls functions by other
# names would undo that, and nothing but the memory of devices would tell.
set -euo pipefail

# bytes; every role in one file, all that a device runs, and what goes on little flash
declare -A LIMIT=([armv7]=3420000 [device-armv7]=2500000 [edge-armv7]=1800000)

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
built=
if [ "${1:-}" = --built ]; then built=yes && shift; fi
names=("$@")
[ $# -gt 0 ] || names=(x86_64 aarch64 armv7 armv6 device-armv7 edge-armv7)
for name in "${names[@]}"; do
  case $name in
    device-* | edge-*) options=("--${name%%-*}") ;;
    *) options=() ;;
  esac
  [ -n "$built" ] || "$top/musl-build.sh" "${options[@]}" "${name#*-}" >/dev/null
done

# In hundredths, of a file with every role; a quarter is usual.
LEAST_APART=20

apart_in() { # FILE: bytes of the sections that cross/cold.ld makes for what edgecore never runs
  readelf --section-headers --wide "$1" | sed -n 's/^ *\[ *[0-9]*\] *//p' |
    awk '$1 ~ /^\.text_(keadm|cloudcore|quic)$/ { print "0x" $5 }' | while read -r size; do echo $((size)); done |
    awk '{ sum += $1 } END { print sum + 0 }'
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1)
passed=0 failed=0
printf '%-10s %12s %12s %12s %12s\n' target bytes 'gzip -9' apart limit
for name in "${names[@]}"; do
  file=$top/dist/kubeedge-$version-$name
  [ -f "$file" ] || { echo "$file is missing: run ./musl-build.sh $name" && failed=$((failed + 1)) && continue; }
  bytes=$(stat -c %s "$file")
  limit=${LIMIT[$name]:-}
  verdict=
  if [ -n "$limit" ] && [ "$bytes" -gt "$limit" ]; then
    verdict=' too big' failed=$((failed + 1))
  elif [ -n "$limit" ]; then
    passed=$((passed + 1))
  fi
  apart=$(apart_in "$file")
  case $name in
    device-* | edge-*) ;;
    *) if [ $((apart * 100 / bytes)) -ge $LEAST_APART ]; then
      passed=$((passed + 1))
    else
      verdict="$verdict too little apart" failed=$((failed + 1))
    fi ;;
  esac
  printf '%-10s %12d %12d %12d %12s%s\n' "$name" "$bytes" "$(gzip -9c "$file" | wc -c)" "$apart" "${limit:--}" "$verdict"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
