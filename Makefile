# Every target makes its own environment in .venv. `make help` lists them.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test check docs bench
help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "neglab needs Python 3.11, 3.12 or 3.13; none was found. Install one, or set PYTHON=/path/to/python."; exit 1; }
	@echo "Setting up .venv with $(PYTHON); the first time, torch takes some minutes."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	@touch $@

demo: $(READY) ## score the shipped benchmark with the shipped model
	@$(BIN)/neglab -m method=mcm,random_negatives,neglabel

test: $(READY) ## run the tests, side by side on all cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

check: $(READY) ## lint and type-check
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/basedpyright

.venv/.docs: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: .venv/.docs ## build the documentation in site/; a broken link or notebook fails
	@NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet --strict

bench: $(READY) ## measure speed: a table of ratios
	@$(BIN)/python -m benchmarks
