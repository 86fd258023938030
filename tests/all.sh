#!/bin/bash
# Runs every test, or the stages named: tests/all.sh [lint] [unit] [fuzz] [peers] [build] [old] [qemu] [systems]
# Ends with one line per stage, what could not be tried on this machine, and `N passed, N failed`; exit 1 when any failed.
# tests/setup.sh installs what it needs.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# A new stage is a function stage_NAME of steps, and its name here.
STAGES=(lint unit fuzz peers build old qemu systems)
STEP_SECONDS=1800
# Crates that must never come in, whatever pulls them (deny.toml says why).
BANNED='aws-lc-rs|aws-lc-sys|native-tls|openssl|openssl-sys|regex'

stage_lint() {
  local feature
  step format cargo fmt --check
  step clippy cargo clippy --quiet --locked --lib --bins -- -D warnings
  # Tests may write files and start threads as they like.
  step clippy-tests cargo clippy --quiet --locked --all-targets -- -D warnings -A clippy::disallowed_methods
  for feature in $(features); do
    step "feature-$feature" cargo clippy --quiet --locked --lib --bins --no-default-features --features "$feature" -- -D warnings
  done
  step shellcheck lint_scripts
  step banned-crates no_banned_crates
  step supply-chain tests/supply_chain.py
}

stage_unit() {
  step cargo-test cargo test --locked --no-fail-fast
  step sizing tests/sizing.py
}

stage_fuzz() {
  step fuzz fuzz/run.sh 20
}

stage_peers() {
  step selftest "$KUBEEDGE_PEERS_PYTHON" tests/peers/selftest.py
}

stage_build() {
  step musl-build-refuses tests/musl_build.py
  step image tests/image.py
  step packages tests/packages.py
  step musl-build ./musl-build.sh
  step musl-build-device ./musl-build.sh --device armv7
  step musl-build-edge ./musl-build.sh --edge armv7
  step image-build ./musl-build.sh --image
  step image-built tests/image.py --built
  step packages-built tests/packages.py --built
  step sizes benches/sizes.sh --built
}

# The static executable, as shipped, on old and bare systems; cargo's own is tested there by the stage unit.
stage_old() {
  local version file
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
  file=$PWD/dist/kubeedge-$version-$(uname -m)
  step old-systems env KUBEEDGE_OLD_BIN="$file" cargo test --locked --test old_systems
}

stage_qemu() {
  step qemu-user qemu-tests/user.sh
}

stage_systems() {
  step qemu-systems qemu-tests/run.sh
}

main() {
  local stage started
  logs=$(mktemp -d)
  trap 'rm -rf "$logs"' EXIT
  export KUBEEDGE_PEERS_PYTHON=${KUBEEDGE_PEERS_PYTHON:-${XDG_CACHE_HOME:-$HOME/.cache}/kubeedge-peers/bin/python3}
  for stage in "${@:-${STAGES[@]}}"; do
    declare -F "stage_$stage" >/dev/null || { echo "no stage $stage: there are ${STAGES[*]}" >&2 && exit 64; }
  done
  passed=0 failed=0 summary=() untried=()
  for stage in "${@:-${STAGES[@]}}"; do
    started=$SECONDS stage_passed=0 stage_failed=0 failures=()
    "stage_$stage"
    summary+=("$(printf '%-8s %4d passed %4d failed %5d s  %s' "$stage" $stage_passed $stage_failed $((SECONDS - started)) "${failures[*]}")")
    passed=$((passed + stage_passed)) failed=$((failed + stage_failed))
  done
  printf '\n'
  printf '%s\n' "${summary[@]}"
  [ ${#untried[@]} = 0 ] || printf '%s\n' "${#untried[@]} not tried on this machine:" "${untried[@]/#/  }"
  echo "$passed passed, $failed failed"
  [ $failed = 0 ]
}

# Runs a command. Counts what it says of itself (`N passed, N failed`, as cargo test does too), else one test.
step() { # NAME COMMAND...
  local name=$1 log=$logs/$1 command=("${@:2}") status=0 good bad why
  echo "=== $name"
  # A function of this file can't go through timeout; those that are steps take no time.
  declare -F "$2" >/dev/null || command=(timeout --kill-after 10 "$STEP_SECONDS" "${command[@]}")
  "${command[@]}" 2>&1 </dev/null | tee "$log"
  status=${PIPESTATUS[0]}
  read -r good bad < <(counts "$log")
  if [ "$status" != 0 ]; then
    [ "$bad" != 0 ] || bad=1
    failures+=("$name")
    echo "FAILED $name (exit $status)"
  elif [ "$bad" != 0 ]; then
    failures+=("$name")
  elif [ "$good" = 0 ]; then
    good=1
  fi
  while read -r why; do untried+=("$name: $why"); done < <(reasons "$log")
  stage_passed=$((stage_passed + good)) stage_failed=$((stage_failed + bad))
}

counts() { # LOG: sums of its lines `N passed, N failed` and `test result: ... N passed; N failed`
  sed -nE 's/^(test result: .* )?([0-9]+) passed[;,] ([0-9]+) failed.*/\2 \3/p' "$1" |
    awk '{ good += $1; bad += $2 } END { print good + 0, bad + 0 }'
}

reasons() { # LOG: what its tests say they could not try, and what unittest says it skipped, a line each
  sed -nE "s/^.*not tried: (.+)$/\1/p; s/^(.*) \.\.\. skipped '(.*)'$/\1: \2/p" "$1"
}

features() { # of Cargo.toml, except the default set and the ones that dependencies make
  cargo metadata --locked --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(*[f for f in json.load(sys.stdin)["packages"][0]["features"] if f != "default"])'
}

lint_scripts() {
  local file scripts=()
  while read -r file; do
    case $(head -n 1 "$file") in '#!/bin/sh' | '#!/bin/bash') scripts+=("$file") ;; esac
  done < <(git ls-files --cached --others --exclude-standard -- ':!tests/vectors' ':!fuzz/seeds' ':!fuzz/regressions')
  shellcheck -x "${scripts[@]}" || return 1
  # What the init systems read, whatever its first line is, for the two shells that do.
  scripts=()
  while read -r file; do
    case $(head -n 1 "$file") in '#!'*) scripts+=("$file") ;; esac
  done < <(git ls-files --cached --others --exclude-standard -- init-scripts)
  shellcheck -s dash "${scripts[@]}" || return 1
  for file in "${scripts[@]}"; do
    { dash -n "$file" && busybox ash -n "$file"; } || return 1
  done
  [ ${#scripts[@]} != 0 ]
}

no_banned_crates() {
  local found
  found=$(cargo tree --locked --all-features --target all --edges normal,build --prefix none --format '{p}') || return 1
  ! grep -E "^($BANNED) " <<<"$found"
}

main "$@"
