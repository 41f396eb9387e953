# The two commands that matter: `make demo` and `make test`.  Both need nothing but Python >= 3.11.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
OLD_AWSCLI := 1.45.11
export OPENTRAIL_AWSCLI_OLD := $(CURDIR)/.venv-awscli/bin/aws

.PHONY: demo test test-long check bench docs fidelity fuzz clean

demo: .venv/demo.stamp  ## the main job, end to end; KEEP=1 leaves the server running
	@$(BIN)/python examples/demo.py $(if $(KEEP),--keep)

test: .venv/dev.stamp .venv-awscli/stamp  ## everything
	$(BIN)/pytest -n 2 $(ARGS)

test-long: .venv/dev.stamp .venv-awscli/stamp  ## the longer runs: 200 rounds of kill -9, every operation of every service, other examples
	OPENTRAIL_LONG=1 $(BIN)/pytest -n 2 -m "long or hypothesis" $(ARGS)

check: .venv/dev.stamp  ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench.stamp  ## each benchmark prints its ratios
	@for name in journal log_files delivery calls large_objects decisions accounts middleware upstream verify; do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

docs: .venv/dev.stamp  ## the generated pages of docs/
	$(BIN)/python -m opentrail.cli.reference docs

fidelity: .venv/dev.stamp  ## real records made again and compared; RECORDS=files, ARGS=--json; writes docs/fidelity.md
	$(BIN)/python -m opentrail.testing.fidelity --page docs/fidelity.md $(ARGS) $(or $(RECORDS),$(wildcard ../shared/data/records/*.ndjson.gz))

fuzz: .venv/dev.stamp  ## coverage-guided fuzzing of the front door; SECONDS=60
	$(BIN)/pip install -q atheris
	$(BIN)/python tests/fuzz/atheris_front_door.py $(or $(SECONDS),60)

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; say which with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/demo.stamp

.venv/bench.stamp: .venv/dev.stamp
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

.venv-awscli/stamp:  ## an older AWS CLI, a second judge
	$(PYTHON) -m venv .venv-awscli
	.venv-awscli/bin/python -m pip install -q --disable-pip-version-check awscli==$(OLD_AWSCLI)
	@touch $@

clean:
	rm -rf .venv .venv-awscli build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
