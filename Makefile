# make setup | demo | demo-student | space | test | lint. Needs Python >= 3.10 and nothing else; everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On Windows under Git Bash: make BIN=.venv/Scripts

.PHONY: setup demo demo-student space test lint docs format clean

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/superface demo --output demo

demo-student: $(VENV)/.installed
	$(BIN)/superface demo --student --output demo

space: $(VENV)/.installed-space
	$(BIN)/superface serve

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/reference are written from docstrings; a test tells when they are not up to date.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/build_reference.py

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

$(VENV)/.installed-space: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[space,train]"
	touch $@ $(VENV)/.installed
