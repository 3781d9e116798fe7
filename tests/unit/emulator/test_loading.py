"""What a cluster loads when it starts: most of the time to the first answer goes into it."""

import os
import subprocess
import sys

import pytest

# Module -> who may load it. 25 ms and more each, and memory in every process.
HEAVY = ("cryptography", "scapy", "dnslib", "ssl", "aiohttp")

# What the API server answers without; each name stands for all below it.
AFTER_THE_FIRST_ANSWER = (
    "podwire.cni",
    "podwire.dns",
    "podwire.netlink",
    "podwire.proxy",
    "podwire.emulator.apiserver.agent",
    "podwire.emulator.apiserver.metrics",
    "podwire.emulator.apiserver.streams",
    "podwire.emulator.controllers",
    "podwire.emulator.images",
    "podwire.emulator.kubelet",
    "podwire.emulator.network",
    "podwire.emulator.runtimes",
    "podwire.emulator.topology",
    "podwire.emulator.trace",
)

# What PID 1 has loaded when it forks the zygote: both have to wait for it.
BEFORE_THE_ZYGOTE = (
    "aiohttp",
    "asyncio",
    "podwire.cni",
    "podwire.kube",
    "podwire.emulator.network",
)

# The exceptions, which load nothing else of these.
LIGHT = {
    "podwire.emulator.images.catalogue",
    "podwire.emulator.kubelet",
    "podwire.emulator.kubelet.late_agent",
}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("podwire.commands.up", set[str]()),
        ("podwire.emulator.supervisor", set[str]()),
        ("podwire.emulator.cluster", {"aiohttp", "ssl"}),
        ("podwire.emulator.builtins", {"aiohttp", "dnslib", "ssl"}),
    ],
)
def test_heavy_libraries_are_loaded_where_they_are_needed_only(
    module: str, expected: set[str]
) -> None:
    assert loaded(f"import {module}") & set(HEAVY) == expected


@pytest.mark.parametrize(
    "module",
    [
        "podwire.emulator.compose.__main__",
        "podwire.emulator.compose.coredns",
        "podwire.emulator.images.__main__",
        "podwire.emulator.node.__main__",
    ],
)
def test_a_container_starts_without_the_internets_authorities_and_without_garbage(
    module: str,
) -> None:
    code = (
        f"import gc, os, sys\nimport {module}\nimport aiohttp.connector as it\n"
        "print(it._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509'], os.environ.get('SSL_CERT_FILE'),"
        " gc.isenabled(), gc.get_freeze_count() > 10_000)"
    )
    assert printed(code) == "0 None True True\n"


# With a request of each sort that `podwire up` makes first.
ANSWER = """
import random
from podwire.emulator import cluster
from podwire.emulator.apiserver.request import Body, Request, User
from podwire.emulator.apiserver import handlers
from podwire.emulator.addressing import addresses
from podwire.emulator.config import ClusterConfig

addresses(ClusterConfig())
server = cluster.ApiServer(
    cluster.Store(), cluster.LateAgent(lambda: 1 / 0), cluster.SystemClock(), random.Random(7)
)
server.fill(6443)
namespaces = server.api.kinds.find("", "v1", "namespaces")
user = User("system:podwire", ("system:masters",))
handlers.answer(server.api, Request("list", namespaces, user, 0.0))
"""


def test_the_api_server_answers_before_what_obeys_it_is_loaded() -> None:
    early = {name for name in loaded(ANSWER) if is_in(name, AFTER_THE_FIRST_ANSWER)}
    assert early - LIGHT == set()


def test_what_obeys_it_is_loaded_afterwards() -> None:
    """Else a controller's or kubelet's start would load it, while requests wait."""
    afterwards = (
        "import importlib; from podwire.emulator import cluster; cluster.http.load_streams()\n"
        "for name in cluster._AFTERWARDS: importlib.import_module(name)\n"
    )
    parts = (
        "from podwire.emulator.controllers import registry\n"
        "from podwire.emulator.kubelet.nodes import Nodes\n"
        "from podwire.emulator.publish import publish\n"
    )
    assert "podwire.emulator.kubelet.kubelet" in loaded(afterwards)
    assert loaded(afterwards + parts) - loaded(afterwards) == set()


def test_the_zygote_starts_before_pid_1_has_loaded_its_own() -> None:
    known = loaded("import podwire.emulator.supervisor")
    assert {name for name in known if is_in(name, BEFORE_THE_ZYGOTE)} == set()


def loaded(code: str) -> set[str]:
    """Return the names of all modules that are loaded after *code*."""
    return set(printed(f"import sys\n{code}\nprint(*sys.modules)").split())


def printed(code: str) -> str:
    """Return what *code* prints, in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={key: value for key, value in os.environ.items() if key != "SSL_CERT_FILE"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def is_in(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
