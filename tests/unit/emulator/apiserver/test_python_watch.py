"""The official Python client's watch at a server that has forgotten where it stopped."""

import asyncio
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from podwire.emulator.apiserver.request import User
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.kube.clock import SystemClock
from podwire.testing.agent import FakeAgent

kubernetes = pytest.importorskip("kubernetes", reason="pip install kubernetes")

HISTORY = 5
ADMIN = User("kubernetes-admin", ("system:masters",))


def watched(core: Any, version: str, number: int) -> Iterator[str]:
    """Yield the first *number* events since *version*."""
    stream = kubernetes.watch.Watch()
    for event in stream.stream(
        core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=5
    ):
        yield f"{event['type']} {event['object'].metadata.name}"
        number -= 1
        if not number:
            stream.stop()


def as_a_program(url: str) -> None:
    configuration = kubernetes.client.Configuration()
    configuration.host = url
    with kubernetes.client.ApiClient(configuration) as client:
        core = kubernetes.client.CoreV1Api(client)
        version = core.list_namespaced_config_map("default").metadata.resource_version
        for number in range(3):
            core.create_namespaced_config_map("default", {"metadata": {"name": f"m-{number}"}})
        # The twin: not yet forgotten.
        assert list(watched(core, version, 3)) == ["ADDED m-0", "ADDED m-1", "ADDED m-2"]
        for number in range(3, 3 + HISTORY):
            core.create_namespaced_config_map("default", {"metadata": {"name": f"m-{number}"}})
        with pytest.raises(kubernetes.client.ApiException) as gone:
            list(watched(core, version, 1))
        assert gone.value.status == 410
        assert "too old resource version" in gone.value.reason
        # What the client's documentation says to do: list again, and go on from there.
        version = core.list_namespaced_config_map("default").metadata.resource_version
        core.delete_namespaced_config_map("m-0", "default")
        assert list(watched(core, version, 1)) == ["DELETED m-0"]


async def test_a_watch_from_long_ago_is_gone() -> None:
    server = ApiServer(
        Store(history=HISTORY), FakeAgent(), SystemClock(), random.Random(1), who=lambda _: ADMIN
    )
    server.fill(6443)
    listener = socket.create_server(("127.0.0.1", 0))
    async with server.serve([(listener, None)]), asyncio.timeout(60):
        await asyncio.to_thread(as_a_program, f"http://127.0.0.1:{listener.getsockname()[1]}")
