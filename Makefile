# Every target sets up what it needs, given Python >= 3.11, pip and make. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.up-to-date
DOCS_STAMP := .venv/.docs-up-to-date
BENCH_STAMP := .venv/.bench-up-to-date
# LlamaIndex's clients need openai < 3, so LangChain's tests have an environment of their own: .venv-langchain.
MAIN := .venv --group llama-index --group demo
LOCKED := pyproject.toml uv.lock scripts/setup

.PHONY: help setup test test-providers test-clients test-peers test-lowest test-newest test-pythons lint format demo bench figures docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) .venv-langchain/.up-to-date ## make .venv and .venv-langchain as the lock file says

$(STAMP): $(LOCKED)
	@scripts/setup $(MAIN)
	@touch $@

# Any other environment is called after its dependency group.
.venv-%/.up-to-date: $(LOCKED)
	@scripts/setup .venv-$* --group $*
	@touch $@

test: setup ## run the tests against real servers (PYTEST_ARGS="tests/stores -x")
	@scripts/install-redis
	@scripts/test $(PYTEST_ARGS)

test-providers: .venv-providers-langchain/.up-to-date
test-providers: .venv-vector-stores-langchain/.up-to-date
test-providers: .venv-vector-stores-llama-index/.up-to-date
test-providers: .venv-providers-llama-index/.up-to-date ## models and vector stores of many packages; no part of `make test`
	.venv-providers-langchain/bin/python -m pytest tests/providers/test_langchain.py tests/providers/test_langchain_streams.py tests/providers/test_langchain_wire.py $(PYTEST_ARGS)
	.venv-providers-llama-index/bin/python -m pytest tests/providers/test_llama_index.py tests/providers/test_llama_index_structured.py tests/providers/test_llama_index_turns.py tests/providers/test_llama_index_wire.py $(PYTEST_ARGS)
	.venv-vector-stores-langchain/bin/python -m pytest tests/providers/test_langchain_vector_stores.py $(PYTEST_ARGS)
	.venv-vector-stores-llama-index/bin/python -m pytest tests/providers/test_llama_index_vector_stores.py $(PYTEST_ARGS)

test-clients: .venv-clients/.up-to-date .venv-providers-llama-index/.up-to-date ## other clients through the proxy, JavaScript's too, and a fuzzer; no part of `make test`
	@scripts/install-javascript-clients
	.venv-clients/bin/python -m pytest tests/clients -W default $(PYTEST_ARGS)
	.venv-providers-llama-index/bin/python -m pytest tests/clients/test_frameworks.py -W default $(PYTEST_ARGS)

test-peers: $(STAMP) ## LangChain's own cache tests with askonce in place of their caches (downloads them)
	@scripts/test-peers $(PYTEST_ARGS)

test-lowest test-newest: setup ## run the tests on the lowest allowed versions, or on the newest of all packages
	@scripts/install-redis
	@scripts/test-versions $(patsubst test-%,%,$@) $(PYTEST_ARGS)

test-pythons: setup ## run the tests on Python 3.12 and 3.13
	@scripts/install-redis
	@scripts/test-versions 3.12 $(PYTEST_ARGS)
	@scripts/test-versions 3.13 $(PYTEST_ARGS)

lint: $(STAMP) ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP) ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: $(STAMP) ## a RAG application, with and without askonce (ARGS="--help")
	@$(BIN)/python examples/rag_pipeline.py $(ARGS)

# Other caches have an environment of their own: what they need stays out of .venv.
RIVALS := $(filter semantic_rivals gptcache_hit,$(BENCH))
bench: $(if $(RIVALS),.venv-rivals/.up-to-date,$(BENCH_STAMP)) ## measure one of benchmarks/ (BENCH=hits|proxy|retrieval|semantic|prefix|eviction|…, ARGS="--help")
	@$(if $(RIVALS),.venv-rivals/bin,$(BIN))/python -m benchmarks.$(or $(BENCH),hits) $(ARGS)

.venv-rivals/.up-to-date: $(LOCKED)
	@scripts/setup .venv-rivals --group demo --group rivals
	@touch $@

figures: $(BENCH_STAMP) ## measure hits anew, and write the tables into the docs (ARGS=--quick)
	@scripts/install-redis
	@$(BIN)/python -m benchmarks.figures $(ARGS)

docs: $(DOCS_STAMP) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(DOCS_STAMP): $(STAMP)
	@scripts/setup $(MAIN) --group docs --inexact
	@touch $@

$(BENCH_STAMP): $(STAMP)
	@scripts/setup $(MAIN) --group bench --inexact
	@touch $@

clean: ## remove all that the other targets made
	rm -rf .venv .venv-* .tools .benchmarks site dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find benchmarks examples scripts src tests -name __pycache__ -type d -prune -exec rm -rf {} +
