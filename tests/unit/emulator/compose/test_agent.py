"""What the API server asks of a cluster of containers, and what that asks of the engine."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, cast

import pytest

from podwire.emulator.apiserver.agent import (
    AgentError,
    CapturePoint,
    Instruction,
    LogOptions,
    PodPlace,
)
from podwire.emulator.compose.agent import ComposeAgent
from podwire.emulator.compose.sessions import EngineSession
from podwire.emulator.compose.settings import Settings
from podwire.emulator.discovery.discovery import DiscoveredNode, Interface, RunningMember
from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.kubelet.agent import PodAgent
from podwire.kube.names import Key
from podwire.lender import Lender
from podwire.testing.clock import FakeClock

Json = dict[str, Any]
CLIENT = Key("default", "client")
NEVER = "0001-01-01T00:00:00Z"


class FakeEngine:
    """Answers what a test lets it, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object, Mapping[str, object]]] = []
        self.news = asyncio.Event()
        self.container: Json = {
            "Config": {"Tty": False},
            "State": {"Running": True, "FinishedAt": NEVER},
        }
        self.command: Json = {"Pid": 7, "Running": False, "ExitCode": 0}
        self.output = b""
        self.refusal: EngineError | None = None

    def _note(self, path: str, body: object, query: Mapping[str, object]) -> None:
        self.asked.append((path, body, query))
        self.news.set()
        if self.refusal is not None:
            raise self.refusal

    async def get(self, path: str, **query: object) -> Json:
        self._note(path, None, query)
        return self.command if path.startswith("/exec/") else self.container

    async def post(self, path: str, body: object = None, **query: object) -> Json:
        self._note(path, body, query)
        return {"Id": "e1"}

    async def chunks(self, path: str, **query: object) -> AsyncIterator[bytes]:
        self._note(path, None, query)
        yield self.output

    async def hijack(
        self, path: str, body: object = None, **query: object
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._note(path, body, query)
        ours, theirs = socket.socketpair()
        theirs.sendall(self.output)
        theirs.close()
        return await asyncio.open_connection(sock=ours)

    def paths(self) -> list[str]:
        return [path for path, _body, _query in self.asked]


def frame(text: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxL", stream, len(text)) + text


class Found:
    """What discovery knows."""

    def containers(self, pod: Key) -> Mapping[str, str]:
        return {"main": "c1", "sidecar": "c2"} if pod == CLIENT else {}

    def running(self) -> Sequence[RunningMember]:
        return []

    def nodes(self) -> Sequence[DiscoveredNode]:
        cidr = IPv4Network("10.244.1.0/24")
        return [
            DiscoveredNode(name, IPv4Address("10.201.0.11"), cidr, {}, f"id-{name}", "n", is_up=up)
            for name, up in (("node-a", True), ("node-b", False))
        ]

    def interfaces(self) -> Mapping[Key, Interface]:
        return {CLIENT: Interface("02:42:0a:f4:02:80", IPv4Address("10.244.2.128"))}


class Recorder:
    """Remembers what was to be captured."""

    def __init__(self) -> None:
        self.points: list[str] = []

    async def capture(
        self, points: Sequence[CapturePoint], snaplen: int, filter_: Sequence[Instruction]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.points = [point.netns for point in points]
        raise AgentError(500, "InternalError", "as far as this test goes")


@asynccontextmanager
async def agent(engine: FakeEngine, run: Path = Path("/nowhere")) -> AsyncGenerator[ComposeAgent]:
    clock = FakeClock()
    made = ComposeAgent(
        cast(Engine, engine),
        Found(),
        PodAgent([], clock),
        Recorder(),
        Settings(run=run, captures=run / "captures"),
        clock,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        yield made
        running.cancel()


async def execute(made: ComposeAgent, **wanted: bool) -> EngineSession:
    streams = {"stdin": False, "stdout": True, "stderr": True, "tty": False} | wanted
    session = await made.exec("default", "client", "", ["ls"], **streams)
    assert isinstance(session, EngineSession)
    return session


async def leave(session: EngineSession) -> None:
    """Do what the API server does when the client leaves."""
    for fd in {session.stdin, session.stdout, session.stderr} - {None}:
        socket.close(cast(int, fd))
    session.close()


@pytest.mark.parametrize(
    ("wanted", "attached"),
    [
        ({}, {"AttachStdin": False, "AttachStderr": True, "Tty": False}),
        ({"stdin": True}, {"AttachStdin": True, "Tty": False}),
        ({"stdin": True, "stderr": False, "tty": True}, {"AttachStderr": False, "Tty": True}),
    ],
)
async def test_a_command_is_prepared_and_started(wanted: dict[str, bool], attached: Json) -> None:
    engine = FakeEngine()
    async with agent(engine) as made:
        session = await execute(made, **wanted)
        assert await session.wait() == 0
        await leave(session)
    assert engine.paths()[:2] == ["/containers/c1/exec", "/exec/e1/start"]
    body = cast(Json, engine.asked[0][1])
    assert body["Cmd"] == ["ls"]
    assert body.items() >= attached.items()


async def test_a_command_whose_client_leaves_is_killed_by_its_mark() -> None:
    engine = FakeEngine()
    async with agent(engine) as made:
        session = await execute(made)
        mark = cast(Json, engine.asked[0][1])["Env"][0]
        engine.asked.clear()
        await leave(session)
        while len(engine.asked) < 2:
            engine.news.clear()
            await engine.news.wait()
    assert engine.paths() == ["/containers/c1/exec", "/exec/e1/start"]
    command = cast(Json, engine.asked[0][1])["Cmd"]
    assert command[:2] == ["sh", "-c"]
    assert mark in command[2]


async def test_a_command_that_cannot_start_says_why() -> None:
    engine = FakeEngine()
    engine.command = {"Pid": 0, "Running": False, "ExitCode": 127}
    engine.output = frame(b'OCI runtime exec failed: exec: "ls": not found in $PATH: unknown\r\n')
    async with agent(engine) as made:
        with pytest.raises(AgentError, match=r'^error executing command: exec: "ls": not found'):
            await execute(made)


async def refusal(work: Any) -> str:
    with pytest.raises(AgentError) as raised:
        await work
    return f"{raised.value.code} {raised.value.message}"


async def test_what_is_not_there() -> None:
    engine = FakeEngine()
    streams = {"stdin": False, "stdout": True, "stderr": True, "tty": False}
    async with agent(engine) as made:
        gone = made.exec("default", "gone", "x", ["ls"], **streams)
        assert await refusal(gone) == (
            '500 unable to upgrade connection: container not found ("x")'
        )
        stopped = made.exec_host("node-b", ["ls"], stdin=False, tty=False)
        assert await refusal(stopped) == "404 no node 'node-b' runs; there are: node-a"
        engine.refusal = EngineError(409, "container c1 is not running")
        assert await refusal(execute(made)) == (
            "500 error executing command: container c1 is not running"
        )


async def test_only_nodes_that_run_are_hosts() -> None:
    async with agent(FakeEngine()) as made:
        assert [(host.name, host.kind) for host in made.hosts()] == [("node-a", "node")]


@pytest.mark.parametrize(
    ("state", "options", "query"),
    [
        ({}, LogOptions(), {"tail": "all", "follow": False}),
        ({}, LogOptions(tail_lines=3, timestamps=True), {"tail": 3, "timestamps": True}),
        ({}, LogOptions(follow=True), {"follow": True}),
        # The engine keeps one log over all restarts, the kubelet one for each.
        (
            {"FinishedAt": "2026-01-01T00:00:00.25Z"},
            LogOptions(),
            {"since": "1767225600.250000000"},
        ),
        (
            {"FinishedAt": "2026-01-01T00:00:00.25Z"},
            LogOptions(previous=True, follow=True),
            {"until": "1767225600.250000000", "follow": False},
        ),
        ({"Running": False, "FinishedAt": "2026-01-01T00:00:00Z"}, LogOptions(), {"tail": "all"}),
        ({}, LogOptions(since_time=1767225600.5), {"since": "1767225600.500000000"}),
    ],
)
async def test_which_lines_of_a_log(state: Json, options: LogOptions, query: Json) -> None:
    engine = FakeEngine()
    engine.container["State"] |= state
    engine.output = frame(b"one\n") + frame(b"two\n", 2)
    async with agent(engine) as made:
        pieces = [piece async for piece in made.logs("default", "client", "main", options)]
    assert pieces == [b"one\n", b"two\n"]
    path, _body, asked = engine.asked[-1]
    assert path == "/containers/c1/logs"
    assert asked.items() >= query.items()
    assert ("since" in asked, "until" in asked) == ("since" in query, "until" in query)


async def test_logs_that_were_not_kept() -> None:
    async with agent(FakeEngine()) as made:
        pieces = made.logs("default", "done", "main", LogOptions())
        assert 'container "main" in pod "done" has no logs: it has ended' in await refusal(
            anext(pieces)
        )


async def test_captures_are_at_nodes_and_with_the_profile_at_pods(tmp_path: Path) -> None:
    async with agent(FakeEngine(), tmp_path) as made:
        node = CapturePoint("node/node-a", "node", f"{tmp_path}/nodes/node-a.sock")
        assert list(made.capture_points()) == [node]
        assert "--profile capture" in await refusal(
            made.capture(["pod/default/client"], snaplen=96, filter_=())
        )
        (tmp_path / "captures").mkdir()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lender:
            lender.bind(f"{tmp_path}/captures/captures.sock")
            lender.listen()
            points = made.capture_points()
        assert [point.where for point in points] == ["node/node-a", "pod/default/client"]
        assert "mac=02:42:0a:f4:02:80" in points[1].netns
        assert "10.244.2.128" in points[1].netns


async def test_ports_of_pods_are_reached_from_their_node(tmp_path: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    (tmp_path / "nodes").mkdir()
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pod = PodPlace("default", "client", "node-a", "127.0.0.1")
    async with agent(FakeEngine(), tmp_path) as made, asyncio.TaskGroup() as tasks:
        lending = tasks.create_task(Lender().serve(tmp_path / "nodes" / "node-a.sock"))
        await asyncio.sleep(0)
        async with server:
            for reader, writer in (
                await made.connect(pod, port),
                # A node that is not there, or does not run: any other does as well.
                await made.reach("node-b", "127.0.0.1", port, tls=False),
            ):
                assert await reader.read() == b"hello"
                writer.close()
                await writer.wait_closed()
        with pytest.raises(AgentError, match=r"connection refused .*127\.0\.0\.1 only"):
            await made.connect(pod, port)
        lending.cancel()
