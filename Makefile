# Two commands for a fresh machine: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin

# Less than the defaults, for a first look in under three minutes on two cores.
DEMO := --folds 3 --epochs 8 --batch-size 64 --mix none --views 2

.PHONY: demo test setup lint types format clean

demo: setup
	$(BIN)/python train.py --run runs/demo $(DEMO)
	$(BIN)/python predict.py runs/demo --out submissions/sample.csv
	$(BIN)/python -m competition score submissions/sample.csv

test: setup
	$(BIN)/python -m pytest

setup: .venv/ready

.venv/ready: requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch .venv/ready

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
