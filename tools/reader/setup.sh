#!/usr/bin/env bash
# Makes .venv/ at the top of the project with what the Python programs of tools/ need. Does nothing when it is there
# already.
set -euo pipefail
cd "$(dirname "$0")/../.."

made=.venv/made-from
wanted=$(cat tools/*/requirements.txt)
if [ -x .venv/bin/python ] && [ "$(cat "$made" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
python3 -m venv .venv
printf '%s\n' "$wanted" | .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement /dev/stdin
printf '%s\n' "$wanted" >"$made"
