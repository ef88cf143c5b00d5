# make setup | demo | demo-student | space | test-fast | test | lint. Needs Python 3.11 to 3.13 and nothing else; everything goes into .venv.
# TORCH says which build of torch: cpu (0.3 GB to download, with all else), cuda (2.8 GB), default (what pip finds by itself);
# auto is cuda where there is an NVIDIA GPU, and cpu elsewhere.
PYTHON ?= python3
TORCH ?= auto
VENV := .venv
BIN := $(VENV)/bin
# On Windows under Git Bash: make BIN=.venv/Scripts

# The tests start many processes. Each would compile the package anew if none may keep what it compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo demo-student space test-fast test test-pythons lint docs format clean

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/superface demo --output demo

demo-student: $(VENV)/.installed
	$(BIN)/superface demo --student --output demo

space: $(VENV)/.installed-space
	$(BIN)/superface serve

# The unit tests: no large weights, no training, no browser.
test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/unit -m "not e2e"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The fast tests on every supported Python that is found; FULL=1 for all of them, with torch.
test-pythons: $(BIN)/python
	FULL="$(FULL)" TORCH="$(TORCH)" $(BIN)/python .ci/pythons.py $(PYTHONS)

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
	rm -rf $(VENV) $(VENV)-3.* demo build dist src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt $$($(BIN)/python .ci/torch_index.py $(TORCH))

# The stamps say that the installation below them is up to date with pyproject.toml and the pins.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable ".[dev]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-space: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable ".[space,train]"
	touch $@ $(VENV)/.installed
