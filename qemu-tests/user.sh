#!/bin/bash
# Runs the executables of dist/ for other machines under qemu-user.
# usage: qemu-tests/user.sh [TARGET...]    armv7 and aarch64 unless told otherwise; ./musl-build.sh makes them
set -uo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LIMIT=60 # seconds for anything here; emulation is slow, this is far more than it takes

passed=0 failed=0
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1)

main() {
  local name
  [ $# -gt 0 ] || set -- armv7 aarch64
  for name; do run_target "$name"; done
  echo "$passed passed, $failed failed"
  [ $failed = 0 ]
}

run_target() { # TARGET
  target=$1 executable=$top/dist/kubeedge-$version-$1
  # shellcheck source=cross/armv7.conf
  . "$top/cross/$target.conf"
  emulator=("$qemu" -cpu "$qemu_cpu")
  [ -x "$executable" ] || { verdict 1 "$executable is missing: run ./musl-build.sh $target" && return; }
  test_version
}

test_version() {
  local said
  said=$(emulated version)
  # shellcheck disable=SC2154 # cross/TARGET.conf sets it
  [[ $said == *"$version"* && $said == *"$rust"* ]]
  verdict $? "version says ${said:-nothing}"
}

emulated() { # ARGUMENT...: the executable of the target at hand
  timeout "$LIMIT" "${emulator[@]}" "$executable" "$@"
}

verdict() { # STATUS WHAT
  if [ "$1" = 0 ]; then
    passed=$((passed + 1)) && echo "ok   $target: $2"
  else
    failed=$((failed + 1)) && echo "FAIL $target: $2"
  fi
}

main "$@"
