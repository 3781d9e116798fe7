"""Events live for an hour after they were last written."""

import asyncio
import random

from podwire.emulator.apiserver.expiry import EVENT_SECONDS, Expiry
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Change, Store
from podwire.kube.names import Key
from podwire.testing.agent import FakeAgent
from podwire.testing.apiserver import SilentServer
from podwire.testing.clock import FakeClock

EVENTS = "/api/v1/namespaces/default/events"


def write(server: SilentServer, name: str) -> None:
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    server.must(f"POST {EVENTS}", {"metadata": {"name": name}, "involvedObject": about})


def expiry(server: SilentServer) -> Expiry:
    return Expiry(server.api.store, "events", EVENT_SECONDS, server.clock.monotonic)


def names(server: SilentServer) -> list[str]:
    return [event["metadata"]["name"] for event in server.get(EVENTS)["items"]]


def test_an_event_goes_after_an_hour_and_watches_hear_of_it(server: SilentServer) -> None:
    swept = expiry(server)
    write(server, "first")
    server.clock.advance(1800)
    write(server, "second")
    watching = server.watch(f"{EVENTS}?watch=1")
    watching.seen()
    server.clock.advance(1799)
    assert swept.sweep() == 0
    server.clock.advance(1)
    assert swept.sweep() == 1
    assert names(server) == ["second"]
    assert watching.seen() == [f"DELETED first@{server.api.store.revision}"]
    assert swept.sweep() == 0


def test_an_event_that_happens_again_lives_on(server: SilentServer) -> None:
    swept = expiry(server)
    write(server, "again")
    write(server, "once")
    server.clock.advance(1800)
    server.must(f"PATCH {EVENTS}/again", {"count": 2}, patch="merge")
    server.clock.advance(1800)
    assert swept.sweep() == 1
    assert names(server) == ["again"]


def test_an_event_that_somebody_deleted_is_forgotten(server: SilentServer) -> None:
    swept = expiry(server)
    write(server, "gone")
    server.must(f"DELETE {EVENTS}/gone")
    server.clock.advance(3600)
    assert swept.sweep() == 0
    write(server, "gone")
    server.clock.advance(1)
    assert swept.sweep() == 0
    assert names(server) == ["gone"]


def test_events_from_before_count_from_now_on(server: SilentServer) -> None:
    write(server, "early")
    swept = expiry(server)
    server.clock.advance(3599)
    assert swept.sweep() == 0
    server.clock.advance(1)
    assert swept.sweep() == 1


async def test_a_running_server_sweeps() -> None:
    clock, store, gone = FakeClock(), Store(), asyncio.Event()
    server = ApiServer(store, FakeAgent(), clock, random.Random(1))
    store.put("events", Key("default", "old"), {"metadata": {"name": "old"}})

    def tell(change: Change) -> None:
        if change.type == "DELETED":
            gone.set()

    store.subscribe("events", tell)
    async with server.serve(sweep_seconds=0.001):
        assert not gone.is_set()
        clock.advance(3600)
        async with asyncio.timeout(10):
            await gone.wait()
