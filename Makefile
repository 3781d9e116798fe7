# make demo and make test set up all that they need.
.DEFAULT_GOAL := help
PYTEST := .venv/bin/pytest
WORKERS ?= 2
# System tests wait more than they compute. What shares a world of its own stays on one worker.
SYSTEM := -q -n $(shell expr 2 '*' $(WORKERS)) --dist loadgroup
# What can depend on who runs it: namespaces of users, files, limits. All else is the same inside.
ROOTLESS := $(patsubst %,tests/system/test_%.py,capture capture_agent changes cni dns faults \
	interruptions isolation lending mistakes network nftables pod_dns pods_inside proxy_userspace \
	sandbox services streams trace workloads)
EXAMPLE := examples/02-your-own-tests
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= random

.PHONY: help demo test lint style mypy pyright unit system namespaces rootless containers labs vectors fuzz bench clean

help: ## show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## start a cluster, call a Service by name, prove the way the packets went
	@scripts/virtual-environment
	@scripts/demo

test: lint unit system ## everything that must pass

lint: ## style, types and import contracts
	@scripts/virtual-environment --dev
	@$(MAKE) --no-print-directory --jobs $(WORKERS) --output-sync pyright mypy style

style:
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports

mypy pyright:
	.venv/bin/$@

unit: ## tests without namespaces
	@scripts/virtual-environment --dev
	@scripts/system-packages
	$(PYTEST) tests/unit tests/contract -q -n $(WORKERS)

system: namespaces containers ## tests with real packets and real clients

namespaces: ## ... on namespaces
	@scripts/virtual-environment --dev
	@scripts/system-packages
	scripts/tests tests/system --ignore tests/system/docker $(SYSTEM)
	$(PYTEST) -c $(EXAMPLE)/pyproject.toml --rootdir $(EXAMPLE) $(EXAMPLE) -q

rootless: ## ... of them those in which it matters that the user is not root
	@scripts/virtual-environment --dev
	@scripts/system-packages
	scripts/tests $(ROOTLESS) $(SYSTEM)
	$(PYTEST) -c $(EXAMPLE)/pyproject.toml --rootdir $(EXAMPLE) $(EXAMPLE) -q

containers: ## ... on a Docker Engine; one worker, for one engine is enough
	@scripts/virtual-environment --dev
	@scripts/system-packages
	scripts/tests tests/system/docker -q

fuzz: ## a minute of random and mutated packets at the DNS server; FUZZ_SECONDS=600 FUZZ_SEED=7 for ten of a kind
	@scripts/virtual-environment --dev
	@scripts/system-packages
	PODWIRE_FUZZ_SECONDS=$(FUZZ_SECONDS) PODWIRE_FUZZ_SEED=$(FUZZ_SEED) $(PYTEST) tests/system/dns/test_fuzz.py -q -o log_cli=true --log-cli-level=INFO

labs: ## replay examples/labs and compare with what they show (the tests of namespaces do, too)
	@scripts/virtual-environment --dev
	@scripts/system-packages
	$(PYTEST) tests/system/test_labs.py -q -n $(WORKERS)

vectors: ## what CoreDNS answered, and what is thrown at it, at our DNS server
	@scripts/virtual-environment --dev
	@scripts/system-packages
	$(PYTEST) tests/system/dns/test_vectors.py tests/system/dns/test_hostile.py tests/unit/dns/test_vectors_units.py -q -n $(WORKERS)

bench: ## start-up, memory, pods, endpoint changes, relay, Services, DNS, API and containers, against their peers
	@scripts/virtual-environment --dev
	@scripts/system-packages --bench
	.venv/bin/python -P bench/run.py

clean: ## remove what was set up and built
	rm -rf .venv build dist *.egg-info podwire-reports .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
