# Two commands on a fresh machine with Python 3.11+: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test drills soak check bench format clean

# Made anew when the dependencies change.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[all]" --group dev
	@touch $@

ENGINE ?= postgresql
demo: $(VENV)/.ready ## a local cluster (ENGINE=mysql: of MySQL), the shop, its scenarios and a short benchmark
	$(BIN)/python -m examples.shop.demo --engine $(ENGINE)

# Each worker has clusters of its own, so a file's tests stay together.
test: $(VENV)/.ready ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

drills: $(VENV)/.ready ## the drills at full length, in minutes; what they did is printed
	$(BIN)/python -m pytest tests/drills --drills long -s

MINUTES ?= 60
soak: $(VENV)/.ready ## random faults for MINUTES (60); SEED=… brings a run again
	$(BIN)/python -m pytest tests/drills/test_soak.py --soak $(MINUTES) $(if $(SEED),--drills-seed $(SEED)) -s --timeout 0

check: $(VENV)/.ready ## formatter, linter, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready ## the six rows beside their floors (ENGINE=mysql: those of MySQL)
	$(BIN)/python -m benchmarks run --engine $(ENGINE)

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## everything that was made here
	rm -rf $(VENV) dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov bench-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
