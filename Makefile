# Two commands: `make demo` paints for a held-out person, `make test` runs the tests. Both make their own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: demo test lint slow clean

$(BIN)/prefgen: pyproject.toml requirements.lock
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check "torch==2.13.0"
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

demo: $(BIN)/prefgen
	$(BIN)/prefgen demo -o $(OUT)

test: $(BIN)/prefgen lint
	$(BIN)/python -m pytest -m "not slow"

slow: $(BIN)/prefgen
	$(BIN)/python -m pytest -m slow

lint: $(BIN)/prefgen
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests

clean:
	rm -rf $(VENV) out
