#!/bin/bash
# Runs the tests that count what they try, and writes the table of docs/reliability.md.
# usage: tests/reliability.sh [--long | --table | --keep COMMAND]
#   --long    1,000 kills each, every errno at every operation; about an hour
#   --table   runs nothing: what is in the folder KUBEEDGE_FIGURES, from tests that ran with it, becomes the table
#   --keep    what is there, from the long form of tests that COMMAND ran, goes into tests/long-runs.tsv, and from there
#             into every table
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
page=docs/reliability.md
case ${1-} in
  --long) export KUBEEDGE_LONG=1 ;;
  --table | --keep) : "${KUBEEDGE_FIGURES:?names the folder with the figures}" ;;
  '') ;;
  *) sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}" >&2 && exit 64 ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export KUBEEDGE_FIGURES=${KUBEEDGE_FIGURES:-$scratch}
figures=$KUBEEDGE_FIGURES
ledger=tests/long-runs.tsv
table=$(mktemp -p "$scratch" .table-XXXXXX)

# A section's id and its title, in the order of the table.
SECTIONS='cuts Power cuts
kills SIGKILL
faults Faults of the disk
wear Flash wear
clocks Clocks
authority Certificates
tokens Tokens
hostile-cloud Against cloudcore
hostile-edge Against edgecore
fuzz Fuzzing
network Networks
cluster Kubernetes
hardening Hardening
old-systems Old and bare systems
long Long runs'

main() {
  local test tests=(--lib)
  if [ "${1-}" = --keep ]; then
    keep "${2:?names the command that ran the tests}"
    return
  fi
  if [ "${1-}" != --table ]; then
    while read -r test; do
      tests+=(--test "$test")
    done < <(tests_with_figures)
    cargo test --locked "${tests[@]}" >&2
  fi
  fuzz_figures
  long_figures

  make_table >"$table"
  {
    sed '/^<!-- table -->$/q' "$page"
    echo
    echo "Made on $(date -u +%F)${KUBEEDGE_LONG+ by the long form}."
    echo
    cat "$table"
    echo
    sed -n '/^<!-- end of table -->$/,$p' "$page"
  } >"$table.page"
  cat "$table.page" >"$page"
  cat "$table"
}

# The test programs whose source says how often they tried something.
tests_with_figures() {
  local file
  for file in tests/*.rs tests/*/main.rs; do
    case $file in */main.rs) set -- "$(dirname "$file")"/*.rs "$(basename "$(dirname "$file")")" ;;
      *) set -- "$file" "$(basename "$file" .rs)" ;;
    esac
    if grep -q 'tried(' "${@:1:$#-1}"; then echo "${@: -1}"; fi
  done
}

# The long fuzz run is made bit by bit; what it has reached is kept in the repository.
fuzz_figures() {
  local target runs findings
  [ -e fuzz/long-run.tsv ] || return 0
  while IFS=$'\t' read -r target _ runs _ _ findings; do
    [ "$target" = target ] ||
      printf 'inputs that the fuzzer tried on %s\t%s\t%s\n' "$target" "$runs" "$findings" \
        >"$figures/fuzz-${target//_/-}"
  done <fuzz/long-run.tsv
}

# What took too long for every day, when it was done last.
long_figures() {
  local id date many what
  [ -e "$ledger" ] || return 0
  while IFS=$'\t' read -r id date many _ what; do
    [ "$id" = id ] || printf '%s (%s)\t%s\n' "$what" "$date" "$many" >"$figures/long-$id"
  done <"$ledger"
}

# Each test has one line in the ledger, its last run.
keep() { # COMMAND
  local file what many
  for file in "$figures"/*; do
    IFS=$'\t' read -r what many <"$file"
    {
      printf 'id\tdate\thow often\tcommand\twhat\n'
      {
        [ ! -e "$ledger" ] || awk -F'\t' -v id="${file##*/}" '$1 != id && $1 != "id"' "$ledger"
        printf '%s\t%s\t%s\t%s\t%s\n' "${file##*/}" "$(date -u +%F)" "$many" "$1" "$what"
      } | sort
    } >"$scratch/ledger"
    cat "$scratch/ledger" >"$ledger"
  done
}

make_table() {
  local section title id what many lost
  echo '| | what was tried | how often | lost | id |'
  echo '| --- | --- | --- | --- | --- |'
  while read -r section title; do
    while IFS= read -r id; do
      # A test that has lost anything fails, and leaves no figure. What the fuzzer has found its ledger says.
      IFS=$'\t' read -r what many lost <"$figures/$id"
      lost=${lost:-0}
      # What is measured, not tried.
      if [ "$section" = wear ] || [[ $many =~ [^0-9,] ]]; then lost=''; fi
      echo "| $title | $what | $many | $lost | \`$id\` |"
      title=''
    done < <(find "$figures" -type f -name "$section-*" -printf '%f\n' | sort)
  done <<<"$SECTIONS"
}

main "$@"
