# `make demo` and `make test` set up what they need by themselves. PYTHON names the interpreter to build from.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: help demo docs test test-all check check-static check-unit lock clean

help:
	@echo "make demo    draw paired street scenes, train RGB, IR and fusion on them, compare (CPU, 4 to 11 minutes)"
	@echo "make check   ruff, mypy, import contracts, the site's links, unit tests (about a minute)"
	@echo "make test    the test suite, one or two cases of each kind of check (under ten minutes)"
	@echo "make test-all  the suite with full matrices and long kill loops"
	@echo "make docs    build the site of the documents into site/ (seconds)"
	@echo "make lock    resolve requirements.lock again from the package index"
	@echo "make clean   remove the environment and demo runs"

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(RUN) scripts/demo.py

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict

test: $(READY)
	$(RUN) -m pytest

test-all: $(READY)
	$(RUN) -m pytest -m ""

check: $(READY)
	$(MAKE) --jobs 2 --output-sync=target check-static check-unit

check-static: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) scripts/lock_requirements.py --check
	$(RUN) scripts/config_docs.py --check
	$(VENV)/bin/mypy
	$(MAKE) docs

check-unit: $(READY)
	$(RUN) -m pytest -q --dist loadfile tests/unit

lock: $(READY)
	$(RUN) scripts/lock_requirements.py

clean:
	rm -rf $(VENV) runs/demo data/demo site
