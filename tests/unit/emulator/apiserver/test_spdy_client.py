"""Processes over raw SPDY, as kubectl 1.29 asks for them: v4.channel.k8s.io."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from podwire.testing import spdy as peer
from podwire.testing.agent import FakeAgent
from podwire.testing.spdy import Seen
from tests.unit.emulator.apiserver.streaming import PODS, SECONDS, Api, Raw, serving

# kubectl offers them in lines of their own.
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io")
ERROR, STDIN, STDOUT, STDERR, RESIZE = 1, 3, 5, 7, 9


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path, FakeAgent()) as api:
        await api.pod()
        yield api


async def started(api: Api, command: str, *, stdin: bool = False, tty: bool = False) -> Raw:
    """Return a connection with all streams of a command open."""
    words = "&".join(f"command={quote(word)}" for word in ["sh", "-c", command])
    streams = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
    wanted = "&".join(f"{name}=true" for name, is_wanted in streams.items() if is_wanted)
    raw = await api.switched(f"{PODS}/p/exec?{words}&{wanted}", *PROTOCOLS)
    assert raw.head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    assert "\r\nUpgrade: SPDY/3.1\r\n" in raw.head
    assert "\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n" in raw.head
    raw.open(ERROR, streamtype="error")
    if stdin:
        raw.open(STDIN, streamtype="stdin")
    raw.open(STDOUT, streamtype="stdout")
    if tty:
        raw.open(RESIZE, streamtype="resize")
    else:
        raw.open(STDERR, streamtype="stderr")
    return raw


def outcome(raw: Raw) -> str:
    status = json.loads(raw.said(ERROR))
    if status["status"] == "Success":
        return "success"
    return str(status["details"]["causes"][0]["message"])


async def test_output_errors_and_the_exit_code(api: Api) -> None:
    raw = await started(api, "echo out; echo err >&2; exit 3")
    await raw.until(lambda raw: raw.ended(ERROR, STDOUT, STDERR))
    assert (raw.said(STDOUT), raw.said(STDERR), outcome(raw)) == (b"out\n", b"err\n", "3")
    assert [f for f in raw.seen if f.what == "reply"] == [Seen("reply", n) for n in (1, 5, 7)]
    raw.writer.write(peer.leave())
    await raw.close()


async def test_input_and_its_end_reach_the_process(api: Api) -> None:
    raw = await started(api, "cat; echo end", stdin=True)
    raw.send(STDIN, b"typed ")
    raw.send(STDIN, b"twice\n", ended=True)
    await raw.until(lambda raw: raw.ended(ERROR, STDIN, STDOUT, STDERR))
    assert (raw.said(STDOUT), outcome(raw)) == (b"typed twice\nend\n", "success")
    windows = [f.number for f in raw.seen if f.what == "window" and f.stream == STDIN]
    assert sum(windows) in (6, 12)  # after the end nobody needs one
    await raw.close()


async def test_the_server_leaves_after_the_client(api: Api) -> None:
    raw = await started(api, "exit 0")
    await raw.until(lambda raw: raw.ended(ERROR, STDOUT, STDERR))
    raw.writer.write_eof()
    await raw.rest()


async def test_much_in_both_directions_at_once(api: Api) -> None:
    raw = await started(api, "cat", stdin=True)
    sent = bytes(range(256)) * 40_000

    async def type_() -> None:
        for at in range(0, len(sent), 32768):
            raw.send(STDIN, sent[at : at + 32768])
            await raw.writer.drain()
        raw.send(STDIN, b"", ended=True)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(type_())
        await raw.until(lambda raw: raw.ended(ERROR, STDOUT))
    assert raw.said(STDOUT) == sent
    await raw.close()


async def test_a_terminal_and_its_size(api: Api) -> None:
    raw = await started(api, "read go; stty size; exit 7", stdin=True, tty=True)
    # In pieces: it is a stream of JSON values.
    raw.send(RESIZE, b'{"Width":80,"Height":24}\n{"Width":1')
    raw.send(RESIZE, b'01,"Height":33}\nnonsense\n')
    raw.send(STDIN, b"go\n")
    await raw.until(lambda raw: raw.ended(ERROR, STDOUT))
    assert b"33 101\r\n" in raw.said(STDOUT)
    assert outcome(raw) == "7"
    await raw.close()


async def test_a_command_that_cannot_start(api: Api) -> None:
    raw = await api.switched(f"{PODS}/p/exec?command=nope&stdout=true", *PROTOCOLS)
    raw.open(ERROR, streamtype="error")
    raw.open(STDOUT, streamtype="stdout")
    await raw.until(lambda raw: raw.ended(ERROR, STDOUT))
    assert "executable file not found" in json.loads(raw.said(ERROR))["message"]
    await raw.close()


async def test_who_attaches_is_not_told_the_exit_code(api: Api) -> None:
    raw = await api.switched(f"{PODS}/p/attach?stdin=true&stdout=true", *PROTOCOLS)
    raw.open(ERROR, streamtype="error")
    raw.open(STDIN, streamtype="stdin")
    raw.open(STDOUT, streamtype="stdout")
    raw.send(STDIN, b"abc", ended=True)
    await raw.until(lambda raw: raw.ended(ERROR, STDOUT))
    assert (raw.said(STDOUT), outcome(raw)) == (b"abc", "success")
    await raw.close()


async def test_streams_that_nobody_knows_are_refused(api: Api) -> None:
    raw = await started(api, "sleep 1000")
    raw.open(21, streamtype="stdout")
    raw.open(23, streamtype="video")
    raw.open(25)
    await raw.until(lambda raw: raw.ended(21, 23, 25))
    assert all(raw.was_reset(stream) for stream in (21, 23, 25))
    await raw.close()


async def test_a_client_that_leaves_ends_its_process(api: Api) -> None:
    raw = await started(api, "echo up; exec sleep 1000")
    await raw.until(lambda raw: raw.said(STDOUT).endswith(b"\n"))
    await raw.close()
    async with asyncio.timeout(SECONDS):
        assert await api.agent.started[0].wait() == 137


async def test_a_client_that_speaks_nonsense_after_the_upgrade_is_told_to_go(api: Api) -> None:
    raw = await started(api, "sleep 1000")
    raw.writer.write(b"\xffGET / HTTP/1.1\r\n\r\n")
    await raw.rest()
    assert raw.seen[-1].what == "goaway"
    assert b"HTTP" not in b"".join(f.content for f in raw.seen)


async def test_a_client_that_opens_too_little_and_leaves(api: Api) -> None:
    raw = await api.switched(f"{PODS}/p/exec?command=true&stdout=true", *PROTOCOLS)
    raw.open(ERROR, streamtype="error")
    await raw.until(lambda raw: bool(raw.seen))
    raw.writer.write_eof()
    await raw.rest()


async def test_the_server_is_there_for_others_meanwhile(api: Api) -> None:
    raw = await started(api, "sleep 1000")
    async with api.http.get("/readyz") as answer:
        assert answer.status == 200
    await raw.close()


@pytest.mark.parametrize(
    ("path", "protocols", "expected"),
    [
        ("none/exec?command=true&stdout=1", PROTOCOLS, "HTTP/1.1 404 Not Found"),
        ("p/exec?stdout=1", PROTOCOLS, "HTTP/1.1 400 Bad Request"),
        ("p/exec?command=true&stdout=1", ("v9.channel.k8s.io",), "HTTP/1.1 403 Forbidden"),
        ("p/exec?command=true&stdout=1", (), "HTTP/1.1 403 Forbidden"),
        ("p/portforward", PROTOCOLS, "HTTP/1.1 403 Forbidden"),
        ("none/portforward", ("portforward.k8s.io",), "HTTP/1.1 404 Not Found"),
    ],
)
async def test_what_is_refused_before_the_upgrade(
    api: Api, path: str, protocols: tuple[str, ...], expected: str
) -> None:
    raw = await api.switched(f"{PODS}/{path}", *protocols)
    assert raw.head.startswith(expected)
    await raw.close()
