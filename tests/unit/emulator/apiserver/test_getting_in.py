"""Who gets in over HTTP, and who stays outside however they try."""

import asyncio
import gc
import logging
import random
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.kube.clock import SystemClock
from podwire.testing.agent import FakeAgent
from podwire.testing.apiserver import SilentServer
from tests.unit.emulator.apiserver.accounts import (
    AUTHENTICATION,
    RBAC,
    ROBOT,
    SHOP,
    bad_headers,
    token_of,
)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[ApiServer, aiohttp.ClientSession]]:
    """Give a server and a client that says nothing of itself."""
    made = ApiServer(Store(), FakeAgent(), SystemClock(), random.Random(1))
    made.fill(6443)
    connector = aiohttp.UnixConnector(str(tmp_path / "api.sock"))
    async with (
        made.serve(unix_path=tmp_path / "api.sock"),
        aiohttp.ClientSession("http://api", connector=connector) as client,
    ):
        yield made, client


def with_objects(made: ApiServer) -> SilentServer:
    """Return a way to ask *made* without HTTP, with an account."""
    silent = SilentServer(api=made.api)
    silent.clock.advance(SystemClock().now() - silent.clock.now())
    silent.must("POST /api/v1/namespaces", {"metadata": {"name": "shop"}})
    silent.must(f"POST {SHOP}/serviceaccounts", {"metadata": {"name": "robot"}})
    return silent


ASKED = [
    "GET /version",
    "GET /api",
    "GET /api/v1/pods",
    "GET /api/v1/pods?watch=1&timeoutSeconds=1",
    "POST /api/v1/namespaces/default/configmaps",
    "DELETE /api/v1/namespaces/shop",
    "GET /api/v1/namespaces/default/pods/p/log",
    "GET /api/v1/namespaces/default/pods/p/exec?command=id&stdout=1",
    "GET /apis/podwire.dev/v1/hosts",
    "GET /apis/podwire.dev/v1/capture",
    f"POST {AUTHENTICATION}/selfsubjectreviews",
    "GET /openapi/v2",
    "GET /moon",
    "GET /api/v1/moons",
]


async def test_bad_tokens_get_nowhere(served: tuple[ApiServer, aiohttp.ClientSession]) -> None:
    made, client = served
    silent = with_objects(made)
    headers = bad_headers(silent)
    del headers["no ASCII"]  # aiohttp's client does not send it
    headers["long"] = headers["long"][:7000]
    revision = made.api.store.revision
    for name, header in headers.items():
        for line in ASKED:
            method, _, path = line.partition(" ")
            sent = {"Authorization": header, "Impersonate-User": "kubernetes-admin"}
            async with client.request(method, path, headers=sent, json={}) as answer:
                status = await answer.json()
                assert (answer.status, status["message"]) == (401, "Unauthorized"), (name, line)
    assert made.api.store.revision == revision
    # The twin: a good one is let in.
    good = {"Authorization": f"Bearer {token_of(silent)}"}
    async with client.get("/version", headers=good) as answer:
        assert answer.status == 200
    async with client.get("/api/v1/pods", headers=good) as answer:
        assert (await answer.json())["message"] == (
            f'pods is forbidden: User "{ROBOT}" cannot list resource "pods" in API group "" at '
            "the cluster scope"
        )


async def test_to_read_everything_is_no_shell_on_a_host(
    served: tuple[ApiServer, aiohttp.ClientSession],
) -> None:
    made, client = served
    silent = with_objects(made)
    rules = [{"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}]
    silent.must(f"POST {RBAC}/clusterroles", {"metadata": {"name": "reader"}, "rules": rules})
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
    binding = {"metadata": {"name": "reader"}, "roleRef": role, "subjects": [account]}
    silent.must(f"POST {RBAC}/clusterrolebindings", binding)
    headers = {"Authorization": f"Bearer {token_of(silent)}"}
    for path, status in (
        ("hosts", 200),
        ("capturepoints", 200),
        ("hosts/node-1/exec?command=id&stdout=1", 403),
        ("hosts/node-1/exec/?command=id&stdout=1", 403),
        ("capture?point=node-1", 403),
    ):
        async with client.get(f"/apis/podwire.dev/v1/{path}", headers=headers) as answer:
            assert answer.status == status, path


async def test_nobody_sees_versions_and_nothing_else(
    served: tuple[ApiServer, aiohttp.ClientSession],
) -> None:
    made, client = served
    with_objects(made)
    revision = made.api.store.revision
    for line in ASKED:
        method, _, path = line.partition(" ")
        async with client.request(method, path, json={}) as answer:
            text = await answer.text()
        if path == "/version":
            assert answer.status == 200
            continue
        assert answer.status == 403, line
        assert 'User \\"system:anonymous\\" cannot ' in text, line
    async with client.get("/moon") as answer:
        assert (await answer.json())["message"] == (
            'forbidden: User "system:anonymous" cannot get path "/moon"'
        )
    assert made.api.store.revision == revision


async def test_a_huge_header_is_refused(served: tuple[ApiServer, aiohttp.ClientSession]) -> None:
    _, client = served
    for size in (9_000, 100_000, 2_000_000):
        try:
            async with client.get(
                "/version", headers={"Authorization": "Bearer " + "A" * size}
            ) as answer:
                assert answer.status in (400, 431)
        except aiohttp.ClientError:
            pass  # the server has closed the connection while the header was being sent
    async with client.get("/version") as answer:
        assert answer.status == 200


async def test_many_bad_attempts_leave_nothing(
    served: tuple[ApiServer, aiohttp.ClientSession], caplog: pytest.LogCaptureFixture
) -> None:
    _, client = served
    caplog.set_level(logging.WARNING)  # pytest keeps what is logged: that is not the server's

    async def attempts(number: int) -> None:
        for attempt in range(number):
            header = {"Authorization": f"Bearer {attempt}.{'x' * 500}.{attempt}"}
            async with client.get(f"/api/v1/namespaces/n{attempt}/pods", headers=header) as answer:
                assert answer.status == 401
            async with client.get(f"/api/v1/namespaces/n{attempt}/pods") as answer:
                assert answer.status == 403

    await attempts(250)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        async with asyncio.timeout(60):
            await attempts(250)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What is remembered of names is limited; without the limit it would be megabytes.
    assert after - before < 500_000
