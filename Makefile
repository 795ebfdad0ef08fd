# Commands of the project. `make help` lists them; the two to know are `make demo` and `make test`.

PYTHON ?= python3
RUN    := .venv/bin
SHELL  := /bin/bash
# A lab with kind has a state folder of its own, so that it can run beside the other one.
IN_KIND := BUILDCACHE_LAB_DIR="$${BUILDCACHE_LAB_DIR:-.lab-kind}"
.DEFAULT_GOAL := help
.PHONY: help install demo test test-kind up down kind-up kind-down check crds image bench-dispatch bench-caches chaos

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## The project, its command line and the development tools into .venv, from the lock

.venv/installed: pyproject.toml uv.lock
	@echo "install: Python packages from uv.lock into .venv (about a minute with nothing cached)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "install: Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Name another one: make install PYTHON=python3.13"; exit 1; }
	@test -x $(RUN)/pip || $(PYTHON) -m venv .venv || { apt-get install -y --no-install-recommends python3-venv && $(PYTHON) -m venv --clear .venv; }
	@test -x $(RUN)/uv || $(RUN)/pip install --quiet --disable-pip-version-check uv
	@$(RUN)/uv sync --quiet --locked --inexact --all-extras --group dev --python $(RUN)/python
	@touch $@

demo: install ## The main job on this machine: a cache becomes Ready, a build runs cold, warm, and after a change; KIND=1: in kind
	@$(if $(KIND),$(IN_KIND)) $(RUN)/python -m lab demo $(if $(KIND),--kind)

up: install ## Start the lab with the operator in it and leave it running (.lab/lab.json says where everything is)
	@$(RUN)/python -m lab up

down: ## Stop the lab and leave nothing behind
	@test ! -x $(RUN)/python || $(RUN)/python -m lab down

kind-up: install ## Start a cluster with kind, the operator as a Pod in it and the lab's AWS beside it (.lab-kind/lab.json)
	@$(IN_KIND) $(RUN)/python -m lab up --kind

kind-down: ## Stop that and leave nothing behind
	@test ! -x $(RUN)/python || $(IN_KIND) $(RUN)/python -m lab down

test-kind: install ## The operator's image as a Pod in kind: installed, restarted, misconfigured (about 2 minutes when all is cached)
	@$(RUN)/pytest -q tests/kind -m kind -p no:randomly

check: install ## Format, lint, types, import rules, generated files
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/python crds/generate.py --check

test: install ## All tests that this machine can run, the fast ones first; says what it skipped and why
	@echo "test 1/3: decisions (no network, no clock): models, names, plans, flags, outcomes"
	$(RUN)/pytest -q tests/api tests/core
	@echo "test 2/3: parts against stand-ins on loopback: AWS calls, passes, operator shell, runner, the lab's own rules"
	$(RUN)/pytest -q tests -m "not lab and not docker and not kind" --ignore tests/api --ignore tests/core
	@echo "test 3/3: the whole on real parts: kube-apiserver, the operator as a process, AWS stand-in, containers and BuildKit"
	$(RUN)/pytest -q tests -m "lab or docker"

chaos: install ## kill -9 and spoilt calls at every effect of the operator: the end must be the same (about 45 minutes)
	@$(RUN)/python -m lab chaos

bench-dispatch: install ## 100 Builds at 5 a second: what a Build costs, as a table; FULL=1: 3,600 at 20 a second and more (10 min)
	@$(RUN)/python -m lab bench-dispatch $(if $(FULL),--full)

bench-caches: install ## 100 BuildCaches at once under AWS's rate limits: time until Ready and calls, printed as a table
	@$(RUN)/python -m lab bench-caches

crds: install ## Generate crds/ and docs/reference.md from the models
	@$(RUN)/python crds/generate.py

image: ## The operator's image as buildcache-operator:dev
	docker build --tag buildcache-operator:dev .
