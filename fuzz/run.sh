#!/bin/bash
# Fuzzes every parser: fuzz/run.sh [SECONDS-PER-TARGET] [TARGET...]. Needs a nightly Rust and cargo-fuzz.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
seconds=${1:-60}
[ $# -eq 0 ] || shift
command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
read -ra targets <<<"${*:-$(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | grep -v kubeedge-fuzz | tr '\n' ' ')}"
# The recorded bytes are the seeds: what real peers send is what a fuzzer should start from.
seeds() {
  case $1 in
    certificate | key | pem | token) echo ../tests/vectors/token-ca ;;
    config) echo ../tests/vectors/config ;;
    csr) echo ../tests/vectors/https-cases ;;
    message) echo ../tests/vectors/edge-mini ;;
    upgrade) echo ../tests/vectors/ws-cases ;;
  esac
}

passed=0 failed=0
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target"
  read -ra seeds <<<"$(seeds "$target")"
  if cargo +nightly fuzz run "$target" "corpus/$target" "${seeds[@]}" -- -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=1024 -timeout=10; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED $target: its input is in fuzz/artifacts/$target"
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
