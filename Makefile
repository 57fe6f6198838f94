# Everything that people and CI do with this project. `make` or `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help dev test lint format lock bench bench-memory load load-compare soak image ci ci-full clean \
  doctor preflight plan show apply bring-up drift locks providers-lock versions live-local live-local-down live-local-destroy \
  cluster-local cluster-local-destroy check-faults check-terraform check-generators check-openapi check-infrastructure check-proxies check-live check-chart check-release check-cluster check-pipelines \
  check-browser check-image check-lock openapi sbom scan pipeline install-dev install-load install-test

ARGS ?=
PROFILE ?= smoke
ENV ?=
BASE ?=
PLAN ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One plain command without a shell: see app/embedded/leader.py for how it learns of signals.
dev: install-dev ## run the service on an embedded emulator (PORT=8000, ARGS=...)
	@.venv/bin/python -m app dev $(ARGS)

test: install-test ## the service's tests, under three minutes (ARGS='-k name')
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

# --- accounts: docs/platform.md ---

platform = @$(if $(ENV),,$(error say which account: make $@ ENV=dev)).venv/bin/python -m scripts.platform

doctor: install-test ## which tools are missing, and how to get them
	@.venv/bin/python -m scripts.platform doctor $(ARGS)

preflight: install-test ## whether all is there that an apply needs (ENV=dev)
	$(platform) preflight $(ENV) $(ARGS)

plan: install-test ## what would change in an account, stored for review (ENV=dev)
	$(platform) plan $(ENV) $(ARGS)

show: install-test ## the plan again, without values (ENV=dev, ARGS=--markdown)
	$(platform) show $(ENV) $(ARGS)

apply: install-test ## apply exactly the plan that was reviewed (ENV=dev PLAN=id)
	$(platform) apply $(ENV) --plan $(or $(PLAN),$(error say which plan: make apply ENV=$(ENV) PLAN=...)) $(ARGS)

bring-up: install-test ## the first apply of an account, in waves; goes on where it was (ENV=dev)
	$(platform) bring-up $(ENV) $(ARGS)

drift: install-test ## whether accounts are what the tree says (ENV=dev, or all)
	@.venv/bin/python -m scripts.platform drift $(or $(ENV),--all) $(ARGS)

live-local: install-test ## apply live/ to three emulated accounts; they go on running
	@.venv/bin/python -m scripts.live_local up $(ARGS)

live-local-destroy: install-test ## destroy them, then the emulator (ENV=dev: that one alone)
	@.venv/bin/python -m scripts.live_local destroy $(ENV) $(ARGS)

live-local-down: install-test ## stop the emulator; make live-local goes on from there
	@.venv/bin/python -m scripts.live_local down $(ARGS)

providers-lock: ## write the provider's checksums for three platforms (needs Terraform's registry)
	@for module in modules/*/; do terraform -chdir=$$module providers lock \
	  -platform=linux_amd64 -platform=linux_arm64 -platform=darwin_arm64 || exit 1; done

locks: install-test ## who holds the state's locks, for how long, and how to free them (ENV=dev)
	$(platform) locks $(ENV) $(ARGS)

versions: install-test ## the newest image of nodes, as AWS tells an account (ENV=dev)
	$(platform) versions $(ENV) $(ARGS)

# --- a cluster: docs/cluster-local.md ---

cluster-local: install-test ## the image on a real node, synced by Argo CD, on emulated AWS
	@.venv/bin/python -m scripts.cluster_local up $(ARGS)

cluster-local-destroy: install-test ## take all of that down
	@.venv/bin/python -m scripts.cluster_local down $(ARGS)

# --- what CI checks, a part at a time ---

check-faults: install-test ## every fault of every AWS call, kills, random histories (STRONGROOM_FULL=1: all)
	@.venv/bin/python -m pytest -q -n 3 --dist loadfile tests/faults tests/model $(ARGS)

check-terraform: install-test ## format of modules/ and live/, and what checkov says of them
	@terraform fmt -recursive -check modules && terragrunt hcl fmt --check --working-dir live
	@.venv/bin/python -m scripts.checkov

check-generators: install-test ## clients generated from the OpenAPI document call the service (STRONGROOM_FULL=1: all)
	@.venv/bin/python -m pytest -q tests/generators $(ARGS)

check-browser: install-test ## /docs in Chromium: calls tried for real, nothing from elsewhere
	@STRONGROOM_FULL=1 .venv/bin/python -m pytest -q tests/browser $(ARGS)

check-openapi: install-test ## refuse what breaks API clients unless CHANGELOG.md names it (BASE=commit; needs oasdiff)
	@.venv/bin/python -m scripts.openapi breaking $(BASE)

check-proxies: install-test ## odd requests behind nginx, HAProxy and Traffic Server: nobody gets another's response
	@STRONGROOM_FULL=1 .venv/bin/python -m pytest -q tests/server/test_behind_proxies.py $(ARGS)

check-infrastructure: install-test ## modules, live/, platform tool, on emulated accounts
	@.venv/bin/python -m pytest -q -n 3 --dist loadfile tests/infrastructure $(ARGS)

check-live: install-test ## live/ on emulated accounts: applied, planned again, checked, destroyed
	@scripts/check-live

check-chart: install-test ## chart and GitOps, against a real API server where there is one
	@helm lint --strict --quiet deploy/chart --values deploy/chart/values-dev.yaml
	@helm lint --strict --quiet deploy/argocd
	@.venv/bin/python -m pytest -q -n 2 --dist loadfile tests/deploy \
	  --ignore tests/deploy/test_chart_analysis.py $(ARGS)
	@# By itself, as it judges latencies.
	@.venv/bin/python -m pytest -q tests/deploy/test_chart_analysis.py $(ARGS)

check-release: install-test ## signed releases, by real cosign, crane and registries
	@STRONGROOM_FULL=1 .venv/bin/python -m pytest -q -n 2 --dist loadfile tests/deploy/test_release.py \
	  tests/deploy/test_release_ecr.py $(ARGS)

check-cluster: install-test ## the service on a real node: contract, load, releases (needs the whole machine)
	@STRONGROOM_CLUSTER=1 .venv/bin/python -m pytest -q tests/cluster $(ARGS)

check-pipelines: install-test ## workflows, shell scripts and Dockerfile
	@scripts/check-pipelines
	@.venv/bin/python -m pytest -q tests/deploy/test_workflows.py $(ARGS)

check-image: ## the image that `make image` has built, run (needs podman)
	@python=$$(scripts/python) && "$$python" scripts/image check $(ARGS)

check-lock: ## whether poetry.lock is that of pyproject.toml (needs Poetry 2)
	@PATH="$$PATH:.tools/poetry/bin" poetry check --lock

sbom: ## what is in the image, as CycloneDX (needs syft)
	@scripts/sbom make

scan: ## whether the image may be released, by its vulnerabilities (needs grype)
	@scripts/scan-gate --run

pipeline: install-test ## ci, release and promotion rehearsed from the workflow files (ARGS='--only release')
	@scripts/pipeline $(ARGS)

openapi: install-test ## write docs/openapi.json, the document that the service serves
	@.venv/bin/python -m scripts.openapi write

lock: ## resolve the dependencies anew into poetry.lock (needs Poetry 2)
	@poetry lock --regenerate

ci: ## what every change must pass, in half an hour; installs what it needs
	@.ci/run

ci-full: ## what takes longer: every fault, live/, a real node, soak, speed, memory
	@.ci/run full

clean: ## remove what can be made again, but for .dev
	@rm -rf build .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis

install-dev:
	@python=$$(scripts/python) && "$$python" scripts/bootstrap dev

install-load:
	@python=$$(scripts/python) && "$$python" scripts/bootstrap dev load

install-test:
	@python=$$(scripts/python) && "$$python" scripts/bootstrap dev load test
