# Gatewright's everyday commands. `make` lists them.
#
# Nothing needs to be installed by hand beside git, a C compiler, make and Rust (rustup):
# `setup` finds or installs the rest, and every target that needs it asks for it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The profile that the demo is built with. `dev` shares its build with the tests.
DEMO_PROFILE ?= dev
# More arguments for the program behind a target: make bench ARGS="--runs 1000"
ARGS ?=

demo_folder := $(if $(filter dev,$(DEMO_PROFILE)),debug,$(DEMO_PROFILE))
tools := . .tools/env

.PHONY: help
help: ## What there is
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Find or install nats-server, Postgres and cargo-nextest
	@scripts/setup --test

.PHONY: setup-servers
setup-servers:
	@scripts/setup --quiet

.PHONY: setup-test
setup-test:
	@scripts/setup --quiet --test

.PHONY: setup-lint
setup-lint:
	@scripts/setup --quiet --ci

.PHONY: build
build: ## Build the gatewright binary with all optimizations
	cargo build --release --bin gatewright

.PHONY: demo
demo: setup-servers ## Run a fleet on real input and show what happened
	cargo build --profile $(DEMO_PROFILE) --bin gatewright
	@GATEWRIGHT=target/$(demo_folder)/gatewright scripts/demo $(ARGS)

.PHONY: test
test: setup-test ## Run every test
	$(tools) && cargo test --workspace --doc --quiet
	$(tools) && cargo nextest run --workspace $(ARGS)

.PHONY: lint
lint: setup-lint ## Check format, lints and dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	scripts/deny

.PHONY: doc
doc: ## Build the API documentation; a warning is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

.PHONY: bench
bench: setup-servers build ## Measure a fleet on private servers
	$(tools) && target/release/gatewright bench $(ARGS)

.PHONY: sqlx-prepare
sqlx-prepare: setup-servers ## Renew .sqlx/ after changing a query or a migration
	@scripts/sqlx-prepare

.PHONY: sqlx-check
sqlx-check: setup-servers ## Check that .sqlx/ fits the queries and migrations
	@scripts/sqlx-prepare --check

.PHONY: schemas
schemas: ## Regenerate the JSON Schemas from the Rust types
	cargo run --quiet --package gatewright-schemas --example generate

.PHONY: clean-data
clean-data: ## Remove the data of private servers that `dev`, the demo and the bench left
	@scripts/clean-data
