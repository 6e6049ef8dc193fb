# make demo | test | docs | setup: each works on a bare Debian or Ubuntu with python3 (3.11 or newer) and make.
#
#   make demo                     synthetic chairs -> data set -> ablation -> Table 1 and a report, under demo/
#   make demo ROOT=/path/to/pix3d the same on the real release
#   make test                     linters, types, import contracts, tests   (TESTS="-m slow" runs the long ones)
#   make docs                     the documentation, as site/index.html
#   make setup                    only the installation into .venv          (PYTHON=python3.12 picks the interpreter)

PYTHON ?= python3
DEMO ?= demo
ROOT ?=
TESTS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs cli-reference api-reference qc-reference architecture dist clean

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@PYTHON='$(PYTHON)' sh scripts/setup.sh

demo: setup
	@ONET=$(BIN)/onet DEMO='$(DEMO)' ROOT='$(ROOT)' sh scripts/demo.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file benchmarks/mypy.ini
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest $(TESTS)

cli-reference: setup
	$(BIN)/python scripts/cli_reference.py

api-reference: setup
	$(BIN)/python scripts/api_reference.py

qc-reference: setup
	$(BIN)/python scripts/qc_reference.py

architecture: setup
	$(BIN)/python scripts/architecture.py

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "documentation: site/index.html"

dist: setup
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf demo site dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
