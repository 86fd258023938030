#!/bin/bash
# Fuzzes every parser, with the stable Rust at hand and nothing but cargo:
#
#   fuzz/run.sh [SECONDS [TARGET...]]          each target for so long, JOBS at a time; what the tests do (20 s).
#                                              The same inputs in the same order each time, unless SEED is another
#   fuzz/run.sh --long CPU-MINUTES [TARGET...] until each target has had so much processor time in all; can be
#                                              interrupted and goes on; fuzz/long-run.tsv keeps what was reached
#
# The corpus grows in fuzz/corpus (not kept in git) from fuzz/seeds and fuzz/regressions. What breaks a target is left
# in fuzz/artifacts/TARGET: move it to fuzz/regressions/TARGET, and `cargo test --test fuzz_inputs` replays it for ever.
# With cargo-fuzz: RUSTC_BOOTSTRAP=1 cargo fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/TARGET
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

JOBS=${JOBS:-$(($(nproc) * 2))}
# An input that takes longer than PATIENCE is a finding. The time is not the processor's: on a machine where others go
# first, even a seed took half a minute.
PATIENCE=${PATIENCE:-120}
LIMITS=(-max_len=16384 -rss_limit_mb=1024 "-timeout=$PATIENCE" "-report_slow_units=$PATIENCE" -print_final_stats=1)
# In processor seconds: how long a target of the long run goes on before it is another's turn.
SLICE=120
LEDGER=long-run.tsv

main() {
  case ${1:-} in
    --slice) slice "${@:2}" ;;
    --long) long "${@:2}" ;;
    *) short "${@:-20}" ;;
  esac
}

short() { # SECONDS [TARGET...]
  local seconds=$1 targets status=0
  shift
  mapfile -t targets < <(targets "$@")
  build
  export SEED=${SEED:-1}
  printf '%s\n' "${targets[@]}" | xargs -P "$JOBS" -I{} "./${0##*/}" --slice {} "$seconds" || status=$?
  [ $status = 0 ] && echo "${#targets[@]} passed, 0 failed"
  return $status
}

long() { # CPU-MINUTES [TARGET...]
  local minutes=$1 targets target had due status=0
  shift
  mapfile -t targets < <(targets "$@")
  build
  export KUBEEDGE_FUZZ_LEDGER=$LEDGER PATIENCE=600
  # All have had a slice before one gets a second.
  for ((had = SLICE; had < minutes * 60 + SLICE; had += SLICE)); do
    [ $had -le $((minutes * 60)) ] || had=$((minutes * 60))
    due=()
    for target in "${targets[@]}"; do
      [ "$(spent "$target")" -ge $had ] || due+=("$target" $((had - $(spent "$target"))))
    done
    [ ${#due[@]} = 0 ] || printf '%s\n' "${due[@]}" | xargs -P "$JOBS" -n 2 "./${0##*/}" --slice || status=1
  done
  column -t -s $'\t' "$LEDGER"
  return $status
}

# One target for a while. In the long run the time is the processor's, which a busy machine gives in small pieces: each
# piece goes into the ledger at once.
slice() { # TARGET SECONDS
  local target=$1 seconds=$2 log started=$SECONDS status=0 cpu=0 piece
  local folders=("corpus/$1" "seeds/$1")
  mkdir -p "corpus/$target" "artifacts/$target"
  [ ! -d "regressions/$target" ] || folders+=("regressions/$target")
  [ -z "${SEED:-}" ] || LIMITS+=("-seed=$SEED")
  log=$(mktemp)
  while [ $status = 0 ] && [ $cpu -lt "$seconds" ]; do
    piece=$(
      TIMEFORMAT='%U %S'
      { time KUBEEDGE_FUZZ_TARGET=$target "$(executable)" "${folders[@]}" "${LIMITS[@]}" \
        -max_total_time=$((seconds - cpu)) -artifact_prefix="artifacts/$target/" >"$log" 2>&1; } 2>&1
    ) || status=$?
    piece=$(awk '{ printf "%d", $1 + $2 + 0.5 }' <<<"$piece")
    cpu=$((cpu + piece))
    [ -n "${KUBEEDGE_FUZZ_LEDGER:-}" ] || break
    note "$target" "$piece" "$status" "$log"
  done
  if [ $status = 0 ]; then
    printf '%-12s %10d runs, %6d edges, %4d s\n' "$target" "$(runs "$log")" "$(edges "$log")" $((SECONDS - started))
    figure "$target" "$log"
  else
    tail -n 60 "$log"
    echo "FAILED $target (exit $status): its input is in fuzz/artifacts/$target"
  fi
  rm -f "$log"
  return $status
}

build() {
  local lock=Cargo.lock
  # What is fuzzed is what is shipped: the same versions.
  cmp -s ../Cargo.lock "$lock.of" || cp ../Cargo.lock "$lock"
  env RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(flags)" cargo build --quiet --release --bin all --target "$(host)"
  cp ../Cargo.lock "$lock.of"
}

# As cargo-fuzz sets them, but for the address sanitizer: there is no unsafe code here.
flags() {
  local pass=sanitizer-coverage
  echo "-Cpasses=sancov-module -Cllvm-args=-$pass-level=4 -Cllvm-args=-$pass-inline-8bit-counters" \
    "-Cllvm-args=-$pass-pc-table -Cllvm-args=-$pass-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0" \
    "--cfg fuzzing"
}

host() { rustc -vV | sed -n 's/^host: //p'; }
executable() { echo "${KUBEEDGE_FUZZ_TARGETS:-target}/$(host)/release/all"; }
runs() { awk -F: '/^stat::number_of_executed_units/ { sum += $NF } END { print sum + 0 }' "$1"; }
edges() { sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$1" | tail -n 1; }

targets() {
  if [ $# -gt 0 ]; then printf '%s\n' "$@"; else (cd fuzz_targets && ls -- *.rs) | sed 's/\.rs$//' | grep -vx all; fi
}

spent() { # TARGET: processor seconds so far
  awk -F '\t' -v target="$1" '$1 == target { found = $2 } END { print found + 0 }' "$LEDGER" 2>/dev/null || echo 0
}

# Adds to the target's line: target, processor seconds, executions, edges, inputs in the corpus, findings.
note() { # TARGET CPU STATUS LOG
  local found=0
  [ "$3" = 0 ] || found=1
  (
    flock 9
    touch "$LEDGER"
    awk -F '\t' -v OFS='\t' -v target="$1" -v cpu="$2" -v runs="$(runs "$4")" -v edges="$(edges "$4")" \
      -v inputs="$(find "corpus/$1" -type f | wc -l)" -v found=$found '
      BEGIN { print "target", "cpu-seconds", "executions", "edges", "corpus", "findings" }
      $1 == target { cpu += $2; runs += $3; found += $6; next }
      NR > 1 { print }
      END { print target, cpu, runs, edges, inputs, found }' "$LEDGER" >"$LEDGER.new"
    { head -n 1 "$LEDGER.new" && tail -n +2 "$LEDGER.new" | sort; } >"$LEDGER.sorted"
    rm "$LEDGER.new"
    mv "$LEDGER.sorted" "$LEDGER"
  ) 9>>corpus/ledger.lock
}

# For docs/reliability.md, as tests/common/figures.rs does.
figure() { # TARGET LOG
  [ -z "${KUBEEDGE_FIGURES:-}" ] ||
    printf 'inputs that the fuzzer tried on %s\t%s\n' "$1" "$(runs "$2")" >"$KUBEEDGE_FIGURES/fuzz-${1//_/-}"
}

main "$@"
exit
