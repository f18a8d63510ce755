# Tradu on one machine: needs Python 3.11 to 3.13 with venv, make and git.
#   make demo    set up, start, translate the sample documents    make down    stop everything
#   make test    lint and all tests                               make clean   remove all that was made
SHELL := /bin/bash
.DEFAULT_GOAL := help
# where this is set every process compiles everything it imports again: 17 s instead of 6 for one of them
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME
BIN := .venv/bin
# what test-torch and test-engines fetch
fetched := .venv/torch:.venv/engines

.PHONY: help setup up down demo test test-torch test-engines lint bench load drills clean
help:  ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST)

setup:  ## Virtual environment from the lock file, and the translation engines.
	@.ci/setup
	@$(BIN)/tradu setup

up: setup  ## Start PostgreSQL, Airflow and Dask.
	@$(BIN)/tradu up

down:  ## Stop everything.
	@if [ -x $(BIN)/tradu ]; then $(BIN)/tradu down; fi

demo: up  ## Translate the sample documents through the real DAG.
	@$(BIN)/tradu demo

lint: setup  ## Style, types, directions of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	PYTHONPATH=tasks:plugins $(BIN)/lint-imports

test: lint  ## Lint, unit, DAG, integration and end-to-end tests, in two processes.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: setup  ## Benchmarks: takes minutes.
	$(BIN)/python -m pytest tests/benchmarks -s --ignore tests/benchmarks/test_engines.py
	PYTHONPATH=$(fetched) HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/benchmarks/test_engines.py -s

# FOLDER: packages that requirements.lock leaves out, in a folder of their own
fetch = [ -d .venv/$(1) ] || { rm -rf .venv/$(1).new; $(BIN)/python -m pip install --quiet --disable-pip-version-check $(2) --target .venv/$(1).new -r .ci/$(1).txt && mv .venv/$(1).new .venv/$(1); }

test-torch: setup  ## The tests of the GPU's code, on a GPU or the processor: fetches PyTorch (200 MB, with CUDA 3 GB).
	@$(call fetch,torch)
	PYTHONPATH=.venv/torch $(BIN)/python -m pytest tests/integration/inference/test_device.py

test-engines: setup  ## The tests of the further engines: fetches CTranslate2, Transformers and PyTorch.
	@$(call fetch,torch) && $(call fetch,engines,--no-deps)
	PYTHONPATH=$(fetched) HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/integration/inference

load: setup  ## Load on a stack of its own: bursts, and ten times what it can carry. A quarter of an hour.
	$(BIN)/python -m pytest tests/load -s

drills: setup  ## Kill what runs while it runs, and prove that nothing is lost: up to 40 minutes a seed.
	$(BIN)/python -m pytest tests/drills -s

clean:  ## Remove all that was made, inside and outside this folder.
	@if [ -x $(BIN)/tradu ]; then $(BIN)/tradu clean --yes; fi
	@rm -rf .venv .tradu dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
