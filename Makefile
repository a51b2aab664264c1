# Everything is installed into .venv. Each target that needs it does the whole set-up first.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo demo-blendshapes test test-fast test-full coverage check docs image image-test format clean system pictures

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

system:
	@bash scripts/system.sh $(PYTHON)

# constraints.txt allows the CPU build of torch only. If no configured index offers it, pip fails instead of
# downloading CUDA, and the second command adds PyTorch's own CPU index.
$(STAMP): pyproject.toml constraints.txt | system
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about a gigabyte with torch; once)"
	@$(PIP) install -q --upgrade "pip>=25.1"
	@$(PIP) install -q -c constraints.txt -e '.[train,video]' --group dev || \
	  $(PIP) install -q -c constraints.txt -e '.[train,video]' --group dev --extra-index-url $(TORCH_CPU_INDEX)
	@touch $@

install: $(STAMP) ## .venv with gpujob, a CPU build of PyTorch and the development tools

demo: $(STAMP) ## train on sample data in tmux, then fetch and verify the checkpoint
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh

demo-blendshapes: $(STAMP) ## the same with blendshapes in seconds, with predict, evaluate and export
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo-blendshapes.sh

test-fast: $(STAMP) ## the tests that need no root, tmux, sshd or browser, under a minute
	@$(BIN)/python -m pytest -n 3 --dist worksteal -m "unit and not browser and not slow" tests/unit tests/rigs_test

# Four processes: many tests wait for processes and machines. A test that fails because a busy machine delayed
# a real daemon is run once more and listed as RERUN, unless it reached the time limit, which holds for the
# first try alone. `make test-full` reruns none.
test: $(STAMP) check ## check, then run all tests; a sample of those with hundreds of trials
	@$(BIN)/python -m pytest -n 4 --dist worksteal --reruns 1 --rerun-except 'from pytest-timeout' -rR

test-full: $(STAMP) check ## check, then run all tests with every trial
	@GPUJOB_TEST_FULL=1 $(BIN)/python -m pytest -n 4 --dist worksteal --timeout=3600

coverage: $(STAMP) ## coverage of orchestrator: at least 75 % by unit tests, 90 % by all
	@$(BIN)/python -m pytest -n 2 -m unit --cov --cov-report= --cov-fail-under=75
	@$(BIN)/python -m pytest -n 2 -m "not unit" --cov --cov-append --cov-fail-under=90

pictures: $(STAMP) ## make docs/pictures from real runs on this machine (needs tmux; three minutes)
	@$(BIN)/python docs/make_pictures.py

check: $(STAMP) ## lint, type check (mypy --strict) and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

docs: $(STAMP) ## build the documentation as a site, docs/_build/index.html
	@$(BIN)/python -m sphinx -q -W -b html docs docs/_build
	@echo docs/_build/index.html

image: ## build the images gpujob:cli and gpujob:host with docker or buildah
	@bash scripts/image.sh

image-test: ## build both images, log in from one to the other and train an epoch there
	@bash scripts/image-test.sh

format: $(STAMP) ## format the code and fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove .venv and everything made by the targets above
	rm -rf $(VENV) .mypy_cache .ruff_cache dist demo fetched docs/_build
