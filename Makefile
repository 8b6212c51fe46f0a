# kedge: `make demo` shows it, `make test` proves it. Everything else is for developers.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
WORKERS ?= 3
RESULTS ?= bench/results/$(shell date +%F)

.PHONY: help check test bench soak chaos fast lint types format docs lock venv \
    demo clean-demo plugin install uninstall install-service uninstall-service

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv: $(VENV)/.ready ## the Python environment, from the lock
$(VENV)/.ready: requirements.lock packaging/venv.sh
	packaging/venv.sh $(VENV)
	touch $@

check: lint types fast ## format, lint, types and the fast tests (files in memory), in under a minute

lint: venv
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types: venv
	$(PY) -m mypy

fast: venv
	TMPDIR=/dev/shm $(PY) -m pytest -m "not lab and not sim" -n 2 --durations=10 --durations-min=0.5 tests

format: venv
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

test: venv ## everything, on real parts; installs what it needs (root)
	packaging/test-needs.sh
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m tests.tries $(WORKERS)

soak: venv ## the tests that grow with time, for as long as a night (root); ONLY="s3 gluster-swarm": some
	packaging/test-needs.sh
	$(PY) -m tests.soak $(ONLY)

bench: venv ## latency, data path, loop images: tables and plots in bench/results (five minutes of a quiet machine; root)
	packaging/needs.sh fio sysbench mariadb-server-core mariadb-client
	$(PY) -m bench.data_path --rounds 2 --seconds 2 --sysbench --out $(RESULTS)-data-path
	$(PY) -m bench.latency --out $(RESULTS)-latency
	$(PY) -m bench.loop_images --rounds 1 --seconds 1 --json > $(RESULTS)-loop-images.json

demo: ## a MariaDB on a kedge volume that outlives its container; installs what it needs (root)
	packaging/demo.sh run

clean-demo: ## remove what the demo made
	packaging/demo.sh clean

plugin: ## build the managed plugin and create it on the engine, not enabled
	packaging/plugin.sh create

install: ## build, create and enable the managed plugin, and the command kedge; also upgrades
	packaging/plugin.sh install

uninstall: ## remove plugin and command; the data stay
	packaging/plugin.sh uninstall

install-service: ## the other packaging: a systemd service on this host (root)
	packaging/service.sh install

uninstall-service: ## remove the service; the data stay
	packaging/service.sh uninstall

chaos: venv ## 200 failures of a Swarm under a database (an hour or more; root)
	packaging/test-needs.sh
	KEDGE_CHAOS_ROUNDS=200 KEDGE_CHAOS_SEED=$${KEDGE_CHAOS_SEED:-$$RANDOM} \
	    $(PY) -m pytest -s tests/swarm/test_database.py

docs: venv ## write docs/options.md anew from the code
	$(PY) -m tests.docs.options_page

lock: ## pin every dependency again
	$(VENV)/bin/pip install -q uv
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-emit-find-links --extra s3 --extra test --extra bench pyproject.toml -o requirements.lock
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-emit-find-links --extra s3 pyproject.toml -o requirements-run.lock
	$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-emit-find-links --group build -o requirements-build.lock
