# Everything runs in a virtual environment of its own; only Python 3.11+ and make are needed.
# Each target installs what it needs on its first run, and again when pyproject.toml changes.

PYTHON ?= python3
VENV ?= .venv
FAMILY ?= linear_model
PYTEST_ARGS ?= -q

BIN := $(VENV)/bin
RUN := $(BIN)/python

.PHONY: help demo test lint format docs bench-quick clean

help:
	@echo "make demo         install, fit the models on real data, print scores, write a figure"
	@echo "make test         install, run the test suite      (PYTEST_ARGS=... to change how)"
	@echo "make lint         ruff check, ruff format --check, mypy"
	@echo "make format       let ruff rewrite the code"
	@echo "make docs         build the documentation into docs/_build/html"
	@echo "make bench-quick  compare with peers in one table   (FAMILY=$(FAMILY))"
	@echo "make clean        remove the environment, caches and built documentation"

demo: $(VENV)/.installed-demo
	$(RUN) examples/quickstart.py

test: $(VENV)/.installed-test
	$(RUN) -m pytest tests $(PYTEST_ARGS)

lint: $(VENV)/.installed-lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(VENV)/.installed-lint
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: $(VENV)/.installed-docs
	$(RUN) -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "The documentation is at docs/_build/html/index.html"

bench-quick: $(VENV)/.installed-bench
	$(RUN) -m benchmarks.quick --family $(FAMILY)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	rm -rf docs/_build docs/auto_examples docs/api/generated docs/sg_execution_times.rst
	find sparseopt tests benchmarks examples docs -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for the environment and one for each extra installed into it. A stamp is
# written last, so that an interrupted install is simply done again.
$(VENV)/.created:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'sparseopt needs Python 3.11 or newer, this is ' + sys.version)"
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/.installed-%: $(VENV)/.created pyproject.toml
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch $@
