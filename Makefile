# The usual tasks. `make check` is what CI runs.
.PHONY: check lint format test bench sim sim-mutants docs

python := .venv/bin/python

check:
	scripts/test

.venv/bin/python:
	scripts/setup

lint: $(python)
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy
	.venv/bin/lint-imports --no-logo

format: $(python)
	$(python) -m ruff format .
	$(python) -m ruff check --fix .

# Tests alone, those of cgroup v2 left out: make test ARGS="tests/runtime -k links"
test: $(python)
	$(python) -m pytest -m "not cgroup2" $(ARGS)

# Every figure, beside its limit or its peer.
bench: $(python)
	set -e; for benchmark in benchmarks/bench_*.py; do $(python) "$$benchmark"; done

# Whole clusters under faults, seed after seed: SEEDS=1000 of them, or until it is stopped.
sim: $(python)
	$(python) tests/simulation/soak.py --seeds $(or $(SEEDS),0) $(ARGS)

# Bugs planted on purpose, each found by a seed and a shortened schedule of faults.
sim-mutants: $(python)
	$(python) tests/simulation/mutants.py

# Write the pages that are made from code, then see whether all documents are linked, fresh and whole.
docs: $(python)
	$(python) scripts/generate-docs
	$(python) -m pytest tests/test_documents.py tests/test_generated_docs.py
