# Larder: `make` lists what there is. Building and running needs a C compiler, make and Rust; whatever else a
# target needs it installs, or says what is missing. Settings go behind the target: make sim SEEDS=0..100000

SEEDS ?= 0..100000
FUZZ_SECONDS ?= 60
STATE ?= target/crashpoints.resume

.DEFAULT_GOAL := help
.PHONY: help run test test-long bench bench-long lint lint-long fuzz sim planted crashpoints docs install clean

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Builds and starts a Larder of your own in ./.larder-run; ctrl-C stops it, a second run finds the data again.
	@scripts/run.sh

test: ## All tests, from nothing; 24 minutes on 2 cores when it was last timed.
	@scripts/test.sh

test-long: ## Every crash point, a million simulated seeds, the slow end-to-end tests (hours).
	@scripts/test-long.sh

bench: ## Figures beside their peers, interleaved, medians (about 10 minutes); JSON in .bench/.
	@python3 bench/run.py

bench-long: ## The same with a 10 GiB file and more rounds (about an hour).
	@python3 bench/run.py --long

lint: ## Formatting, clippy without warnings, tidiness, licences and bans (if cargo-deny is there).
	@scripts/lint.sh

lint-long: ## The same, installing what is missing.
	@LINT_INSTALL=1 scripts/lint.sh

fuzz: ## Every decoder for FUZZ_SECONDS each (default 60); needs a nightly compiler.
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh

sim: ## The register simulated: make sim SEEDS=0..100000
	@cargo run --quiet -p larder-sim --bin sim -- register --seeds $(SEEDS)

planted: ## Every planted bug, and the seed that catches it.
	@cargo run --quiet -p larder-sim --bin sim -- planted

crashpoints: ## Every I/O call of the store made to fail in every way (hours; goes on where it stopped).
	@cargo run --quiet -p larder-store --example crashpoints -- --all --resume $(STATE)

docs: ## The API documentation of all crates, in target/doc.
	@cargo doc --workspace --no-deps

install: ## Installs `larder`, manual pages and completions: for you, or as root for all. make install PREFIX=DIR
	@PREFIX="$(PREFIX)" scripts/install.sh

clean: ## Removes what was built and measured. Your data in ./.larder-run stays.
	cargo clean
	rm -rf .bench .venv fuzz/target
	@if [ -e .larder-run ]; then echo "kept: .larder-run (data of make run; remove it yourself)"; fi
