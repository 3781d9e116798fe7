"""The pages of health and ready, the watch of reload, and chaos."""

import asyncio
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from podwire.dns.messages.message import Question
from podwire.dns.messages.wire import question_packet
from podwire.dns.plugins import health
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.dns.plugins.reload import Reload
from tests.unit.dns.corefiles import Bench, block, kind_of, plugin_of


async def page(path: str, port: int) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def until(is_true: Callable[[], bool]) -> None:
    while True:
        if is_true():
            return
        await asyncio.sleep(0.002)


async def test_health_measures_itself(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "EVERY", 0.001)
    bench = Bench()
    configuration = bench.configure(block(f"health 127.0.0.1:{unused_tcp_port}"))
    counted = "coredns_health_request_duration_seconds_count "
    async with configuration.plugins[0].run():
        assert await page("/health", unused_tcp_port) == (200, "OK")
        assert (await page("/other", unused_tcp_port))[0] == 404
        await until(lambda: f"{counted}2" in bench.process.metrics.text())
        assert "coredns_health_request_failures_total 0" in bench.process.metrics.text()


@pytest.mark.parametrize(
    ("mode", "afterwards"),
    [
        ("", (200, "OK")),
        ("monitor until-ready", (200, "OK")),
        ("monitor continuously", (503, "kubernetes")),
    ],
)
async def test_ready(
    unused_tcp_port: int,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    afterwards: tuple[int, str],
) -> None:
    bench = Bench()
    where = f"127.0.0.1:{unused_tcp_port}"
    stanza = (f"ready {where} {{", mode, "}") if mode else (f"ready {where}",)
    configuration = bench.configure(block(*stanza, "whoami", "kubernetes cluster.local"))
    kubernetes = plugin_of(configuration, "kubernetes")
    assert isinstance(kubernetes, Kubernetes)
    async with plugin_of(configuration, "ready").run():
        assert await page("/ready", unused_tcp_port) == (503, "kubernetes")
        kubernetes.table.synced()
        assert await page("/ready", unused_tcp_port) == (200, "OK")
        monkeypatch.setattr(kubernetes, "is_ready", lambda: False)
        assert await page("/ready", unused_tcp_port) == afterwards
        bench.process.life.end()
        assert await page("/ready", unused_tcp_port) == (503, "Shutting down")


def watched(folder: Path, text: str) -> tuple[Bench, Reload]:
    """Return a reload plugin that looks all the time."""
    (folder / "Corefile").write_text(text)
    bench = Bench(folder=folder)
    plugin = next(p for p in bench.configure(text).plugins if isinstance(p, Reload))
    plugin.interval = 0.001
    return bench, plugin


@pytest.mark.parametrize(
    "change",
    [
        ("Corefile", block("reload 2s 0", "import more", "whoami")),
        ("Corefile", "not { a Corefile"),
        ("more", "errors\n"),
    ],
)
async def test_a_change_is_said_once(tmp_path: Path, change: tuple[str, str]) -> None:
    (tmp_path / "more").write_text("log\n")
    bench, plugin = watched(tmp_path, block("reload 2s 0", "import more"))
    async with plugin.run():
        (tmp_path / change[0]).write_text(change[1])
        assert await bench.process.life.next() == "reload"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.process.life.next(), 0.02)


async def test_a_change_between_loading_and_watching_is_one(tmp_path: Path) -> None:
    bench, plugin = watched(tmp_path, block("reload 2s 0"))
    (tmp_path / "Corefile").write_text(block("reload 2s 0", "whoami"))
    async with plugin.run():
        assert await asyncio.wait_for(bench.process.life.next(), 5) == "reload"


async def test_a_file_that_is_gone_is_no_change(tmp_path: Path) -> None:
    bench, plugin = watched(tmp_path, block("reload 2s 0"))
    async with plugin.run():
        (tmp_path / "Corefile").unlink()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.process.life.next(), 0.02)


async def test_one_watch_is_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "podwire.dns")
    text = "a.test {\nreload\n}\nb.test {\nreload\n}\n"
    (tmp_path / "Corefile").write_text(text)
    bench = Bench(folder=tmp_path)
    first, second = bench.configure(text).plugins
    async with first.run(), second.run():
        (record,) = caplog.records
        assert "Running configuration SHA512 = " in record.getMessage()
        assert 'coredns_reload_version_info{hash="sha512",value="' in bench.process.metrics.text()


def chaos(name: str, kind: str = "TXT", class_: int = 3) -> bytes:
    """Return a question of class CH."""
    packet = bytearray(question_packet(5, Question(name, kind_of(kind))))
    struct.pack_into("!H", packet, len(packet) - 2, class_)
    return bytes(packet)


@pytest.mark.parametrize(
    ("line", "packet", "rcode", "texts"),
    [
        ("chaos", chaos("version.bind."), 0, [b"podwire-"]),
        ("chaos mine-1", chaos("VERSION.server."), 0, [b"\x06mine-1"]),
        ("chaos mine-1 ann bob ann", chaos("authors.bind."), 0, [b"\x03ann", b"\x03bob"]),
        ("chaos", chaos("hostname.bind."), 0, [b""]),
        ("chaos", chaos("version.bind.", "A"), 5, []),
        ("chaos", chaos("version.bind.", class_=4), 5, []),
        ("chaos", chaos("other.bind."), 5, []),
        ("whoami", chaos("version.bind."), 5, []),
    ],
)
async def test_chaos(line: str, packet: bytes, rcode: int, texts: list[bytes]) -> None:
    (server,) = Bench().configure(block(line)).servers.values()
    (reply,) = await server.door.answer(packet, ("10.0.0.1", 5), "udp")
    assert reply[3] & 0xF == rcode
    assert int.from_bytes(reply[6:8], "big") == len(texts)
    for text in texts:
        assert text in reply
