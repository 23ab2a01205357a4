#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS (default 60) each. Needs a nightly compiler and a C++ compiler;
# cargo-fuzz is installed when missing. A crash is kept under fuzz/artifacts/ and ends the run with an error.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-60}
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "make fuzz: a nightly compiler is missing: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if ! command -v c++ >/dev/null 2>&1; then
    echo "make fuzz: a C++ compiler is missing (the fuzzing engine needs one): install g++ or clang" >&2
    exit 1
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "installing cargo-fuzz (a minute, once)"
    cargo install --locked cargo-fuzz
fi

targets=$(cargo +nightly fuzz list)
for target in ${FUZZ_TARGETS:-$targets}; do
    echo "== $target for $seconds s"
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
done
echo "no crash in $(echo "${FUZZ_TARGETS:-$targets}" | wc -w) targets"
