"""A question that comes back: found, told once, and nothing else taken for one."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from podwire.dns.configuration import Configuration
from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.plugins import loop as looking
from podwire.dns.plugins.loop import Loop
from podwire.dns.serving.server import Listener, listen, serving
from tests.unit.dns.corefiles import Bench, ask, block, plugin_of

PATIENCE = 10.0


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATIENCE", "PAUSE", "ARMED_FOR"):
        monkeypatch.setattr(looking, name, 0.05)


@dataclass
class Place:
    """A server that has its port, and serves when it is told to."""

    corefile: str
    bench: Bench = field(default_factory=Bench)
    listener: Listener = field(default_factory=lambda: listen("127.0.0.1", 0))

    @property
    def failure(self) -> str:
        return self.bench.process.life.failure

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Configuration]:
        text = self.corefile.replace("PORT", str(self.listener.port))
        configuration = self.bench.configure(text)
        async with AsyncExitStack() as stack:
            for plugin in configuration.plugins:
                await stack.enter_async_context(plugin.run())
            yield configuration

    @asynccontextmanager
    async def serving(self, configuration: Configuration) -> AsyncGenerator[None]:
        (server,) = configuration.servers.values()
        async with serving([self.listener], server.door):
            yield


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - the end of a life has no event of its own
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("zone", "bind", "shown", "labels"),
    [
        (".", "", ":PORT", r"\d+\.\d+\."),
        ("example.org", "", ":PORT", r"\d+\.\d+\.example\.org\."),
        (".", "bind 127.0.0.1", "127.0.0.1:PORT", r"\d+\.\d+\."),
    ],
)
async def test_a_loop_ends_the_process(zone: str, bind: str, shown: str, labels: str) -> None:
    place = Place(f"{zone}:PORT {{\n loop\n {bind}\n forward . 127.0.0.1:PORT\n}}\n")
    shown = shown.replace("PORT", str(place.listener.port))
    async with place.running() as configuration, place.serving(configuration):
        await until(lambda: bool(place.failure))
    absolute = "." if zone == "." else f"{zone}."
    assert re.fullmatch(
        rf"plugin/loop: Loop \(127\.0\.0\.1:\d+ -> {re.escape(shown)}\) detected for zone "
        rf'"{re.escape(absolute)}", see https://coredns\.io/plugins/loop#troubleshooting\. '
        rf'Query: "HINFO {labels}"',
        place.failure,
    )


async def test_no_loop_is_found_where_there_is_none() -> None:
    place = Place(".:PORT {\n loop\n errors\n}\n")
    async with place.running() as configuration, place.serving(configuration):
        plugin = plugin_of(configuration, "loop")
        assert isinstance(plugin, Loop)
        await until(lambda: bool(plugin.asked))
        name = plugin.asked
        await until(lambda: not plugin.asked)
        # It is over: whoever asks now means no harm.
        for _ in range(5):
            await ask(configuration, name, "HINFO", port=place.listener.port)
    assert not place.failure


async def test_attempts_before_the_server_serves_do_not_add_up() -> None:
    place = Place(".:PORT {\n loop\n errors\n}\n")
    async with place.running() as configuration:
        plugin = plugin_of(configuration, "loop")
        assert isinstance(plugin, Loop)
        names: set[str] = set()

        def is_tried_often() -> bool:
            names.add(plugin.asked)
            return len(names - {""}) > 4

        await until(is_tried_often)
        async with place.serving(configuration):
            await until(lambda: not plugin.asked)
    assert not place.failure


@pytest.mark.parametrize(
    ("times", "kind", "is_found"),
    [(2, "HINFO", False), (3, "HINFO", True), (9, "A", False)],
)
async def test_how_often_is_once_too_often(times: int, kind: str, *, is_found: bool) -> None:
    place = Place(".:PORT {\n loop\n errors\n}\n")
    async with place.running() as configuration:
        plugin = plugin_of(configuration, "loop")
        assert isinstance(plugin, Loop)
        await until(lambda: bool(plugin.asked))
        for _ in range(times):
            await ask(configuration, plugin.asked.upper(), kind, port=place.listener.port)
    place.listener.close()
    assert bool(place.failure) is is_found


@pytest.mark.parametrize(
    ("lines", "number", "message"),
    [
        (["loop now"], 2, "Wrong argument count"),
        (["loop {", "  now", "}"], 3, "unknown property 'now'"),
        (["loop", "loop"], 3, "can only be used once"),
    ],
)
def test_stanza_errors(lines: list[str], number: int, message: str) -> None:
    with pytest.raises(CorefileError) as caught:
        Bench().configure(block(*lines))
    assert f"Corefile:{number} - Error during parsing: " in str(caught.value)
    assert message in str(caught.value)
