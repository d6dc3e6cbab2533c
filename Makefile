# Thin: the work is done in scripts/.
#   make demo PYTHON=python3.12                another Python (3.11, 3.12 or 3.13)
#   make demo TORCH_INDEX=ADDRESS              where to take torch from, as with PyTorch's CPU builds
#   make test ARGS="tests/unit -k graph"       arguments for pytest

PYTHON ?=
TORCH_INDEX ?=
ARGS ?=
export PYTHON TORCH_INDEX

# Written by a finished install only; older than what it depends on: install again.
USER_STAMP := .venv/.installed-user
DEV_STAMP := .venv/.installed-dev
BENCH_STAMP := .venv/.installed-bench
PINS := pyproject.toml constraints.txt scripts/install

.DEFAULT_GOAL := help
.PHONY: help install venv demo test check docs bench-cost bench-compile bench-design bench-symmetry bench-relax bench-partition bench-serve bench-summary bench package clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(USER_STAMP): $(PINS)
	@scripts/install demo,report,compile
	@touch $@

$(DEV_STAMP): $(PINS)
	@scripts/install demo,report,compile,edge,serve,cluster,onnx,docs,dev
	@touch $(USER_STAMP) $@

$(BENCH_STAMP): $(PINS)
	@scripts/install demo,report,compile,edge,serve,cluster,onnx,bench,docs,dev
	@touch $(USER_STAMP) $(DEV_STAMP) $@

venv: $(USER_STAMP) ## make .venv with what the demo needs

install: $(DEV_STAMP) ## make .venv with everything for development

demo: $(USER_STAMP) ## take a network the whole way on real digits, turned at random: bundle and report
	@.venv/bin/trimtab run examples/digits.toml --overwrite

test: $(DEV_STAMP) ## run all tests
	@scripts/test $(ARGS)

check: $(DEV_STAMP) ## lint, format, types, layers, spelling
	@scripts/check

docs: $(DEV_STAMP) ## the site of docs/, strictly, into build/docs
	@scripts/docs

bench-cost: $(DEV_STAMP) ## predicted against measured latency; QUICK=1 for the short form
	@.venv/bin/python -m benchmarks.cost $(if $(QUICK),--quick)

bench-compile: $(BENCH_STAMP) ## the compiler against its peers, resumable, hours; QUICK=1 for the short form
	@.venv/bin/python -m benchmarks.compile $(if $(QUICK),--quick)

bench-design: $(BENCH_STAMP) ## fields, rank correlations and trained designs, resumable, hours; QUICK=1 for the short form
	@.venv/bin/python -m benchmarks.design $(if $(QUICK),--quick)

bench-symmetry: $(BENCH_STAMP) ## schemes recovered, rivals and cost, resumable, hours; QUICK=1 for the short form
	@.venv/bin/python -m benchmarks.symmetry $(if $(QUICK),--quick)

bench-relax: $(BENCH_STAMP) ## relaxations at equal gradients, theory and cost, resumable, hours; QUICK=1 for the short form
	@.venv/bin/python -m benchmarks.relax $(if $(QUICK),--quick)

bench-partition: $(DEV_STAMP) ## a divided network's wire, faults and predictions, resumable, an hour; QUICK=1 for the short form
	@.venv/bin/python -m benchmarks.partition $(if $(QUICK),--quick)

bench-serve: $(BENCH_STAMP) ## throughput within bounds on the tail, simulated, live and beside others, faults, a referee; resumable; QUICK=1 for the short form
	@.venv/bin/python -m benchmarks.serve $(if $(QUICK),--quick)

bench-summary: $(DEV_STAMP) ## one table of all stored results
	@.venv/bin/python -m benchmarks.summary

bench: $(BENCH_STAMP) ## every benchmark in its short form, under 45 minutes
	@for each in cost compile design symmetry relax partition serve; do \
		.venv/bin/python -m benchmarks.$$each --quick || exit 1; \
	done

package: $(DEV_STAMP) ## wheel and sdist into dist/; ARGS=--check installs the wheel in an empty environment, and runs the demo there
	@scripts/package $(ARGS)

clean: ## remove .venv and all caches; runs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
