#!/usr/bin/env bash
# What takes hours: the tests marked as slow, a million seeds of the register, every crash point of the store.
# Each part can be run alone (`make sim`, `make crashpoints`); the crash points go on where they stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== slow tests"
cargo test --workspace --exclude larder-sim -- --ignored
echo "== the node killed a hundred times"
LARDER_KILLS=100 cargo test -p larder --test main kill:: -- --nocapture
echo "== a million simulated seeds"
make sim SEEDS=0..1000000
echo "== planted bugs"
make planted
echo "== every crash point"
make crashpoints
