# make setup | demo | test | lint. Needs Python >= 3.10 and nothing else; everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On Windows under Git Bash: make BIN=.venv/Scripts

.PHONY: setup demo test lint format clean

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/superface demo --output demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps say that the installation below them is up to date with pyproject.toml and the pins.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/.installed
