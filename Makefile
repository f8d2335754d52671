# Every target sets up what it needs, given Python >= 3.11, pip and make. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.up-to-date
DOCS_STAMP := .venv/.docs-up-to-date
BENCH_STAMP := .venv/.bench-up-to-date

.PHONY: help setup test lint format demo bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv as the lock file says

$(STAMP): pyproject.toml uv.lock scripts/setup
	@scripts/setup
	@touch $@

test: $(STAMP) ## run the tests against real servers (PYTEST_ARGS="tests/stores -x")
	@scripts/install-redis
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP) ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP) ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: $(STAMP) ## a RAG application, with and without askonce (ARGS="--help")
	@$(BIN)/python examples/rag_pipeline.py $(ARGS)

bench: $(BENCH_STAMP) ## measure one of benchmarks/ (BENCH=hits|retrieval|semantic|prefix|eviction|…, ARGS="--help")
	@$(BIN)/python -m benchmarks.$(or $(BENCH),hits) $(ARGS)

docs: $(DOCS_STAMP) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(DOCS_STAMP): $(STAMP)
	@scripts/setup --group docs
	@touch $@

$(BENCH_STAMP): $(STAMP)
	@scripts/setup --group bench
	@touch $@

clean: ## remove all that the other targets made
	rm -rf .venv .tools site dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find benchmarks examples scripts src tests -name __pycache__ -type d -prune -exec rm -rf {} +
