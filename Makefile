# Everything starts here: `make demo`, `make test`. Both install what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint serve bench faults damage clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/python -m bench.demo

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: setup
	$(BIN)/headrace serve $(ARGS)

bench: setup
	$(BIN)/python -m bench --write $(ARGS)

# The long form of the crash tests: make faults ROUNDS=1000
ROUNDS ?= 200
faults: setup
	HEADRACE_FAULT_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/faults $(ARGS)

# The long form of the damaged files: make damage FILES=20000
FILES ?= 10000
damage: setup
	HEADRACE_DAMAGED_FILES=$(FILES) $(BIN)/python -m pytest tests/engine/test_damaged_parquet.py $(ARGS)

clean:
	rm -rf $(VENV) demo-data
