import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from podwire.kube.client import Client
from podwire.kube.informer import Informer
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Secret
from tests.unit.kube.conftest import TinyServer, config_map

GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}


class Seen:
    """What a subscriber heard, as `+name`, `~name` and `-name`, each with its revision."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        sign = "+" if old is None else "-" if new is None else "~"
        obj = new or old
        assert obj is not None
        self.heard.append(f"{sign}{obj.metadata.name}@{obj.metadata.resource_version}")
        self._news.set()

    async def until(self, last: str) -> None:
        async with asyncio.timeout(10):
            while not self.heard or self.heard[-1] != last:
                self._news.clear()
                await self._news.wait()


class World:
    def __init__(self, server: TinyServer, informer: Informer[ConfigMap], seen: Seen) -> None:
        self.server, self.informer, self.seen = server, informer, seen

    def names(self) -> list[str]:
        return sorted(obj.metadata.name for obj in self.informer.all())


@asynccontextmanager
async def informed(
    server: TinyServer, first: Callable[[Informer[ConfigMap]], None] | None = None
) -> AsyncGenerator[World]:
    async with Client.unix(server.path, user="system:test") as client:
        informer, seen = Informer(client, ConfigMap), Seen()
        if first is not None:
            first(informer)
        informer.subscribe(seen)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(informer.run())
            await informer.synced.wait()
            yield World(server, informer, seen)
            task.cancel()


async def test_a_list_then_what_the_watch_says(server: TinyServer) -> None:
    server.objects = [config_map("a", "5"), config_map("b", "7")]
    async with informed(server) as world:
        watch = await server.watch()
        assert watch.since == "10"
        assert world.seen.heard == ["+a@5", "+b@7"]
        await watch.send("ADDED", config_map("c", "11"))
        await watch.send("MODIFIED", config_map("a", "12"))
        await watch.send("DELETED", config_map("b", "13"))
        await world.seen.until("-b@7")
        assert world.seen.heard[2:] == ["+c@11", "~a@12", "-b@7"]
        assert world.names() == ["a", "c"]
        found = world.informer.get(Key("default", "a"))
        assert found is not None
        assert found.metadata.resource_version == "12"


async def test_a_watch_that_ends_goes_on_where_it_was(server: TinyServer) -> None:
    async with informed(server) as world:
        watch = await server.watch()
        await watch.send("ADDED", config_map("a", "11"))
        await watch.send("BOOKMARK", {"metadata": {"resourceVersion": "20"}})
        await world.seen.until("+a@11")
        watch.end()
        again = await server.watch()
        assert again.since == "20"
        assert server.lists == 1
        assert world.seen.heard == ["+a@11"]


@pytest.mark.parametrize("how", ["error line", "refused", "cut", "half a line", "rubbish"])
async def test_after_a_gap_the_copy_is_that_of_a_fresh_list(server: TinyServer, how: str) -> None:
    server.objects = [config_map("goes", "5"), config_map("changes", "6"), config_map("stays", "7")]
    async with informed(server) as world:
        watch = await server.watch()
        server.objects = [
            config_map("changes", "15"),
            config_map("stays", "7"),
            config_map("new", "16"),
        ]
        server.revision = "17"
        if how == "error line":
            await watch.send("ERROR", GONE)
        elif how == "refused":
            server.refusals.append((410, GONE))
            watch.end()
        elif how == "cut":
            watch.cut()
        elif how == "half a line":
            await watch.write(b'{"type": "ADDED", "object": {"metadata"')
            watch.cut()
        else:
            await watch.write(b"<html>\n")
        again = await server.watch()
        assert again.since == "17"
        assert world.seen.heard[3:] == ["-goes@5", "~changes@15", "+new@16"]
        assert world.names() == ["changes", "new", "stays"]


async def test_an_object_made_again_within_a_gap_is_seen_as_changed(server: TinyServer) -> None:
    server.objects = [config_map("a", "5")]
    async with informed(server) as world:
        watch = await server.watch()
        server.objects = [config_map("a", "15")]
        watch.cut()
        await server.watch()
        assert world.seen.heard == ["+a@5", "~a@15"]


async def test_another_server_counts_revisions_anew(server: TinyServer) -> None:
    server.objects = [config_map("a", "5")]
    async with informed(server) as world:
        watch = await server.watch()
        changed = config_map("a", "5")
        changed["data"] = {"of": "another store"}
        server.objects = [changed]
        await watch.send("ERROR", GONE)
        await world.seen.until("~a@5")
        found = world.informer.get(Key("default", "a"))
        assert found is not None
        assert found.data == {"of": "another store"}


async def test_a_server_that_refuses_is_asked_again(server: TinyServer) -> None:
    server.refusals.append((500, {"code": 500, "message": "not yet"}))
    server.refusals.append((403, {"code": 403, "reason": "Forbidden", "message": "no"}))
    server.objects = [config_map("a", "5")]
    async with informed(server) as world:
        assert world.names() == ["a"]


async def test_an_event_heard_twice_is_one_change(server: TinyServer) -> None:
    async with informed(server) as world:
        watch = await server.watch()
        for _ in range(2):
            await watch.send("ADDED", config_map("a", "11"))
        await watch.send("DELETED", config_map("unknown", "12"))
        await watch.send("ADDED", config_map("b", "13"))
        await world.seen.until("+b@13")
        assert world.seen.heard == ["+a@11", "+b@13"]


async def test_a_subscriber_that_fails_takes_nobody_with_it(
    server: TinyServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.objects = [config_map("a", "5")]

    def broken(_old: ConfigMap | None, _new: ConfigMap | None) -> None:
        raise ValueError("cannot stand ConfigMaps")

    async with informed(server, lambda informer: informer.subscribe(broken)) as world:
        watch = await server.watch()
        await watch.send("ADDED", config_map("b", "11"))
        await world.seen.until("+b@11")
        assert world.seen.heard == ["+a@5", "+b@11"]
    assert "a subscriber to configmaps failed on default/b" in caplog.text


async def test_who_subscribes_late_hears_of_what_is_there(server: TinyServer) -> None:
    server.objects = [config_map("a", "5")]
    async with informed(server) as world:
        late = Seen()
        world.informer.subscribe(late)
        assert late.heard == ["+a@5"]


async def test_a_big_object_fits_and_lines_may_come_in_pieces(server: TinyServer) -> None:
    async with informed(server) as world:
        watch = await server.watch()
        await watch.send("ADDED", config_map("big", "11", text="x" * (1 << 20)))
        await world.seen.until("+big@11")
        found = world.informer.get(Key("default", "big"))
        assert found is not None
        assert len(found.data["text"]) == 1 << 20


async def test_informers_share_one_watch_per_kind_and_begin_when_asked(server: TinyServer) -> None:
    server.objects = [config_map("a", "5")]
    async with Client.unix(server.path, user="system:test") as client:
        informers = Informers(client)
        assert informers.of(ConfigMap) is informers.of(ConfigMap)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(informers.run())
            await informers.synced()
            late = informers.of(Secret)
            await late.synced.wait()
            assert server.lists == 2
            assert len(late.all()) == 1
            task.cancel()
