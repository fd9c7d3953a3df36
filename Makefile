# make demo   train, evaluate and report on the built-in world: no GPU, no download of weights
# make test   the whole test suite, in WORKERS processes
# make check  lint, types and tests
# Each makes .venv first where it is missing. PYTHON chooses the interpreter (3.11 or newer).

PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo
WORKERS ?= 2

.PHONY: demo test check lint clean

demo: .venv/.run
	$(BIN)/videochat-r1 demo --out $(OUT)

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

check: lint test

lint: .venv/.test
	$(BIN)/ruff check src tests benchmarks recipes
	$(BIN)/ruff format --check src tests benchmarks recipes
	$(BIN)/mypy

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.run: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@ .venv/.run

clean:
	rm -rf .venv build dist src/*.egg-info
