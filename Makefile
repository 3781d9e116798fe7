# make demo and make test set up all that they need.
.DEFAULT_GOAL := help
PYTEST := .venv/bin/pytest
WORKERS ?= 2
# System tests wait more than they compute. What shares a world of its own is in one file.
SYSTEM_WORKERS ?= 3
SYSTEM := -q -n $(SYSTEM_WORKERS) --dist loadfile
# What can depend on who runs it: namespaces of users, files, limits. All else is the same inside.
ROOTLESS := $(patsubst %,tests/system/test_%.py,capture_agent cni cni_traffic faults host_ports \
	interruptions isolation lending mistakes network pod_dns pods_inside proxy_userspace sandbox \
	services streams trace workloads) \
	tests/unit/emulator/test_kubeconfig.py tests/unit/emulator/engine/test_client.py
EXAMPLE := examples/02-your-own-tests
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= random

.PHONY: help demo test lint style mypy pyright unit system namespaces rootless ordinary containers \
	fuzz labs vectors bench clean environment packages

help: ## show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## start a cluster, call a Service by name, prove the way the packets went
	@scripts/virtual-environment
	@scripts/demo

test: lint unit system ## everything that must pass

lint: style mypy pyright ## style, types and import contracts

style: environment
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports

mypy pyright: environment
	.venv/bin/$@

unit: environment packages ## tests without namespaces
	$(PYTEST) tests/unit tests/contract -q -n $(WORKERS)

system: namespaces containers ## tests with real packets and real clients

namespaces: environment packages ## ... on namespaces
	scripts/tests tests/system --ignore tests/system/docker $(SYSTEM)
	$(PYTEST) -c $(EXAMPLE)/pyproject.toml --rootdir $(EXAMPLE) $(EXAMPLE) -q

rootless: environment packages ## ... of those, what depends on who runs it
	scripts/tests $(ROOTLESS) $(SYSTEM)
	$(PYTEST) -c $(EXAMPLE)/pyproject.toml --rootdir $(EXAMPLE) $(EXAMPLE) -q

ordinary: packages ## ... that again, by a user made for it (needs root)
	scripts/as-ordinary-user make rootless

containers: environment packages ## ... on a Docker Engine; the file that takes longest comes first
	scripts/tests tests/system/docker -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

fuzz: environment packages ## a minute of random and mutated packets at the DNS server; FUZZ_SECONDS=600 FUZZ_SEED=7 for ten of a kind
	PODWIRE_FUZZ_SECONDS=$(FUZZ_SECONDS) PODWIRE_FUZZ_SEED=$(FUZZ_SEED) $(PYTEST) tests/system/dns/test_fuzz.py -q -o log_cli=true --log-cli-level=INFO

labs: environment packages ## replay examples/labs and compare with what they show (the tests of namespaces do, too)
	$(PYTEST) tests/system/test_labs.py -q -n $(WORKERS)

vectors: environment packages ## what CoreDNS answered, and what is thrown at it, at our DNS server
	$(PYTEST) tests/system/dns/test_vectors.py tests/system/dns/test_hostile.py tests/unit/dns/test_vectors_units.py $(SYSTEM)

bench: environment ## start-up, memory, pods, endpoint changes, relay, Services, DNS, API and containers, against their peers
	@scripts/system-packages --bench
	.venv/bin/python -P bench/run.py

environment:
	@scripts/virtual-environment --dev

packages:
	@scripts/system-packages

clean: ## remove what was set up and built
	rm -rf .venv build dist *.egg-info podwire-reports .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
