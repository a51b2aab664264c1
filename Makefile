# One folder, .venv, holds all that is installed. `make demo` and `make test` do the whole set-up themselves.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo demo-blendshapes test test-full check image image-test format clean system

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

system:
	@bash scripts/system.sh $(PYTHON)

# pip stops rather than fetch CUDA where no index offers the CPU build; only then PyTorch's own index is asked.
$(STAMP): pyproject.toml constraints.txt | system
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about a gigabyte with torch; once)"
	@$(PIP) install -q --upgrade "pip>=25.1"
	@$(PIP) install -q -c constraints.txt -e '.[train,video]' --group dev || \
	  $(PIP) install -q -c constraints.txt -e '.[train,video]' --group dev --extra-index-url $(TORCH_CPU_INDEX)
	@touch $@

install: $(STAMP) ## .venv with gpujob, a CPU build of PyTorch and the development tools

demo: $(STAMP) ## sample data, a training in tmux, its checkpoint fetched and verified
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh

demo-blendshapes: $(STAMP) ## the same in seconds with blendshapes: predict, evaluate and export too
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo-blendshapes.sh

test: $(STAMP) check ## lint, types, contracts and every test, sampled where there are hundreds of trials
	@$(BIN)/python -m pytest -n 2

test-full: $(STAMP) check ## the same with every trial
	@GPUJOB_TEST_FULL=1 $(BIN)/python -m pytest -n 2 --timeout=3600

check: $(STAMP) ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

image: ## the images gpujob:cli and gpujob:host, with docker or buildah
	@bash scripts/image.sh

image-test: ## build both images and run them: key login, and an epoch trained over it
	@bash scripts/image-test.sh

format: $(STAMP) ## write the code the one way
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove what was installed and made here
	rm -rf $(VENV) .mypy_cache .ruff_cache dist demo fetched
