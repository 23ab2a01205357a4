#!/usr/bin/env bash
# Installs the Redis clients for Node.js that tests drive against the Redis door, under target/. Does nothing when they are
# there already. The client for Python is installed with the other Python packages (tools/reader/setup.sh).
set -euo pipefail
cd "$(dirname "$0")"

into=../../target/redis-clients
if cmp -s package-lock.json "$into/made-from" 2>/dev/null; then
    exit 0
fi
if ! command -v npm >/dev/null; then
    echo "NOT INSTALLED: npm is missing (Debian package npm); tests of clients for Node.js are left out" >&2
    [ "${CI:-}" != true ]
    exit
fi
mkdir -p "$into"
cp package.json package-lock.json "$into"
(cd "$into" && npm ci --silent --no-audit --no-fund --ignore-scripts)
cp package-lock.json "$into/made-from"
