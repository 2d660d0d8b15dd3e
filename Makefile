# `make test` proves the tree; `make demo` migrates an archive on this machine. Everything else is listed by `make help`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
ROUNDS ?= 10
MINUTES ?= 10
# Most tests wait for processes and time-outs: three at a time keep two cores busy.
JOBS ?= 3
STUDIES ?= 1000000
INSTANCES ?= 20000000
REPEATS ?= 5
ONLY ?=
RESULTS := perf/results/bench.json

.DEFAULT_GOAL := help
.PHONY: help venv test lint demo chaos shipment volumes faults merges long devices big fuzz bench bench-quick ledger-scale planted-faults planning clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

venv: $(STAMP) ## make .venv with the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Limosa needs Python 3.11 or later")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	touch $@

lint: $(STAMP) ## style, types and the house's import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo

# What fails beside others is tried once more by itself, and both outcomes are printed: real peers miss time limits now
# and then when three tests share two cores.
test: lint ## everything that has to hold before a commit
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder || \
	{ test $$? -eq 1 && $(BIN)/pytest --last-failed --last-failed-no-failures none; }

demo: $(STAMP) ## a whole migration on this machine, ending in a proof
	$(BIN)/limosa demo

chaos: $(STAMP) ## kill movers, drivers, Postgres and S3 while studies move; ROUNDS=10 SEED=...
	LIMOSA_CHAOS_ROUNDS=$(ROUNDS) LIMOSA_CHAOS_SEED=$(SEED) $(BIN)/pytest tests/chaos --timeout=0

shipment: $(STAMP) ## ship two devices from an archive to a bucket, with damage on the way, and account for everything
	$(BIN)/python tests/rehearsal/shipment.py

volumes: $(STAMP) ## move a study larger than each of three real disks onto them and into a bucket, killed on the way; root's work
	$(BIN)/python tests/rehearsal/volumes.py

faults: $(STAMP) ## every fault of an S3 endpoint, of the line to it and of its writers, with what each cost
	$(BIN)/pytest tests/contract/sinks/test_sinks_faults.py -m "long or not long" -p no:xdist

merges: $(STAMP) ## move an archive to S3 and two others while patients are merged, and ask these whose everything is
	$(BIN)/python tests/rehearsal/merges.py

long: $(STAMP) ## whole journeys by command that are too long for `make test`
	$(BIN)/pytest -m long

devices: $(STAMP) ## fill, freeze, pull out and break small real disks while they are written; root's work
	$(BIN)/pytest -m devices --timeout=600

big: $(STAMP) ## move one instance of two gigabytes through a mover of half a gigabyte
	$(BIN)/pytest -m big

fuzz: $(STAMP) ## feed the parsers damaged and hostile input; MINUTES=10 for all of them together
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python tests/fuzz/fuzz_run.py --minutes $(MINUTES)

bench: $(STAMP) ## measure throughput beside dcmtk and pynetdicom, write perf/RESULTS.md; ONLY="receive-ct s3" REPEATS=5
	$(if $(ONLY),,rm -f $(RESULTS))
	code=0; $(BIN)/limosa bench $(addprefix --only ,$(ONLY)) --repeats $(REPEATS) --out $(RESULTS) || code=$$?; \
	$(BIN)/limosa bench report $(RESULTS) --out perf/RESULTS.md && exit $$code

bench-quick: $(STAMP) ## the same with small samples, to see that it works
	$(BIN)/limosa bench --quick

ledger-scale: $(STAMP) ## fill a ledger to millions of studies and time its hot statements
	STUDIES=$(STUDIES) INSTANCES=$(INSTANCES) $(BIN)/python -m perf.ledger_scale

planted-faults: $(STAMP) ## find planted faults of identity, accession and duplicates in 2,000 studies; SEED=7
	STUDIES=2000 SEED=$(or $(SEED),7) $(BIN)/python -m perf.planted

planning: $(STAMP) ## plan a million studies and measure time and memory; STUDIES=1000000
	STUDIES=$(STUDIES) $(BIN)/python -m perf.planning

clean: ## remove what was built and what the demo left
	if test -d limosa-demo && test -x $(BIN)/python; then $(BIN)/python -m infra.embedded limosa-demo --yes; fi
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
