#!/usr/bin/env bash
# Formatting, clippy without a warning, the project's own tidiness, scripts, and licences, bans and advisories.
# Tools that are missing are skipped and named; with LINT_INSTALL=1 they are installed first. LINT_OFFLINE=1
# leaves out what needs the network (advisories).
set -uo pipefail
cd "$(dirname "$0")/.." || exit

failed=()
skipped=()
part() {
    local name=$1
    shift
    echo "== $name"
    "$@" || failed+=("$name")
}

if [ "${LINT_INSTALL:-0}" = 1 ] && ! command -v cargo-deny >/dev/null; then
    echo "== installing cargo-deny (a few minutes, once)"
    cargo install --locked cargo-deny
fi

part "formatting" cargo fmt --all --check
[ -e fuzz/Cargo.toml ] && part "formatting of the fuzz targets" cargo fmt --manifest-path fuzz/Cargo.toml --check
# The simulator apart, as in the tests: what ships is looked at without the planted bugs.
part "clippy" cargo clippy --workspace --exclude larder-sim --all-targets --quiet -- -D warnings
part "clippy of the store with planted bugs" cargo clippy -p larder-store --all-targets --all-features --quiet -- -D warnings
part "clippy of the simulator" cargo clippy -p larder-sim --all-targets --quiet -- -D warnings
part "documentation" env RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --quiet --document-private-items
part "tidiness" cargo test -p larder-tidy --quiet
part "python" python3 -m compileall -q bench tools

if command -v cargo-deny >/dev/null; then
    part "licences, bans, sources" cargo deny --log-level warn check --hide-inclusion-graph licenses bans sources
    # Advisories come over the network: without it the check says so and is not held against the code.
    echo "== advisories"
    if [ "${LINT_OFFLINE:-0}" = 1 ]; then
        skipped+=("advisories (LINT_OFFLINE)")
    elif cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --log-level warn check --disable-fetch advisories || failed+=("advisories")
    else
        skipped+=("advisories (the database cannot be reached)")
    fi
else
    skipped+=("licences, bans, sources, advisories (cargo-deny is missing: make lint-long installs it)")
fi
if command -v shellcheck >/dev/null; then
    part "shell scripts" shellcheck scripts/*.sh
else
    skipped+=("shell scripts (shellcheck is missing)")
fi

echo
[ ${#skipped[@]} -gt 0 ] && printf 'skipped: %s\n' "${skipped[@]}"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
echo "lint passed"
