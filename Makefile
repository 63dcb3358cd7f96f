# `make demo` and `make test` set up what they need by themselves. PYTHON names the interpreter to build from.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: help demo test check lock clean

help:
	@echo "make demo    draw paired street scenes, train RGB, IR and fusion on them, compare (CPU, about ten minutes)"
	@echo "make test    the whole test suite"
	@echo "make check   ruff, mypy, import contracts, fast tests"
	@echo "make lock    requirements.lock anew, from the package index"
	@echo "make clean   remove the environment and demo runs"

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(RUN) scripts/demo.py

test: $(READY)
	$(RUN) -m pytest

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(RUN) scripts/lock.py --check
	$(RUN) -m pytest -q tests/unit

lock: $(READY)
	$(RUN) scripts/lock.py

clean:
	rm -rf $(VENV) runs/demo data/demo
