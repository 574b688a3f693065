# Everything starts here: `make demo`, `make test`. Both install what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HELP := src/headrace/help/index.html

PAGES := mkdocs.yml ARCHITECTURE.md CHANGELOG.md $(shell find docs -type f -not -path '*/__pycache__/*')

.DELETE_ON_ERROR:
.PHONY: setup setup-spark docs matrix commands demo test lint audit wheel-test serve bench growth many peers simulate faults test-scale test-spark smoke-spark bench-spark bench-workers programs soak names undos conformance damage fuzz cuts slow-clients screenshots mutants clean

setup: $(STAMP) $(HELP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The manual, into the package; a warning is an error
docs: $(HELP)

$(HELP): $(STAMP) $(PAGES)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Which client was seen to call what, by the tests of the contract: docs/compatibility.md
matrix: $(STAMP)
	$(BIN)/python -m pytest -q tests/contract --write-matrix $(ARGS)

demo: setup
	$(BIN)/python -m bench.demo

# Three at a time on two cores: much of a test is waiting. Long ones first (tests/conftest.py)
test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -r src

# Known holes in what we depend on; asks the advisory service of the package index, or another: make audit ARGS='-s osv'
AUDIT ?= required
audit: setup
	AUDIT=$(AUDIT) $(BIN)/python .ci/audit constraints.txt $(ARGS)

serve: setup
	$(BIN)/headrace serve $(ARGS)

bench: setup
	$(BIN)/python -m bench --write $(ARGS)

# A thousand small pushes into a table of 10 million rows: some 20 minutes
growth: setup
	$(BIN)/python -m bench.growth --write $(ARGS)

# 2,000 pools, 10,000 tables, 100,000 jobs: is a list still quick, and the start?
many: setup
	$(BIN)/python -m bench.many --write $(ARGS)

# Beside DuckDB, PostgreSQL, delta-rs, polars and chdb, on 10 million rows: an hour
peers: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m bench.peers --write $(ARGS)

# docs/simulation.md: what very many pools would need, by a model
simulate: setup
	$(BIN)/python -m bench.simulate $(ARGS)

# docs/commands.md, from what the commands say of themselves
commands: setup
	PYTHONPATH=tests $(BIN)/python -m docs.commands_page

# The wheel with all of its dependencies, in an empty environment
wheel-test: setup
	PYTHONPATH=tests $(BIN)/python -m commands.wheel --dependencies

# The long form of the tests of faults, into docs/reliability-run.md: make faults ROUNDS=1000 OPERATIONS=10000
ROUNDS ?= 200
OPERATIONS ?= 400
FLIPS ?= 40
LOSSES ?= 12
BACKUPS ?= 3
faults: setup
	HEADRACE_FAULT_ROUNDS=$(ROUNDS) HEADRACE_FAULT_PROGRAMS=$(PROGRAMS) HEADRACE_LOST_OPERATIONS=$(OPERATIONS) \
	  HEADRACE_BIT_FLIPS=$(FLIPS) HEADRACE_POWER_LOSSES=$(LOSSES) HEADRACE_FAULT_BACKUPS=$(BACKUPS) \
	  $(BIN)/python -m pytest tests/faults --write-run $(ARGS)

# Servers and workers on PostgreSQL and S3, killed at random, and the suites over both: make test-scale ROUNDS=200 JOBS=1000
JOBS ?= 200
MOVES ?= 20
test-scale: setup test-spark
	HEADRACE_SCALE_ROUNDS=$(ROUNDS) HEADRACE_STORM_JOBS=$(JOBS) HEADRACE_MOVE_KILLS=$(MOVES) $(BIN)/python -m pytest -s tests/scale tests/unit/test_metadata.py tests/unit/test_claims.py tests/unit/test_locks.py tests/unit/test_signs.py $(ARGS)
	HEADRACE_LAKES_OF_TESTS=database,store $(BIN)/python -m pytest tests/engine/test_loads.py tests/engine/test_previews.py tests/engine/test_undo.py tests/engine/test_upkeep.py tests/engine/test_stored.py tests/engine/test_catalog.py $(ARGS)
	HEADRACE_LAKES_OF_TESTS=store $(BIN)/python -m pytest tests/engine/test_attacks.py tests/contract tests/client $(ARGS)

setup-spark: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[spark]'

# The suite of loads over Spark, the same loads to the lake and to Spark, a cluster that loses parts: make test-spark SPARK_PROGRAMS=50
SPARK_PROGRAMS ?= 12
test-spark: setup-spark
	HEADRACE_TEST_ENGINE=spark HEADRACE_LOAD_PROGRAMS=$(SPARK_PROGRAMS) $(BIN)/python -m pytest --timeout 3600 tests/engine/test_loads.py $(ARGS)
	HEADRACE_SPARK=1 HEADRACE_SPARK_PROGRAMS=$(SPARK_PROGRAMS) $(BIN)/python -m pytest -s tests/scale/test_spark.py tests/scale/test_spark_catalogs.py tests/scale/test_spark_deaths.py tests/scale/test_moving_tables.py $(ARGS)

# What CI runs of it: every rule of a load over Spark, and two programs beside the lake
smoke-spark: setup-spark
	HEADRACE_TEST_ENGINE=spark HEADRACE_LOAD_PROGRAMS=2 $(BIN)/python -m pytest --timeout 900 tests/engine/test_loads.py $(ARGS)
	HEADRACE_SPARK=1 HEADRACE_SPARK_PROGRAMS=2 $(BIN)/python -m pytest --timeout 900 tests/scale/test_spark.py $(ARGS)

# What loads cost over Spark, beside the lake: the table of docs/spark.md
bench-spark: setup-spark
	PYTHONPATH=tests $(BIN)/python -m scale.spark_costs $(ARGS)

# How much two workers do more than one, each on a core of its own: the table of docs/scale.md
bench-workers: setup
	PYTHONPATH=tests $(BIN)/python -m scale.throughput $(ARGS)

# 500 clients at a byte a second, with the default limits, beside normal traffic
slow-clients: setup
	HEADRACE_SLOW_CLIENTS=500 HEADRACE_SLOW_WINDOW=30 $(BIN)/python -m pytest -s tests/faults/test_slow_clients.py $(ARGS)

# Every route as the OpenAPI document tells it, 10,000 calls: make fuzz SEED=7
EXAMPLES ?= 270
SEED ?= 1
fuzz: setup
	HEADRACE_FUZZ_CASES=10000 HEADRACE_FUZZ_EXAMPLES=$(EXAMPLES) HEADRACE_FUZZ_SEED=$(SEED) $(BIN)/python -m pytest -s --timeout 3600 tests/fuzz $(ARGS)

# A push of 2 million rows, cut at 20 places and interrupted at 10: make cuts
cuts: setup
	HEADRACE_CUTS=20 HEADRACE_CUT_ROWS=2000000 $(BIN)/python -m pytest -s tests/client/test_client.py -k "cut_it or interrupt" $(ARGS)

# Random jobs and readers on a few lakes at once: make soak ROUNDS=500
soak: setup
	HEADRACE_SOAK_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/faults/test_soak.py $(ARGS)

# Every name that was chosen to do harm, as a table's
names: setup
	HEADRACE_ALL_NAMES=1 $(BIN)/python -m pytest tests/contract/test_names.py $(ARGS)

# Pushes, cancels, undos and deaths of the server beside a model: make programs PROGRAMS=10000 SEED=7
PROGRAMS ?= 100
programs: setup
	HEADRACE_FAULT_PROGRAMS=$(PROGRAMS) HEADRACE_FAULT_SEED=$(SEED) $(BIN)/python -m pytest tests/faults/test_programs.py $(ARGS)

# Random loads and undos beside a model: make undos PROGRAMS=200
undos: setup
	HEADRACE_UNDO_PROGRAMS=$(PROGRAMS) $(BIN)/python -m pytest --timeout 3600 tests/engine/test_undo.py $(ARGS)

# Any table in any dialect reads back equal, the long form: make conformance TABLES=120000
TABLES ?= 120000
conformance: setup
	HEADRACE_CSV_READ=$(TABLES) HEADRACE_CSV_STAGED=$$(($(TABLES) / 20)) $(BIN)/python -m pytest -n 2 --timeout 3600 tests/unit/test_csv_conformance.py tests/engine/test_csv_conformance.py $(ARGS)

# The long form of the damaged files: make damage FILES=20000
FILES ?= 10000
damage: setup
	HEADRACE_DAMAGED_FILES=$(FILES) $(BIN)/python -m pytest tests/engine/test_damaged_parquet.py $(ARGS)

# Whether quick tests notice every small change of a module: make mutants ARGS=permissions
mutants: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutants]'
	PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

# Pictures of the console's pages for the documents
screenshots: setup
	$(BIN)/python -m pytest -q tests/console/screenshots.py

clean:
	rm -rf $(VENV) demo-data src/headrace/help
