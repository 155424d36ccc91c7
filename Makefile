# The one entry for people and CI. `make` alone explains itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST := $(BIN)/pytest -q
JOBS ?= 2
TEST_JOBS ?= 3  # tests wait for daemons, clients and the disk about as long as they compute

# Python keeps what it compiled, whatever the shell says: else each pytest worker compiles thousands of assertions
# again, and each daemon that a test starts all of src.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:  ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1mmake %-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.setup-done: uv.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh

.PHONY: setup
setup: .venv/.setup-done  ## Install what is missing: OpenSSH, uv, the locked Python packages

.PHONY: tools
tools: setup  ## Install the programs of others that only the interop tests drive: Dropbear, sshfs, Xvfb, PostgreSQL, Chromium, oidc-provider
	@scripts/setup.sh --tools

.PHONY: demo
demo: setup  ## Drive the real ssh through every mode, target and route, and compare the session IDs
	@$(BIN)/interlock demo

.PHONY: run
run: setup  ## Leave the demo's cluster running, with a note on how to log in (Ctrl-C stops it)
	@$(BIN)/interlock demo --keep

.PHONY: test
test: setup tools lint  ## Set up, then all checks and all tests
	@scripts/test.sh $(TEST_JOBS)

# Where every test is slow or interop: to find that out of a thousand of them costs each worker a second or two.
ALL_SLOW := interop matrix faults

.PHONY: check
check: setup  ## Format, lint, types, import contracts, spelling, fast tests (under a minute)
	@$(MAKE) --no-print-directory -j 2 lint check-tests || { echo 'check: something above has failed'; exit 1; }

# Where memory holds files, and they may be programs, no test waits for a disk.
MEMORY = $(shell findmnt -no OPTIONS /dev/shm | grep -qvw noexec && \
	[ $$(df --output=avail -k /dev/shm | tail -1) -gt 1000000 ] && echo /dev/shm)

.PHONY: check-tests
check-tests: setup
	$(addprefix TMPDIR=,$(MEMORY)) $(PYTEST) -p interlock.testing.forked --forks $(TEST_JOBS) --hypothesis-profile=quick \
	-m "not slow and not interop" $(addprefix --ignore=tests/,$(ALL_SLOW))

STATIC := check-format check-rules check-types check-imports check-spelling

.PHONY: lint
lint: setup  ## The static part of check
	@$(MAKE) --no-print-directory --output-sync -j $(JOBS) $(STATIC)

.PHONY: $(STATIC)
check-format:
	$(BIN)/ruff format --check src tests bench
check-rules:
	$(BIN)/ruff check src tests bench
# On a machine that is busy mypy's workers do not start within the three seconds that it gives them, and it ends with 2.
check-types:
	$(BIN)/mypy --num-workers $(JOBS) src tests bench || { [ $$? -eq 2 ] && $(BIN)/mypy src tests bench; }
check-imports:
	$(BIN)/lint-imports
check-spelling:
	$(BIN)/codespell src tests bench docs scripts README.md Makefile

.PHONY: format
format: setup  ## Rewrite the sources in the project's format
	$(BIN)/ruff format src tests bench
	$(BIN)/ruff check --fix src tests bench

.PHONY: interop
interop: setup tools  ## Only the tests that drive the real ssh and its relatives, git, rsync, Ansible and others
	$(PYTEST) -n $(JOBS) --dist loadgroup -m interop

.PHONY: matrix
matrix: setup  ## Only the matrices: mode x target x route, and old and new daemons in every pairing, as a table
	$(PYTEST) tests/interop/test_acceptance_matrix.py tests/matrix

.PHONY: faults
faults: setup tools  ## Kill, fail and cut off at every call and upload of a session, set clocks (an hour; make test has a few)
	INTERLOCK_FAULTS=all $(PYTEST) -n $(JOBS) tests/faults

.PHONY: fuzz
fuzz: setup  ## Send every message number in every state, on both legs and to a node: 15 minutes, or HOURS=n of each
	INTERLOCK_FUZZ=all INTERLOCK_FUZZ_HOURS=$(or $(HOURS),0) INTERLOCK_FUZZ_SEED=$(or $(SEED),1) \
	$(PYTEST) -n $(JOBS) tests/security/test_fuzz.py

.PHONY: bench
bench: setup  ## Measure direct, ssh -J and Interlock in one interleaved run; writes bench/results.json and .svg
	$(BIN)/python -m bench

.PHONY: bench-quick
bench-quick: setup  ## The same with few rounds, under 50 seconds; writes bench/results-quick.json
	$(BIN)/python -m bench --quick
