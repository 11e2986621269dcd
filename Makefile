# Needs Python 3.11+, make and a package index; everything else is set up here, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TO_TEST := $(VENV)/.ready-to-test
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DEMO := build/demo
STDLIB = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
# All but site-packages, which lies in between.
STDLIB_SOURCES = '$(STDLIB)/*.py' '$(STDLIB)/[!s]*/**/*.py' '$(STDLIB)/s[!i]*/**/*.py'

# One more than processors: many tests wait for processes, leases and kills.
TEST_PROCESSES ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

.PHONY: demo test check format bench clean

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@echo 'Setting up $(VENV) with the engine and what it needs, once: a minute or less'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $(READY)

$(READY_TO_TEST): $(READY)
	@echo 'Adding to $(VENV) what the checks and tests need, once: a gigabyte, and some minutes'
	$(PIP) -e '.[dev]'
	@touch $(READY_TO_TEST)

demo: $(READY)  ## count the words of the Python standard library's own sources
	$(BIN)/mapreduce run @word_count $(STDLIB_SOURCES) -o $(DEMO) --overwrite --encoding-errors replace
	@echo 'The ten most frequent words of $(STDLIB):'
	@cat $(DEMO)/part-* | LC_ALL=C sort -t "$$(printf '\t')" -k 2,2nr | head
	@echo 'All of them, with how often: $(DEMO)/part-*'

test: $(READY_TO_TEST)  ## all tests
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

check: $(READY_TO_TEST)  ## the static checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY_TO_TEST)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY_TO_TEST)  ## the engine beside its peers, and how its cost grows: hours; `.venv/bin/python -m benchmarks --quick` takes a minute
	$(PIP) -e '.[benchmarks]'
	$(BIN)/python -m benchmarks --report docs/benchmarks.md

clean:
	rm -rf $(VENV) build dist *.egg-info
