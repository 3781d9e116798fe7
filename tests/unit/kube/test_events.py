import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from podwire.kube.client import Client
from podwire.kube.events import EventRecorder
from podwire.testing import build
from podwire.testing.clock import FakeClock
from tests.unit.kube.conftest import Json, TinyServer

WEB = build.pod("web")


@asynccontextmanager
async def recording(server: TinyServer) -> AsyncGenerator[tuple[EventRecorder, FakeClock]]:
    clock = FakeClock()
    async with Client.unix(server.path, user="system:test") as client:
        recorder = EventRecorder(client, clock, "kubelet", "node-1")
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(recorder.run())
            yield recorder, clock
            task.cancel()


async def written(server: TinyServer, count: int) -> list[tuple[str, str, Json]]:
    async with asyncio.timeout(10):
        while len(server.requests) < count:
            server.asked.clear()
            await server.asked.wait()
    return server.requests


async def test_an_event_names_its_object_and_who_saw_it(server: TinyServer) -> None:
    async with recording(server) as (recorder, _clock):
        recorder.event(WEB, "Normal", "Started", "Started container web", field_path="spec.x")
        ((method, path, event),) = await written(server, 1)
    assert (method, path) == ("POST", "/api/v1/namespaces/default/events")
    assert event["metadata"]["name"].startswith("web.")
    assert event["involvedObject"] == {
        "kind": "Pod",
        "namespace": "default",
        "name": "web",
        "uid": "uid-of-web",
        "apiVersion": "v1",
        "resourceVersion": "1",
        "fieldPath": "spec.x",
    }
    assert event["source"] == {"component": "kubelet", "host": "node-1"}
    assert (event["type"], event["reason"], event["count"]) == ("Normal", "Started", 1)
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2023-11-14T22:13:20Z"


async def test_the_same_again_raises_the_count_and_something_else_does_not(
    server: TinyServer,
) -> None:
    async with recording(server) as (recorder, clock):
        recorder.event(WEB, "Warning", "BackOff", "again")
        await written(server, 1)
        clock.advance(60)
        recorder.event(WEB, "Warning", "BackOff", "again")
        recorder.event(WEB, "Warning", "BackOff", "other words")
        recorder.event(build.pod("web", uid="another"), "Warning", "BackOff", "again")
        recorder.event(WEB, "Warning", "BackOff", "again")
        requests = await written(server, 5)
    assert [method for method, _, _ in requests] == ["POST", "PATCH", "POST", "POST", "PATCH"]
    first, second, last = requests[0], requests[1], requests[4]
    assert second[1] == last[1] == f"{first[1]}/{first[2]['metadata']['name']}"
    assert second[2] == {"count": 2, "lastTimestamp": "2023-11-14T22:14:20Z"}
    assert last[2]["count"] == 3
    names = {sent["metadata"]["name"] for method, _, sent in requests if method == "POST"}
    assert len(names) == 3


async def test_an_event_that_expired_meanwhile_begins_anew(server: TinyServer) -> None:
    async with recording(server) as (recorder, _clock):
        recorder.event(WEB, "Normal", "Pulled", "x")
        await written(server, 1)
        server.refusals.append((404, {"code": 404, "reason": "NotFound", "message": "gone"}))
        recorder.event(WEB, "Normal", "Pulled", "x")
        requests = await written(server, 3)
    assert [method for method, _, _ in requests] == ["POST", "PATCH", "POST"]
    assert requests[2][2]["count"] == 1


async def test_an_event_that_is_refused_is_dropped_and_the_next_is_written(
    server: TinyServer,
) -> None:
    async with recording(server) as (recorder, _clock):
        server.refusals.append((403, {"code": 403, "reason": "Forbidden", "message": "ending"}))
        recorder.event(WEB, "Normal", "Lost", "x")
        recorder.event(WEB, "Normal", "Kept", "x")
        requests = await written(server, 2)
    assert [sent["reason"] for _, _, sent in requests] == ["Lost", "Kept"]


async def test_an_event_about_a_node_is_kept_in_default(server: TinyServer) -> None:
    async with recording(server) as (recorder, _clock):
        recorder.event(build.node("node-1"), "Normal", "Starting", "x")
        ((_, path, _sent),) = await written(server, 1)
    assert path == "/api/v1/namespaces/default/events"
