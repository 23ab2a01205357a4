#!/usr/bin/env bash
# All tests. Prints what each part took, and ends with every "test result" line and one verdict.
#
# The simulator, and what has its planted bugs compiled in, are built apart from the rest: cargo would otherwise share
# those builds with the binary under test. Everything else is built once, for `make run`, too: the same packages are asked for
# each time, with the features that all of them agree on (`as-tested`), and no target that holds no tests.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
times=()

part() {
    local name=$1 from=$SECONDS
    shift
    echo "== $name"
    if ! "$@" 2>&1 | tee -a "$log"; then
        failed+=("$name")
    fi
    times+=("$(printf '%5d s  %s' $((SECONDS - from)) "$name")")
}

# What the outside checks need. As root they are installed; otherwise the reader is told.
tools() {
    local missing=()
    command -v strace >/dev/null || missing+=(strace)
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(faketime)
    command -v curl >/dev/null || missing+=(curl)
    command -v ip >/dev/null || missing+=(iproute2)
    command -v python3 >/dev/null || missing+=(python3)
    command -v redis-server >/dev/null || missing+=(redis-server)
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # Of a package that brings a service (redis-server) nothing is to be started: in this run level nothing is.
        { apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1 && return 0
    fi
    echo "missing: ${missing[*]} (Debian packages; install them and run again)"
    return 1
}

reader() {
    tools/reader/setup.sh && for check in tools/reader/check_*.py; do
        .venv/bin/python "$check" || return 1
    done
}

part "tools" tools
[ -e tools/reader/setup.sh ] && part "an independent reader opens the vectors" reader
shared=(--workspace --exclude larder-sim --features larder/as-tested)
all=(--lib --bins --tests)
[ -e tools/redis/setup.sh ] && part "Redis clients for Node.js" tools/redis/setup.sh
part "build" cargo test "${shared[@]}" "${all[@]}" --no-run --quiet
part "unit, model, crash-point and end-to-end tests" cargo test "${shared[@]}" "${all[@]}" --no-fail-fast
part "planted bugs of the store and of the model of moves are caught" cargo test "${shared[@]}" --no-fail-fast \
    --features larder-store/planted,larder-client/planted --test planted --test moves_model
part "build the simulator" cargo test -p larder-sim --no-run --quiet
part "simulation and planted bugs" cargo test -p larder-sim --no-fail-fast

echo
grep '^test result:' "$log" || true
echo
printf '%s\n' "${times[@]}"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "%5d tests passed, %d failed, %d ignored\n", passed, failed, ignored }' "$log"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
echo "all passed in $SECONDS s"
