#!/bin/sh
# Starts a Larder of your own in ./.larder-run and stays in the foreground. Works without a terminal: the vault's
# passphrase is made on the first run and kept beside the data, which is fine for trying out and for nothing else.
#
# The development profile is used: it is optimised nearly as far as a release, builds in a third of the time,
# and `make test` afterwards finds all dependencies built.
set -eu
cd "$(dirname "$0")/.."

run=${LARDER_RUN:-$PWD/.larder-run}
umask 077
mkdir -p "$run"

if ! command -v cargo >/dev/null 2>&1; then
    echo "make run: cargo is missing: install Rust 1.95 or newer (https://rustup.rs)" >&2
    exit 1
fi
if ! command -v cc >/dev/null 2>&1; then
    echo "make run: a C compiler is missing: install gcc or clang" >&2
    exit 1
fi

cargo build -p larder --bin larder
larder=${CARGO_TARGET_DIR:-target}/debug/larder

if [ ! -s "$run/passphrase" ]; then
    # 18 random bytes as hexadecimal digits: 144 bits.
    od -An -N18 -tx1 /dev/urandom | tr -d ' \n' >"$run/passphrase.new"
    mv "$run/passphrase.new" "$run/passphrase"
fi

exec "$larder" --home "$run/home" up --foreground --passphrase-file "$run/passphrase" "$@"
