# Two commands on a fresh machine:  make book  and  make test.  `make help` lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PROFILE ?= laptop
VENV ?= .venv
BUILD := build
PYTEST_ARGUMENTS ?=

BIN := $(abspath $(VENV))/bin
DEPENDENCIES := requirements.txt constraints.txt pyproject.toml
# The checkout's place counts too: the environment imports medlib from here.
DIGEST := $(shell (pwd; cat $(DEPENDENCIES)) | (sha256sum 2>/dev/null || shasum -a 256) | cut -c1-16)
STAMP := $(VENV)/.stamp-$(DIGEST)
PROFILES := $(sort $(basename $(notdir $(wildcard medlib/profiles/*.yaml))))
# Every interpreter that might do; the first one that is 3.11 or newer is taken.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.PHONY: help
help: ## list the commands
	@echo 'make COMMAND [PROFILE=laptop]   profiles: $(PROFILES)'
	@grep -hE '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 14

.PHONY: book
book: $(STAMP) known-profile ## run what changed and render the site to build/PROFILE/site/html
	@$(BIN)/python -m medlib notebooks
	@$(BIN)/python -m snakemake --workflow-profile tools/snakemake --config profile=$(PROFILE) build=$(BUILD)
	@echo 'The book: $(BUILD)/$(PROFILE)/site/html/index.html'

.PHONY: test
test: $(STAMP) ## run every test
	$(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

.PHONY: notebooks
notebooks: $(STAMP) ## write notebooks/*.ipynb from notebooks/*.py
	@$(BIN)/python -m medlib notebooks

.PHONY: benchmark
benchmark: $(STAMP) ## measure medlib against its peers
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmark]'
	$(BIN)/python -m benchmarks

.PHONY: constraints
constraints: $(STAMP) ## pin the newest versions that requirements.txt allows
	@mkdir -p $(BUILD)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip compile --quiet --universal --upgrade --all-extras --no-annotate --no-header \
		--python-version 3.11 --output-file $(BUILD)/constraints.txt pyproject.toml
	{ head -n 1 constraints.txt; cat $(BUILD)/constraints.txt; } > $(BUILD)/constraints.new
	mv $(BUILD)/constraints.new constraints.txt

.PHONY: environment
environment: $(STAMP) ## make or update .venv, and nothing else

.PHONY: clean
clean: ## remove everything that was built; the environment stays
	rm -rf $(BUILD) .snakemake

.PHONY: known-profile
known-profile:
	@[[ ' $(PROFILES) ' == *' $(PROFILE) '* ]] || \
		{ echo "There is no profile '$(PROFILE)'. Choose one of: $(PROFILES)." >&2; exit 2; }

# The stamp is the last thing written, so an interrupted installation is done again.
$(STAMP): $(DEPENDENCIES)
	@[[ -n '$(PYTHON)' ]] || \
		{ echo 'No Python 3.11 or newer was found. Install one, or name it: PYTHON=/path/to/python make book' >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is not Python 3.11 or newer. Name another: PYTHON=python3.12 make book' >&2; exit 2; }
	@echo 'Setting up $(VENV) with $(PYTHON); this takes some minutes and about 7 GB, once.'
	@rm -f $(VENV)/.stamp-*
	@grep -qsF '$(BIN)/python' $(BIN)/pip && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@
