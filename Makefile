# What people and CI type. `make` alone shows it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help run test test-long bench bench-callbacks bench-dashboard bench-monitoring bench-memory bench-bulk bench-exports bench-peers bench-pages bench-operations-page check format lock clean

help: ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 24

$(READY): requirements-dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit("Haven needs Python 3.11 or newer.") if sys.version_info < (3, 11) else None'
	@echo "Installing what requirements-dev.txt locks (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@printf '#!%s\nimport sys\nsys.path.insert(0, "%s")\nfrom haven.cli import main\nmain()\n' "$(CURDIR)/$(BIN)/python" "$(CURDIR)" > $(BIN)/haven
	@chmod +x $(BIN)/haven
	@touch $(READY)

run: $(READY) ## Start everything here: PostgreSQL, Valkey, web, workers, cron, M-Pesa simulator
	@exec $(BIN)/python -m haven up $(ARGS)

# A test process that dies is a finding, not something to start again: its last tests would never be handed out (pytest-xdist).
test: $(READY) ## Every test, in parallel, on throw-away servers
	@$(BIN)/python -m pytest -n auto --dist loadgroup --max-worker-restart=0 -m "not long" $(ARGS)

test-long: $(READY) ## The tests that take minutes: large volume
	@$(BIN)/python -m pytest -m long $(ARGS)

bench: $(READY) ## Measure: ratios, interleaved, medians
	@$(BIN)/python -m pytest tests/performance -m long -q -s $(ARGS)

bench-callbacks: $(READY) ## Measure: M-Pesa callbacks a second, against pgbench
	@$(BIN)/python -m benchmarks.callbacks $(ARGS)

bench-dashboard: $(READY) ## Measure: the dashboard with up to 1.2 million payments (some minutes, 5 GB)
	@$(BIN)/python -m benchmarks.dashboard $(or $(ARGS),reads)

bench-monitoring: $(READY) ## Measure: what monitoring costs a request, with and without in turn
	@$(BIN)/python -m benchmarks.monitoring_overhead $(ARGS)

bench-peers: $(READY) ## Measure: a page of properties beside Express, Fastify, Django … (installs them; Node is optional)
	@$(BIN)/python -m benchmarks.peers $(ARGS)

bench-pages: $(READY) ## Measure: the 10,000th page of each list against its first (some minutes, 3 GB)
	@$(BIN)/python -m benchmarks.pages $(ARGS)

bench-memory: $(READY) ## Measure: what watching memory costs a request, with and without in turn
	@$(BIN)/python -m benchmarks.memory_overhead $(ARGS)

bench-operations-page: $(READY) ## Measure: what ten viewers of /ops cost the web processes
	@$(BIN)/python -m benchmarks.operations_page $(ARGS)

bench-bulk: $(READY) ## Measure: 100,000 tenants by a bulk job, against plain COPY
	@$(BIN)/python -m benchmarks.bulk $(ARGS)

bench-exports: $(READY) ## Measure: exports of 1.2 million payments, against psql (some minutes, 6 GB)
	@$(BIN)/python -m benchmarks.exports $(ARGS)

check: $(READY) ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## Put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## Write the lock files anew (needs uv)
	uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements.in -o requirements.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements-dev.in -o requirements-dev.txt

clean: ## Remove what was built; the data in .haven stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
