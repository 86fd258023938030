#!/bin/bash
# Runs the executables of dist/ for other machines under qemu-user, as devices of a cloud that runs natively.
# usage: qemu-tests/user.sh [TARGET...]    armv7, aarch64, armv6, device-armv7 and edge-armv7 unless told otherwise;
# ./musl-build.sh makes them (the last two, with less in them, with --device and --edge)
# KUBEEDGE_NATIVE=FILE is the executable for this machine: dist/ has it, else cargo's target/
set -uo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LIMIT=120 # seconds for anything here; emulation is slow, this is far more than it takes

passed=0 failed=0 pids=()
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1)

main() {
  local name
  [ $# -gt 0 ] || set -- armv7 aarch64 armv6 device-armv7 edge-armv7
  folder=$(mktemp -d /tmp/kq.XXXXXX) # short: sockets lie below it
  trap clean_up EXIT
  find_native || exit 1
  start_cloud || exit 1
  for name; do run_target "$name"; done
  echo "$passed passed, $failed failed"
  [ $failed = 0 ]
}

run_target() { # TARGET
  target=$1 executable=$top/dist/kubeedge-$version-$1 device=$folder/$1
  conf=$top/cross/${target##*-}.conf
  # shellcheck source=cross/armv7.conf
  . "$conf"
  case $target in *-*) option="--${target%-*} " ;; *) option='' ;; esac
  emulator=("$(command -v "$qemu")" -cpu "$qemu_cpu")
  [ -x "$executable" ] || { verdict 1 "$executable is missing: run ./musl-build.sh ${option}${target##*-}" && return; }
  mkdir "$device"
  test_version
  test_left_out
  test_time
  test_join && test_rotation && test_status
  stop_edge
}

test_version() {
  local said
  said=$(emulated version)
  # shellcheck disable=SC2154 # cross/TARGET.conf sets it
  [[ $said == *"$version"* && $said == *"$rust"* ]]
  verdict $? "version says ${said:-nothing}"
}

# Commands of the other builds are not unknown words.
test_left_out() {
  local absent said words
  case $target in
    edge-*) absent=('cloudcore' 'gettoken' 'init' 'upgrade edge' 'config view' 'ctl describe node') ;;
    device-*) absent=('cloudcore' 'gettoken' 'token list' 'certs revoke' 'init' 'manifest' 'upgrade cloud' 'config images list') ;;
    *) return ;;
  esac
  for words in "${absent[@]}"; do
    # shellcheck disable=SC2086 # words
    said=$(emulated $words 2>&1)
    [[ $? = 64 && $said == *"is left out of this program"* ]]
    verdict $? "says that it has no '$words': $said"
  done
}

# Reads a file dated 2040. A 32-bit time would call it a file of 1903.
test_time() {
  local said rust
  rust=$(sed -n 's/^rust=//p' "$conf")
  touch -d 2040-01-01T00:00:00Z "$device/late"
  said=$(
    eval "$("$top/musl-build.sh" --env "${target##*-}" 2>"$device/time64.log")"
    linker=CARGO_TARGET_${rust//-/_}_LINKER flags=CARGO_TARGET_${rust//-/_}_RUSTFLAGS
    linker=${linker^^} flags=${flags^^}
    # shellcheck disable=SC2086 # the flags are words
    "${RUSTC:-rustc}" --edition 2024 --target "$rust" -Cpanic=abort -Clinker="${!linker}" ${!flags} \
      -o "$device/time64" "$top/qemu-tests/time64.rs" &>>"$device/time64.log" &&
      timeout "$LIMIT" "${emulator[@]}" "$device/time64" "$device/late"
  )
  [ "$said" = 2208988800 ]
  verdict $? "a program of this toolchain reads a file of 2040 as ${said:-nothing: $(tail -n 3 "$device/time64.log")}"
}

# The whole command, from the token to the session; the init system is one that knows to call qemu.
test_join() {
  make_init
  KUBEEDGE_ROOT=$cloud "$native" gettoken >"$device/token"
  SYSTEMCTL=$device/systemctl emulated join --init systemd --cloudcore-ipport "127.0.0.1:$hub" --certport "$https" \
    --edgenode-name "qemu-$target" --token-file "$device/token" &>"$device/join.log"
  verdict $? "joins" "$device/join.log" || return
  before=$(session)
  [ "$(field "$before" serial)" = "$(field "$(edge_status)" session serial)" ]
  verdict $? "both sides name the same session: $before" "$device/join.log"
}

test_rotation() {
  local after edge
  emulated certs renew &>"$device/renew.log"
  verdict $? "renews its certificate" "$device/renew.log" || return
  await session_is_newer
  after=$(session) edge=$(edge_status)
  [ "$(field "$after" serial)" != "$(field "$before" serial)" ] &&
    [ "$(field "$after" serial)" = "$(field "$edge" session serial)" ]
  verdict $? "the session has the new certificate: $after" "$device/renew.log"
  [ "$(field "$after" generation)" -gt "$(field "$before" generation)" ] && [ "$(field "$edge" session generation)" = 2 ]
  verdict $? "it is a new session: on the device number $(field "$edge" session generation)"
  [ "$(field "$after" last_gap_ms)" = 0 ]
  verdict $? "without a moment in which there was none: $(field "$after" last_gap_ms) ms"
}

session_is_newer() { [ "$(field "$(session)" generation)" != "$(field "$before" generation)" ]; }

test_status() {
  emulated status &>"$device/status.log"
  verdict $? "status finds all in order" "$device/status.log"
  emulated certs check &>"$device/certs.log"
  verdict $? "certs check finds all in order" "$device/certs.log"
}

# ---- the cloud

find_native() {
  local file
  for file in "${KUBEEDGE_NATIVE:-}" "$top/dist/kubeedge-$version-$(uname -m)" "$top"/target/{release,debug}/kubeedge; do
    if [ -n "$file" ] && [ -x "$file" ]; then
      native=$file
      return
    fi
  done
  echo "no executable for this machine: run ./musl-build.sh $(uname -m)"
  return 1
}

start_cloud() {
  cloud=$folder/cloud
  mkdir "$cloud"
  KUBEEDGE_ROOT=$cloud "$native" cloudcore --listen 127.0.0.1 --https-port 0 --hub-port 0 --metrics-port 0 \
    --allow-volatile-ca --ports-file "$cloud/ports" &>"$cloud/log" </dev/null &
  pids+=($!)
  await test -s "$cloud/ports" || { echo "cloudcore does not start:" && cat "$cloud/log" && return 1; }
  https=$(field "$(cat "$cloud/ports")" https) hub=$(field "$(cat "$cloud/ports")" hub)
}

session() { ask "$cloud/run/kubeedge/cloudcore.sock" "{\"v\":1,\"op\":\"sessions\",\"names\":[\"qemu-$target\"]}"; }
edge_status() { ask "$device/run/kubeedge/edgecore-status.sock" '{"v":1,"op":"status"}'; }

ask() { # SOCKET REQUEST: the first line of the answer
  python3 - "$@" <<'END'
import socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.settimeout(60)
    asked.connect(sys.argv[1])
    asked.sendall(sys.argv[2].encode() + b"\n")
    print(asked.makefile().readline().strip())
END
}

field() { # JSON KEY...: what stands there
  python3 - "$@" <<'END'
import json, sys
value = json.loads(sys.argv[1] or "{}")
for key in sys.argv[2:]:
    value = (value or {}).get(key)
print("" if value is None else value)
END
}

# ---- the device

emulated() { # ARGUMENT...: the executable of the target at hand
  KUBEEDGE_ROOT=$device timeout "$LIMIT" "${emulator[@]}" "$executable" "$@"
}

# What stands in for systemd: the kernel can't start a foreign executable without qemu.
make_init() {
  cat >"$device/systemctl" <<END
#!/bin/bash
case " \$* " in
  *" start "*)
    KUBEEDGE_ROOT=$device ${emulator[*]} $device/usr/local/bin/edgecore &>>$device/edgecore.log </dev/null &
    echo \$! >$device/edgecore.pid
    ;;
  *" stop "*) kill "\$(cat $device/edgecore.pid)" ;;
  *" show "*)
    state=inactive
    kill -0 "\$(cat $device/edgecore.pid 2>/dev/null)" 2>/dev/null && state=active
    printf 'LoadState=loaded\nActiveState=%s\nMainPID=%s\nUnitFileState=enabled\n' \$state "\$(cat $device/edgecore.pid 2>/dev/null)"
    ;;
esac
END
  chmod +x "$device/systemctl"
}

stop_edge() {
  [ -s "$device/edgecore.pid" ] && kill "$(cat "$device/edgecore.pid")" 2>/dev/null
}

# ---- the rest

await() { # COMMAND...: until it succeeds
  local end=$((SECONDS + LIMIT))
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

verdict() { # STATUS WHAT [LOG]: returns the status
  if [ "$1" = 0 ]; then
    passed=$((passed + 1)) && echo "ok   $target: $2"
  else
    failed=$((failed + 1)) && echo "FAIL $target: $2"
    [ -z "${3:-}" ] || sed 's/^/     /' "$3" "$device"/edgecore.log 2>/dev/null | tail -n 30
  fi
  return "$1"
}

clean_up() {
  local pid
  for pid in "$folder"/*/edgecore.pid; do
    [ -s "$pid" ] && kill "$(cat "$pid")" 2>/dev/null
  done
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
  wait
  rm -rf "$folder"
}

main "$@"
