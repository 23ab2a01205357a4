#!/usr/bin/env bash
# Makes .venv/ at the top of the project with what the reader needs. Does nothing when it is there already.
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted=tools/reader/requirements.txt
made=.venv/made-from
if [ -x .venv/bin/python ] && cmp -s "$wanted" "$made"; then
    exit 0
fi
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement "$wanted"
cp "$wanted" "$made"
