# Everything that people and CI do with this project. `make` or `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help dev test lint format lock bench bench-memory load load-compare soak image ci clean \
  install-dev install-load install-test

ARGS ?=
PROFILE ?= smoke

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One plain command without a shell: see app/embedded/leader.py for how it learns of signals.
dev: install-dev ## run the service on an embedded emulator (PORT=8000, ARGS=...)
	@.venv/bin/python -m app dev $(ARGS)

test: install-test ## run the tests (ARGS='-k name')
	@.venv/bin/python -m pytest -q -n 3 --dist loadfile $(ARGS)

lint: install-test ## style, types, and the direction of dependencies
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

format: install-test ## format the code and mend what can be mended
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

bench: install-test ## speed beside the fastest Sanic and FastAPI servers (ARGS=--help)
	@.venv/bin/python -m load.bench $(or $(ARGS),compare)

bench-memory: install-test ## memory of large uploads and downloads, against its limits
	@.venv/bin/python load/bench/memory.py $(ARGS)

load: install-load ## load a service and judge it (PROFILE=smoke, ARGS='--url ... --workers 2')
	@.venv/bin/python -m load run --profile $(PROFILE) $(ARGS)

load-compare: install-load ## whether B is slower than A (ARGS='--a main --b .')
	@.venv/bin/python -m load compare $(ARGS)

image: ## build the container image into build/image.tar (BASE_IMAGE=..., ARGS=--help)
	@python=$$(scripts/python) && "$$python" scripts/image build $(ARGS)

soak: install-test ## ten minutes of steady load with faults on; all must be as before after it
	@.venv/bin/python load/soak.py $(ARGS)

lock: ## resolve the dependencies anew into poetry.lock (needs Poetry 2)
	@poetry lock --regenerate

ci: ## all that must hold, as CI runs it
	@.ci/run

clean: ## remove what can be made again, but for .dev
	@rm -rf build .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis

install-dev:
	@python=$$(scripts/python) && "$$python" scripts/bootstrap dev

install-load:
	@python=$$(scripts/python) && "$$python" scripts/bootstrap dev load

install-test:
	@python=$$(scripts/python) && "$$python" scripts/bootstrap dev load test
