# mosnpy. On a fresh Debian 12 with git, make, python3 and root or sudo two commands do all the set-up:
#   make demo   Redis and HTTP behind the proxy, with traffic and a live table
#   make test   everything that must hold: lint, types, C tests, short fuzzing, the whole Python suite
# Everything made lands in .venv/ and build/. `make help` lists the targets.

SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

JOBS ?= $(shell nproc)
VENV ?= .venv
PY := $(VENV)/bin/python
BIN := $(abspath $(VENV))/bin
PYTEST_ARGS ?=
# Files are dealt out to as many processes, and stay whole: what they set up is shared. PYTEST_JOBS=0 runs all in one.
PYTEST_JOBS ?= $(JOBS)
PYTEST = $(PY) -m pytest -q -n $(PYTEST_JOBS) --dist loadfile
FUZZ_SECONDS ?= 15
CLANG ?= clang-14
CLANG_FORMAT ?= clang-format-14
# The first Python new enough; any will do that has venv and headers.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: help demo test lint types bench asan fuzz ctest dev deps build clean unit e2e codecs format node
help:
	@awk -F '## ' '/^[a-z]+:.*## / {split($$1, t, ":"); printf "  make %-8s %s\n", t[1], $$2}' Makefile

# ---- set-up ----------------------------------------------------------------------------------------------------------
# Stamps: a step is done again when what it read has changed.

deps: ## what apt must bring for building and testing
	@.ci/deps all

.PHONY: deps-build
deps-build:
	@.ci/deps build

$(PY): | deps-build
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found (apt-get install python3)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The extension is left to `build`, so that Python's part installs in a tree whose C does not compile.
$(VENV)/.installed: pyproject.toml setup.py | $(PY)
	$(PY) -m pip install -q --disable-pip-version-check 'setuptools>=77' 'Cython>=3.1,<4'
	MOSNPY_SKIP_NATIVE=1 $(PY) -m pip install -q --disable-pip-version-check --no-build-isolation -e '.[test,dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	MOSNPY_SKIP_NATIVE=1 $(PY) -m pip install -q --disable-pip-version-check --no-build-isolation -e '.[bench]'
	@touch $@

dev: deps $(VENV)/.installed build ## the environment for working on mosnpy: .venv with everything, built in place

NATIVE := $(shell find csrc mosnpy codecs -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -path 'csrc/*.[ch]' -not -path 'csrc/tests/*' 2>/dev/null)

build: build/.built ## the extension, in place, if C or Cython changed
build/.built: $(NATIVE) setup.py $(VENV)/.installed
	@mkdir -p build
	MOSNPY_WERROR=1 MOSNPY_JOBS=$(JOBS) $(PY) setup.py -q build_ext --inplace
	@touch $@

node: build/node/.installed
build/node/.installed:
	@mkdir -p build/node
	@if command -v npm >/dev/null; then \
		npm install --loglevel=error --no-audit --no-fund --prefix build/node ioredis@5 && touch $@; \
	else echo "node: npm is missing, the ioredis test will be skipped"; fi

clean: ## removes what was built (not .venv)
	rm -rf build/*/ build/.built dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find mosnpy codecs -name '*.so' -delete
	find mosnpy/core codecs -name '*.c' -delete

# ---- the main job ----------------------------------------------------------------------------------------------------

demo: deps-build build ## Redis and HTTP behind the proxy, with traffic and a live table
	$(BIN)/mosnpy demo $(DEMO_ARGS)

bench: deps build $(VENV)/.installed-bench ## side by side with the peers that are installed
	$(PY) -m bench $(BENCH_ARGS)

# ---- checks ----------------------------------------------------------------------------------------------------------
# One after the other, cheapest first. A skipped test is a failure: whoever can't have all that a test needs says
# MOSNPY_ALLOW_SKIPS=1. pytest comes last so that its summary closes the run.

test: ## lint, types, C tests, short fuzzing, all Python tests
	@$(MAKE) deps dev node
	@$(MAKE) lint
	@$(MAKE) types
	@$(MAKE) ctest
	@$(MAKE) fuzz FUZZ_SECONDS=$(FUZZ_SECONDS)
	$(if $(MOSNPY_ALLOW_SKIPS),,MOSNPY_FAIL_ON_SKIP=1) $(PYTEST) $(PYTEST_ARGS)

unit: build ## Python tests of single modules
	$(PYTEST) tests/unit $(PYTEST_ARGS)
codecs: build ## Python tests of the codecs' tables and texts
	$(PYTEST) tests/codecs $(PYTEST_ARGS)
e2e: build node ## real servers, real clients, faults
	$(PYTEST) tests/e2e $(PYTEST_ARGS)

# A tool that could not be installed: a failure, or a printed line with MOSNPY_ALLOW_SKIPS=1.
missing = echo "SKIPPED $(1): $(2) is missing"; test -n "$(MOSNPY_ALLOW_SKIPS)"

C_FORMATTED := $(shell find csrc bench examples -name '*.[ch]' 2>/dev/null)
CYTHON := $(shell find mosnpy codecs -name '*.pyx' -o -name '*.pxd' 2>/dev/null)
lint: $(VENV)/.installed ## ruff, clang-format, cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if ! command -v $(CLANG_FORMAT) >/dev/null; then $(call missing,clang-format,$(CLANG_FORMAT)); \
	else echo "$(CLANG_FORMAT) --dry-run -Werror ($(words $(C_FORMATTED)) files)"; $(CLANG_FORMAT) --dry-run -Werror $(C_FORMATTED); fi
	$(if $(CYTHON),PATH=$(BIN):$$PATH cython-lint $(CYTHON))

format: $(VENV)/.installed ## rewrites everything into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(CLANG_FORMAT) -i $(C_FORMATTED)

types: $(VENV)/.installed ## mypy --strict
	$(BIN)/mypy --strict -p mosnpy
	$(if $(wildcard bench/__init__.py),$(BIN)/mypy --strict -p bench)

# ---- C: tests, fuzzing -----------------------------------------------------------------------------------------------
# The engine and the codecs build without Python. Their objects go into an archive, so that a test links what it uses.

Q := $(if $(V),,@)# make V=1 shows the commands
C_SOURCES := $(wildcard csrc/core/*.c csrc/codecs/*.c csrc/route/*.c csrc/filters/*.c)
C_TESTS := $(patsubst csrc/tests/%.c,%,$(wildcard csrc/tests/test_*.c))
C_FUZZERS := $(patsubst csrc/tests/fuzz_%.c,%,$(wildcard csrc/tests/fuzz_*.c))
FUZZ ?= $(C_FUZZERS)
C_FLAGS := -std=gnu11 -Wall -Wextra -Werror -Icsrc -fno-omit-frame-pointer -MMD -MP
C_LIBS := -lpcre2-8 -lssl -lcrypto -lm -lpthread
CTEST_FLAGS := $(C_FLAGS) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_FLAGS := $(C_FLAGS) -g -O2 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
export ASAN_OPTIONS ?= detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS ?= print_stacktrace=1

ctest: ## C tests under ASan and UBSan
	@$(MAKE) -j$(JOBS) --output-sync=target $(C_TESTS:%=build/ctest/%)
	@$(MAKE) -j$(JOBS) --output-sync=target $(C_TESTS:%=run-%)
	@echo "ctest: $(words $(C_TESTS)) programs passed"

build/ctest/%.o: %.c
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) $(CTEST_FLAGS) -c $< -o $@
build/ctest/core.a: $(C_SOURCES:%.c=build/ctest/%.o)
	@rm -f $@
	@ar rcs $@ $^
build/ctest/%: build/ctest/csrc/tests/%.o build/ctest/core.a
	$(Q)$(CC) $(CTEST_FLAGS) $^ $(C_LIBS) -o $@
run-%: build/ctest/%
	@build/ctest/$* && echo "ok $*"

fuzz: ## libFuzzer, FUZZ_SECONDS each (15), FUZZ="resp …" or all
	@if ! command -v $(CLANG) >/dev/null; then $(call missing,fuzzing,$(CLANG)); \
	else $(MAKE) -j$(JOBS) --output-sync=target $(FUZZ:%=build/fuzz/%) && \
		$(MAKE) -j$(JOBS) --output-sync=target $(FUZZ:%=fuzz-%); fi

build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	@echo "$(CLANG) $<"
	$(Q)$(CLANG) $(FUZZ_FLAGS) -c $< -o $@
build/fuzz/core.a: $(C_SOURCES:%.c=build/fuzz/%.o)
	@rm -f $@
	@ar rcs $@ $^
build/fuzz/%: build/fuzz/csrc/tests/fuzz_%.o build/fuzz/core.a
	$(Q)$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer $^ $(C_LIBS) -o $@
# What it finds new goes to build/; tests/data/fuzz/<name> holds the seeds, and inputs that once broke something.
fuzz-%: build/fuzz/%
	@mkdir -p build/fuzz/corpus/$*
	@build/fuzz/$* -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix=build/fuzz/$*- build/fuzz/corpus/$* $(wildcard tests/data/fuzz/$*) >build/fuzz/$*.log 2>&1 \
		|| { grep -vE '^#[0-9]+|# Uses:' build/fuzz/$*.log | tail -100; echo "fuzz $*: FAILED, all of it in build/fuzz/$*.log"; exit 1; }
	@sed -n 's/^Done \(.*\)/fuzz $*: \1/p' build/fuzz/$*.log

.PRECIOUS: build/ctest/%.o build/fuzz/%.o build/ctest/core.a build/fuzz/core.a build/ctest/test_% build/fuzz/%
-include $(shell find build/ctest build/fuzz -name '*.d' 2>/dev/null)

# ---- the whole proxy under sanitizers --------------------------------------------------------------------------------
# A tree of its own (build/asan), so that the ordinary build stays. PYTHONSAFEPATH keeps the checkout from shadowing it; -s
# because pytest swallows the report otherwise. Python itself leaks by design, so leaks are the C tests' business.

ASAN_TESTS ?= tests/e2e
asan: build node ## the end-to-end tests with an instrumented extension
	@rm -rf build/asan/lib
	MOSNPY_SANITIZE=address,undefined MOSNPY_JOBS=$(JOBS) $(PY) setup.py -q build --build-lib build/asan/lib --build-temp build/asan/tmp
	PYTHONSAFEPATH=1 PYTHONPATH=$(abspath build/asan/lib) PYTHONMALLOC=malloc MOSNPY_SANITIZED=1 \
		LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so) $$($(CC) -print-file-name=libstdc++.so)" \
		MOSNPY_TESTS_TIMEOUT_FACTOR=5 ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 $(PY) -m pytest -q -s $(ASAN_TESTS) $(PYTEST_ARGS)
