# Everything from a fresh clone: a Python of 3.11 or later and a package index will do.
#
#   make demo       the pipeline on handwritten digits, and the dashboard that shows it
#   make test       the tests, in parallel
#   make test-fast  the tests that need no cluster, no browser and little time
#   make check      format, lint, types, imports
#   make docs       the documents as a site, in docs/_build
#   make bench      the measurements, in about half an hour, and the documents' figures
#   make audit      known vulnerabilities of the pinned versions, from PyPI's advisories
#   make clean      remove the environment and every cache
#
# PYTEST_ARGS is handed to pytest, for instance PYTEST_ARGS="tests/store -x".
#
# PIP_ARGS is handed to every installation. The package index has torch for CUDA only
# on Linux; a smaller one for CPUs comes from the index that pytorch.org names:
#   make demo PIP_ARGS="--extra-index-url ..."

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)
VENV ?= .venv
PIP_ARGS ?=
PIP_AUDIT = 2.10.1
PYTEST_ARGS ?=
# tests/conftest.py decides how many processes there are, and in which order and groups
# the tests run. For one process, as with --pdb: PYTEST_PARALLEL=
PYTEST_PARALLEL ?= --numprocesses auto --dist loadgroup --no-loadscope-reorder
DEMO_ARGS ?=
BENCH_ARGS ?=
AUDIT_ARGS ?=

# Half of the time of an installation is the compilation of modules that are never
# imported; what is imported is compiled then, also where images of containers forbid
# it: without, every process spends a second on that.
export PYTHONDONTWRITEBYTECODE :=
PIP_INSTALL = $(VENV)/bin/python -m pip install --disable-pip-version-check \
	--no-compile --progress-bar off --constraint constraints.txt $(PIP_ARGS)
# Of all that pip says, the lines that show that it moves on.
SHOW_PROGRESS = { grep --line-buffered -E '^(Collecting|Installing|Successfully)' \
	|| true; } | cut -c 1-100

.PHONY: help demo test test-fast check docs bench audit clean

help:
	@sed -n '/^#   make/s/^#   //p' Makefile

$(VENV)/created:
	@echo "==> creating the environment $(VENV) with $(PYTHON)"
	@test -n "$(PYTHON)" || { echo "nnviz needs Python 3.11 or later and found none;" \
		"name one with 'make PYTHON=/path/to/python'" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@# Older pip knows no dependency groups.
	@$(VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1' $(PIP_ARGS)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	@echo "==> installing nnviz and its dependencies into $(VENV) (a minute or two)"
	@$(PIP_INSTALL) --editable . | $(SHOW_PROGRESS)
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "==> installing what tests, checks and measurements need into $(VENV)"
	@$(PIP_INSTALL) --editable . --group dev | $(SHOW_PROGRESS)
	@# Without dependencies: the only torchvision for a CPU build of torch may be one that
	@# asks for the CUDA build. The tests' conftest makes it importable.
	@$(PIP_INSTALL) --no-deps torchvision timm | $(SHOW_PROGRESS)
	@touch $@

demo: $(VENV)/installed
	@echo "==> running the pipeline on the digits that come with scikit-learn"
	@$(VENV)/bin/nnviz demo $(DEMO_ARGS)

test: $(VENV)/installed-dev
	@echo "==> running the tests"
	@$(VENV)/bin/python -m pytest $(PYTEST_PARALLEL) $(PYTEST_ARGS)

test-fast: $(VENV)/installed-dev
	@echo "==> running the tests that need no cluster, no browser and little time"
	@$(VENV)/bin/python -m pytest $(PYTEST_PARALLEL) \
		-m 'not browser and not cluster and not slow' $(PYTEST_ARGS)

check: $(VENV)/installed-dev
	@echo "==> format"
	@$(VENV)/bin/ruff format --check .
	@echo "==> lint"
	@$(VENV)/bin/ruff check .
	@echo "==> types"
	@$(VENV)/bin/mypy
	@echo "==> imports"
	@PYTHONPATH=.:dashboards:cluster $(VENV)/bin/lint-imports --no-logo

# Strict: warnings, links that lead nowhere and errors in notebooks end the build.
docs: $(VENV)/installed-dev
	@echo "==> building the documents; notebooks are run, which takes a minute"
	@PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/python -m sphinx --builder html \
		--fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

# BENCH_ARGS is handed on, for instance BENCH_ARGS="--only peers" or BENCH_ARGS=--full.
bench: $(VENV)/installed-dev
	@echo "==> measuring; on two quiet cores this takes about half an hour"
	@status=0; $(VENV)/bin/python -m benchmarks.suite $(BENCH_ARGS) || status=$$?; \
		$(VENV)/bin/python -m benchmarks.report; exit $$status

$(VENV)/audit/installed: $(VENV)/created
	@echo "==> creating an environment of its own for pip-audit"
	@$(VENV)/bin/python -m venv --clear $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check \
		$(PIP_ARGS) pip-audit==$(PIP_AUDIT)
	@touch $@

# Strict: a version of which the service knows nothing is a failure, not a pass.
audit: $(VENV)/audit/installed
	@echo "==> asking for advisories on every version of constraints.txt"
	@$(VENV)/audit/bin/pip-audit --strict --progress-spinner off --no-deps --disable-pip \
		--requirement constraints.txt $(AUDIT_ARGS)

clean:
	@echo "==> removing $(VENV), build products and caches"
	@rm -rf $(VENV) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
