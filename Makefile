# Needs Python 3.11+, make and a package index; everything else is set up here, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := build/demo
STDLIB = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
# All but site-packages, which lies in between.
STDLIB_SOURCES = '$(STDLIB)/*.py' '$(STDLIB)/[!s]*/**/*.py' '$(STDLIB)/s[!i]*/**/*.py'

.PHONY: demo test check format clean

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

demo: $(READY)  ## count the words of the Python standard library's own sources
	$(BIN)/mapreduce run @word_count $(STDLIB_SOURCES) -o $(DEMO) --overwrite --encoding-errors replace
	@echo 'The ten most frequent words of $(STDLIB):'
	@cat $(DEMO)/part-* | LC_ALL=C sort -t "$$(printf '\t')" -k 2,2nr | head
	@echo 'All of them, with how often: $(DEMO)/part-*'

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -n auto --dist worksteal

check: $(READY)  ## the static checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info
