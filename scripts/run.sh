#!/bin/sh
# Starts a Larder of your own in ./.larder-run and stays in the foreground. Works without a terminal: the vault's
# passphrase is made on the first run and kept beside the data, which is fine for trying out and for nothing else.
#
# The development profile is used: the node and what seals are optimised nearly as far as a release, it builds in a third of
# the time, and `make test` shares what was built (`as-tested`).
set -eu
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null 2>&1; then
    echo "make run: cargo is missing: install Rust 1.95 or newer (https://rustup.rs)" >&2
    exit 1
fi
if ! command -v cc >/dev/null 2>&1; then
    echo "make run: a C compiler is missing: install gcc or clang" >&2
    exit 1
fi

LARDER_HOME=${LARDER_RUN:-$PWD/.larder-run}
export LARDER_HOME
umask 077
mkdir -p "$LARDER_HOME"

cargo build -p larder --bin larder --features as-tested
bin=${CARGO_TARGET_DIR:-$PWD/target}/debug

cat <<TEXT

In another terminal, first:
  export PATH="$bin:\$PATH" LARDER_HOME="$LARDER_HOME"

TEXT
exec "$bin/larder" up --foreground --generate-passphrase-file "$LARDER_HOME/passphrase" "$@"
