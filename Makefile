# What there is to do, each with all its set-up. `make` alone builds.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
TOOLS := $(shell scripts/setup.sh tools)
export PATH := $(HOME)/.cargo/bin:$(PATH):$(TOOLS)

.PHONY: build small test demo lint format doc loom deny bench fuzz clean help

build: ## target/release/flowd, which runs from there as it is
	scripts/setup.sh build
	$(CARGO) build --release --locked --bin flowd

small: ## the same with the MySQL connectors and without the clients of the others
	scripts/setup.sh build
	$(CARGO) build --release --locked --bin flowd --no-default-features --features mysql

test: ## all tests, on real database servers and with the real Java SDK
	scripts/setup.sh test
	$(CARGO) build --locked --bin flowd
	$(CARGO) test --locked --workspace --doc
	$(CARGO) nextest run --locked --workspace --no-fail-fast $(NEXTEST)

demo: ## a database, a mesh and flowd between them, on this machine
	scripts/setup.sh build
	scripts/demo.sh

lint: ## formatting and clippy, warnings are errors
	scripts/setup.sh lint
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

format: ## rewrites the sources as rustfmt wants them
	$(CARGO) fmt --all

doc: ## the API documentation, warnings are errors
	scripts/setup.sh build
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

loom: ## the models of what threads share
	scripts/setup.sh build
	RUSTFLAGS="--cfg loom" $(CARGO) test --locked --target-dir target/loom -p flowd-engine --release --lib loom

deny: ## bans, licences and sources of the dependencies
	scripts/setup.sh deny
	$(CARGO) deny --locked check bans licenses sources

bench: ## the micro-benchmarks; perf/ has the end-to-end ones
	scripts/setup.sh build
	$(CARGO) bench --locked --workspace

FUZZ_SECONDS ?= 60
fuzz: ## every fuzz target for FUZZ_SECONDS (default 60) each
	scripts/setup.sh fuzz
	scripts/fuzz.sh $(FUZZ_SECONDS)

clean: ## removes what was built; the cache outside the checkout stays
	$(CARGO) clean
	rm -rf .rocksdb

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10
