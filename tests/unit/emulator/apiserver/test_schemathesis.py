"""schemathesis asks everything that our OpenAPI documents describe: there is no 5xx."""

import asyncio
import random
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from podwire.emulator.apiserver.documents import openapi
from podwire.emulator.apiserver.request import User
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.kube.clock import SystemClock
from podwire.testing.agent import FakeAgent
from podwire.testing.apiserver import SilentServer
from tests.unit.emulator.apiserver.custom_kinds import CRDS, definition, version

schemathesis = pytest.importorskip("schemathesis")

Json = dict[str, Any]

# Their answers are streams, or what some pod says.
STREAMS = ("attach", "exec", "log", "portforward", "proxy")
# Of these bodies the whole schema is tried; those of workloads are too large to be made quickly
# (test_hostile.py sends them rubbish of another make).
SMALL = frozenset(
    {"ConfigMap", "Secret", "Namespace", "Lease", "Event", "Scale", "Widget", "Eviction", "Binding",
     "TokenRequest", "TokenReview", "SubjectAccessReview", "SelfSubjectAccessReview", "Role",
     "RoleBinding", "PriorityClass", "IngressClass"}
)  # fmt: skip
EXAMPLES = 2
SLOWNESS = (
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
)
SECONDS = 10


@contextmanager
def running() -> Generator[tuple[ApiServer, str]]:
    """Serve on a port of its own, in a thread; give the server and its address."""
    admin = User("kubernetes-admin", ("system:masters", "system:authenticated"))
    server = ApiServer(Store(), FakeAgent(), SystemClock(), random.Random(1), who=lambda _: admin)
    server.fill(6443)
    silent = SilentServer(server.api)
    silent.must(f"POST {CRDS}", definition(version(subresources={"status": {}})))
    listener = socket.create_server(("127.0.0.1", 0))
    ready, over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with server.serve([(listener, None)]):
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(SECONDS)
        yield server, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join(SECONDS)


def without_streams(document: Json) -> Json:
    """Return *document* without what does not end by itself."""
    paths = {
        path: operations
        for path, operations in document["paths"].items()
        if not path.endswith(STREAMS)
    }
    for operations in paths.values():
        for name in set(operations) - {"parameters"}:
            given: list[Json] = operations[name].get("parameters", [])
            kept = [p for p in given if not p.get("$ref", "").endswith("/watch")]
            operations[name]["parameters"] = kept
    return {**document, "paths": paths}


def ask_all(document: Json, address: str) -> int:
    """Ask every operation of *document*; return how many there were."""
    count = 0
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        kind = operation.definition.raw["x-kubernetes-group-version-kind"]["kind"]
        if operation.method.upper() in ("POST", "PUT") and kind not in SMALL:
            continue
        count += 1

        @settings(
            max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
            phases=[Phase.generate], suppress_health_check=SLOWNESS,
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call(base_url=address, timeout=SECONDS)
            assert answer.status_code < 500, f"{case.as_curl_command()}\n{answer.text}"

        ask()
    return count


def test_no_operation_makes_it_fail() -> None:
    with running() as (server, address):
        kinds = server.api.kinds
        names = [name for name in openapi.index(kinds)["paths"] if name != "version"]
        # All of them first: among the requests is one that deletes every definition.
        documents = {name: openapi.document(kinds, name) for name in names}
        counts = {
            name: ask_all(without_streams(msgspec.json.decode(found.body)), address)
            for name, found in documents.items()
            if found is not None
        }
    assert counts["apis/example.com/v1"] >= 9
    assert sum(counts.values()) > 200
