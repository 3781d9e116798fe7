"""What the API server asks of the nodes: exec, attach and logs."""

import asyncio
import os
from collections.abc import Awaitable
from typing import Any, cast

import pytest

from podwire.emulator.apiserver.agent import AgentError, LogOptions, Session
from podwire.emulator.kubelet.agent import ClusterAgent
from podwire.emulator.kubelet.hosts import Hosts
from podwire.emulator.kubelet.recorder import CaptureAgent, shown
from podwire.emulator.kubelet.sessions import with_terminal
from podwire.emulator.runtimes.fake import FakeProcess, pause
from podwire.emulator.runtimes.fake_meter import FakeMeter
from podwire.emulator.runtimes.runtime import RunningProcess, RuntimeFailure
from podwire.emulator.sandbox.forks import Forks
from podwire.testing.jumps import JumpingLoop, LoopClock
from tests.unit.emulator.kubelet.conftest import Json, Node, World

LOOPS = {"jumping": JumpingLoop}


def agent(world: World) -> ClusterAgent:
    hosts = Hosts(cast(Forks, None), [])
    return ClusterAgent([world.kubelet], hosts, cast(CaptureAgent, None), LoopClock(), FakeMeter())


def container(command: str, **fields: Any) -> Json:
    return {"name": "c0", "image": "busybox", "command": command.split(), **fields}


async def read(fd: int) -> str:
    """Return what can be read from *fd* until its end, or for now."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    os.set_blocking(fd, False)
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
        return os.read(fd, 4096).decode()
    except OSError:
        return ""
    finally:
        loop.remove_reader(fd)


async def all_of(fd: int) -> str:
    text = ""
    while piece := await read(fd):
        text += piece
    return text


def close(session: Session) -> None:
    """Do what the API server does at the end."""
    for fd in {session.stdin, session.stdout, session.stderr} - {None}:
        os.close(cast(int, fd))
    session.close()


async def refusal(work: Awaitable[object]) -> str:
    with pytest.raises(AgentError) as raised:
        await work
    return f"{raised.value.code} {raised.value.reason}: {raised.value.message}"


async def test_a_command_in_a_container(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        session = await agent(world).exec(
            "default", "web", "", ["cat"], stdin=True, stdout=True, stderr=True, tty=False
        )
        assert session.stdin is not None
        os.write(session.stdin, b"typed")
        os.close(session.stdin)
        session.stdin = None
        assert await session.wait() == 0
        assert await all_of(session.stdout) == "typed"
        close(session)


async def test_who_leaves_takes_the_command_with_him(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        session = await agent(world).exec(
            "default",
            "web",
            "c0",
            ["sleep", "99"],
            stdin=False,
            stdout=True,
            stderr=False,
            tty=False,
        )
        close(session)
        assert await session.wait() == 137
        assert world.states() == "running"


@pytest.mark.parametrize(
    ("pod", "name", "command", "expected"),
    [
        ("none", "", "true", "400 BadRequest: pod none does not have a host assigned"),
        ("web", "no", "true", "400 BadRequest: container no is not valid for pod web"),
        (
            "web",
            "c1",
            "true",
            '500 InternalError: unable to upgrade connection: container not found ("c1")',
        ),
        (
            "web",
            "c0",
            "no-such",
            '500 InternalError: error executing command: cannot start "no-such": '
            'exec: "no-such": executable file not found in $PATH',
        ),
    ],
)
async def test_what_cannot_be_executed(
    node: Node, pod: str, name: str, command: str, expected: str
) -> None:
    async with node() as world:
        await world.pod("web", "builtin:pause", "no-such")
        await world.until(lambda: world.states() == "running, waiting CrashLoopBackOff (1)")
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        work = agent(world).exec(
            "default", pod, name, [command], stdin=True, stdout=True, stderr=True, tty=False
        )
        assert await refusal(work) == expected
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_a_terminal_that_cannot_be_used_is_closed() -> None:
    async def refuse(_slave: int) -> RunningProcess:
        raise RuntimeFailure("InternalError", "no")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert await refusal(with_terminal(refuse)) == "500 InternalError: error executing command: no"
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# --- attach ----------------------------------------------------------------------------------------


async def talker(process: FakeProcess) -> int:
    """Ask for a name without ending the line, greet, end."""
    process.print("before\n")
    await asyncio.sleep(10)
    process.print("name? ")
    name = (await process.read()).decode().strip()
    process.print(f"hello {name}\n")
    return 3


@pytest.mark.parametrize("tty", [False, True])
async def test_attached_one_sees_what_comes_and_is_heard(node: Node, tty: bool) -> None:  # noqa: FBT001
    async with node() as world:
        world.program("talker", talker)
        fields = {"stdin": True, "tty": tty}
        await world.pod(containers=(container("talker", **fields),), restartPolicy="Never")
        await world.until(lambda: world.ready())
        await asyncio.sleep(1)
        session = await agent(world).attach("default", "web", "", stdin=True, tty=tty)
        assert await read(session.stdout) == "name? "
        assert session.stdin is not None
        os.write(session.stdin, b"you\n")
        assert await session.wait() == 3
        text = await all_of(session.stdout)
        assert text.replace("\r", "").endswith("hello you\n")
        session.resize(80, 24)
        close(session)
        await world.until(lambda: world.phase() == "Failed")


async def brief(process: FakeProcess) -> int:
    process.print("hello\n")
    return 4


async def test_who_attaches_at_once_sees_what_was_said_before(node: Node) -> None:
    async with node() as world:
        world.program("talker", talker)
        await world.pod(containers=(container("talker", stdin=True),), restartPolicy="Never")
        await world.until(lambda: world.ready())
        await asyncio.sleep(0.1)
        first, second = [
            await agent(world).attach("default", "web", "", stdin=False, tty=False)
            for _ in range(2)
        ]
        assert await read(first.stdout) == "before\n"
        assert await read(second.stdout) == "name? "
        close(first)
        close(second)


async def test_who_attaches_just_after_the_end_sees_all_of_it_once(node: Node) -> None:
    async with node() as world:
        world.program("brief", brief)
        await world.pod(containers=(container("brief", stdin=True),), restartPolicy="Never")
        await world.until(lambda: world.phase() == "Failed")
        session = await agent(world).attach("default", "web", "", stdin=True, tty=False)
        assert await session.wait() == 4
        assert await all_of(session.stdout) == "hello\n"
        close(session)
        again = agent(world).attach("default", "web", "", stdin=True, tty=False)
        assert (await refusal(again)).startswith("500 InternalError: unable to upgrade connection")


async def test_the_end_of_the_input_reaches_a_container_with_stdin_once(node: Node) -> None:
    async with node() as world:
        fields = {"stdin": True, "stdinOnce": True}
        await world.pod(containers=(container("cat", **fields),), restartPolicy="Never")
        await world.until(lambda: world.ready())
        session = await agent(world).attach("default", "web", "", stdin=True, tty=False)
        assert session.stdin is not None
        os.write(session.stdin, b"typed\n")
        os.close(session.stdin)
        session.stdin = None
        assert await session.wait() == 0
        assert await all_of(session.stdout) == "typed\n"
        close(session)
        await world.until(lambda: world.phase() == "Succeeded")


async def test_without_stdin_once_the_container_waits_for_the_next_one(node: Node) -> None:
    async with node() as world:
        await world.pod(containers=(container("cat", stdin=True),), restartPolicy="Never")
        await world.until(lambda: world.ready())
        for word in ("one\n", "two\n"):
            session = await agent(world).attach("default", "web", "", stdin=True, tty=False)
            assert session.stdin is not None
            os.write(session.stdin, word.encode())
            assert await read(session.stdout) == word
            close(session)
        assert world.states() == "running"


async def test_a_container_without_stdin_can_be_watched_only(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        session = await agent(world).attach("default", "web", "", stdin=True, tty=False)
        assert session.stdin is None
        close(session)


# --- logs ------------------------------------------------------------------------------------------


async def counter(process: FakeProcess) -> int:
    for n in range(5):
        process.print(f"line {n}\n")
        await asyncio.sleep(10)
    return 0


async def log_of(world: World, name: str = "", **options: Any) -> list[str]:
    pieces = agent(world).logs("default", "web", name, LogOptions(**options))
    return b"".join([piece async for piece in pieces]).decode().splitlines()


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, "0 1 2 3 4"),
        ({"tail_lines": 2}, "3 4"),
        ({"tail_lines": 0}, ""),
        ({"tail_lines": 99}, "0 1 2 3 4"),
        ({"since_seconds": 25}, "3 4"),
        ({"since_time": 1_700_000_020.5}, "3 4"),
        ({"since_seconds": 25, "tail_lines": 1}, "4"),
        ({"follow": True}, "0 1 2 3 4"),
        ({"follow": True, "tail_lines": 2}, "3 4"),
    ],
)
async def test_which_lines_are_shown(node: Node, options: Json, seen: str) -> None:
    async with node() as world:
        world.program("counter", counter)
        await world.pod("web", "counter", restartPolicy="Never")
        await world.until(lambda: world.phase() == "Succeeded")
        assert await log_of(world, **options) == [f"line {n}" for n in seen.split()]


async def test_following_sees_what_comes_until_the_end(node: Node) -> None:
    async with node() as world:
        world.program("counter", counter)
        await world.pod("web", "counter", restartPolicy="Never")
        await world.until(lambda: world.phase() == "Running")
        await asyncio.sleep(15)
        assert await log_of(world, follow=True, tail_lines=1) == [f"line {n}" for n in (1, 2, 3, 4)]
        assert world.now > 45


async def test_with_timestamps(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "echo hello", restartPolicy="Never")
        await world.until(lambda: world.phase() == "Succeeded")
        (line,) = await log_of(world, timestamps=True)
        assert line.startswith("2023-11-14T22:13:20.")
        assert line.endswith("Z hello")


async def test_the_log_of_the_run_before(node: Node) -> None:
    runs = iter(range(9))

    async def numbered(process: FakeProcess) -> int:
        process.print(f"run {next(runs)}\n")
        return 1

    async with node() as world:
        world.program("numbered", numbered)
        await world.pod("web", "numbered")
        await world.until(lambda: world.states() == "waiting CrashLoopBackOff (2)")
        assert await log_of(world) == ["run 2"]
        assert await log_of(world, previous=True) == ["run 1"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"previous": True},
            '400 BadRequest: previous terminated container "c0" in pod "web" not found',
        ),
        (
            {"name": "c1"},
            '400 BadRequest: container "c1" in pod "web" is waiting to start: ErrImagePull',
        ),
    ],
)
async def test_logs_that_are_not_there(node: Node, options: Json, expected: str) -> None:
    async with node() as world:
        world.program("pause", pause)
        there = {"name": "c0", "image": "busybox", "command": ["pause"]}
        await world.pod(containers=(there, {"name": "c1", "image": "shop/cart:1"}))
        await world.until(lambda: world.states() == "running, waiting ErrImagePull")
        assert await refusal(log_of(world, **options)) == expected


@pytest.mark.parametrize(
    ("where", "name"),
    [("pod/default/web", "default/web"), ("node/node-1", "node-1"), ("external", "external")],
)
def test_capture_points_as_they_are_shown(where: str, name: str) -> None:
    assert shown(where) == name
