#!/bin/sh
# Builds an optimised `larder` and installs it with its manual pages and shell completions: for all users when run as
# root, else for you. PREFIX=DIR says where. Nothing else is touched: no service is started, no profile changed.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" = 0 ]; then default=/usr/local; else default=$HOME/.local; fi
prefix=${PREFIX:-$default}
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
target=${CARGO_TARGET_DIR:-$PWD/target}

if ! command -v cargo >/dev/null 2>&1; then
    echo "make install: cargo is missing: install Rust 1.95 or newer (https://rustup.rs)" >&2
    exit 1
fi
cargo build --locked --release -p larder --bin larder

install -d "$prefix/bin" "$prefix/share/man/man1" "$prefix/share/bash-completion/completions" \
    "$prefix/share/zsh/site-functions" "$prefix/share/fish/vendor_completions.d"
# A running node keeps the file it was started from: put the new one beside it and rename.
install -m 755 "$target/release/larder" "$prefix/bin/.larder.new"
mv -f "$prefix/bin/.larder.new" "$prefix/bin/larder"
larder=$prefix/bin/larder
"$larder" man --to "$prefix/share/man/man1" >/dev/null
"$larder" completions bash >"$prefix/share/bash-completion/completions/larder"
"$larder" completions zsh >"$prefix/share/zsh/site-functions/_larder"
"$larder" completions fish >"$prefix/share/fish/vendor_completions.d/larder.fish"

echo "installed: $larder, manual pages and completions under $prefix/share"
case ":$PATH:" in
*":$prefix/bin:"*) echo "next: larder up" ;;
*) printf 'next: export PATH="%s/bin:$PATH" (and in your profile), then: larder up\n' "$prefix" ;;
esac
