#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check.sh SOURCE-DIRECTORY: what perf/check answers to numbers that grew, shrank, came, went, or are
# of another toolchain; and that the accepted numbers in the tree are of the form it reads.
set -euo pipefail
root=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0 tests=0

# numbers FILE TOOLCHAIN NAME=VALUE…
numbers() {
    local file=$work/$1 toolchain=$2
    shift 2
    printf '%s\n' "$@" | jq -Rn --arg toolchain "$toolchain" '{toolchain: {compiler: $toolchain},
        numbers: ([inputs | split("=") | {key: .[0], value: {unit: "point", value: (.[1] | tonumber)}}]
            | from_entries)}' >"$file"
}

# expect WHAT STATUS TEXT: of perf/check --compare old new; TEXT is in what it prints.
expect() {
    local status=0
    tests=$((tests + 1))
    "$root/perf/check" --compare "$work/old" "$work/new" >"$work/output" 2>&1 || status=$?
    if [ "$status" != "$2" ] || ! grep -qF -- "$3" "$work/output"; then
        failures=$((failures + 1))
        echo "$1: exit $status instead of $2, or no \"$3\" in:" && cat "$work/output"
    fi
}

numbers new gcc decode/tables=100 wheel/arm=50
numbers old gcc decode/tables=100 wheel/arm=50
expect "the same" 0 "check_failures 0 kernels"
numbers old gcc decode/tables=80 wheel/arm=50
expect "20 % less was accepted" 1 "check_failures 1 kernels"
expect "the one that grew is named" 1 "+25.0%  GREW"
numbers old gcc decode/tables=92 wheel/arm=46
expect "within 10 %" 0 "check_failures 0 kernels"
numbers old gcc decode/tables=90 wheel/arm=50
expect "just beyond 10 %" 1 "GREW"
numbers old gcc decode/tables=150 wheel/arm=50
expect "an improvement" 0 "perf/check --accept keeps it so"
numbers old gcc decode/tables=100
expect "never accepted" 1 "NEW"
numbers old gcc decode/tables=100 wheel/arm=50 ring/trip=3
expect "a kernel that is gone" 1 "GONE"
numbers old gcc-11 decode/tables=80 wheel/arm=50
expect "grown with another compiler" 0 "compiler: gcc-11 accepted, gcc here"
numbers old gcc-11 decode/tables=60 wheel/arm=50
expect "grown beyond what a compiler explains" 1 "GREW"

cp "$root/perf/results/instructions.json" "$work/old"
jq '.numbers |= map_values(.value *= 1.2)' "$work/old" >"$work/new"
expect "all kernels of the tree 20 % worse" 1 "check_failures $(jq '.numbers | length' "$work/old") kernels"

echo "$((tests - failures)) passed, $failures failed"
[ "$failures" -eq 0 ]
