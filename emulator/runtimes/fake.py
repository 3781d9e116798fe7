"""A runtime that pretends, for tests of the kubelet: addresses from a list, programs in Python.

It keeps the contract of the real ones (tests/contract/test_runtimes.py). Programs are coroutines,
and their time is the event loop's.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import IPv4Address
from typing import cast

from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodRequest,
    PodSandbox,
    RunningProcess,
    RuntimeFailure,
    Streams,
)

FIRST_ADDRESS = IPv4Address("10.244.1.2")
NODE_ADDRESS = IPv4Address("192.168.1.10")


class FakeProcess:
    """A program that runs: what it was given, and what it does with its streams and signals."""

    def __init__(self, request: ContainerRequest, streams: Streams, *, first: bool) -> None:
        self.request = request
        self.first = first
        self.signals: list[int] = []
        self._handlers: dict[int, Callable[[], None]] = {}
        self._stdin, self._stdout, self._stderr = (
            os.dup(fd) if fd >= 0 else -1 for fd in (streams.stdin, streams.stdout, streams.stderr)
        )
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.pause: Callable[[bool], None] = lambda _paused: None
        # Of a container's first process: those that were executed in it, and end with it.
        self.others: list[FakeProcess] = []

    async def wait(self) -> int:
        """Return the exit status, or 128 + the signal that ended it."""
        return await asyncio.shield(self._ended)

    @property
    def running(self) -> bool:
        """Tell whether it has not ended yet."""
        return not self._ended.done()

    def send_signal(self, number: int) -> None:
        """Send a signal; one that is gone gets none."""
        if not self.running:
            return
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.end(128 + number)
        elif number in self._handlers:
            self._handlers[number]()
        elif not self.first:
            # The first process of a PID namespace ignores what it does not handle.
            self.end(128 + number)

    def resize(self, columns: int, rows: int) -> None:
        """Take no note: the terminal is a real one."""

    def close(self) -> None:
        """Give back nothing: all is given back at the end."""

    def end(self, status: int) -> None:
        """Let the process be over."""
        if not self.running:
            return
        self._ended.set_result(status)
        for fd in {self._stdin, self._stdout, self._stderr} - {-1}:
            os.close(fd)
        if self.task is not None:
            self.task.cancel()
        for other in self.others:
            other.end(128 + signal.SIGKILL)

    def when_paused(self, told: Callable[[bool], None]) -> None:
        """Let a test pause it: by a call of `pause`."""
        self.pause = told

    # What follows is for programs.

    def print(self, text: str, *, to_stderr: bool = False) -> None:
        """Write to standard output or error."""
        fd = self._stderr if to_stderr else self._stdout
        if fd >= 0:
            with suppress(OSError):
                os.write(fd, text.encode())

    async def read(self) -> bytes:
        """Return what is typed next; nothing at the end of the input."""
        if self._stdin < 0:
            return b""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._stdin, ready.set)
        except PermissionError:
            # A file, for which nobody ever waits.
            return os.read(self._stdin, 1 << 16)
        try:
            await ready.wait()
            return os.read(self._stdin, 1 << 16)
        finally:
            loop.remove_reader(self._stdin)

    def handle(self, number: int, handler: Callable[[], None]) -> None:
        """Call *handler* for a signal."""
        self._handlers[number] = handler


FakeProgram = Callable[[FakeProcess], Awaitable[int]]


class FakeRuntime:
    """Pretends to make the pods of one node; *tasks* owns what the programs do."""

    pins_paths = True

    def __init__(self, tasks: asyncio.TaskGroup, *, addresses: int = 253) -> None:
        self._tasks = tasks
        self._addresses = addresses
        self.programs: dict[str, FakeProgram] = dict(PROGRAMS)
        # What there is now, by pod sandbox.
        self.sandboxes: dict[str, PodSandbox] = {}
        self.requests: list[ContainerRequest] = []
        # The next pods cannot be made, or removed, for these reasons.
        self.refusals: deque[RuntimeFailure] = deque()
        self.refusals_to_remove: deque[RuntimeFailure] = deque()
        # Pods are made, and containers started, while it is set.
        self.gate = asyncio.Event()
        self.gate.set()
        # By pod sandbox: set when somebody takes it away.
        self.losses: dict[str, asyncio.Event] = {}
        self._numbers = 0

    async def create(self, request: PodRequest) -> PodSandbox:
        """Make a pod; raises RuntimeFailure. Failed or cancelled, it leaves nothing."""
        await self.gate.wait()
        if self.refusals:
            raise self.refusals.popleft()
        taken = {sandbox.address for sandbox in self.sandboxes.values()}
        pool = (FIRST_ADDRESS + n for n in range(self._addresses))
        address = next((one for one in pool if one not in taken), NODE_ADDRESS)
        if address == NODE_ADDRESS and not request.host_network:
            raise RuntimeFailure("FailedCreatePodSandBox", "no IP addresses available")
        identity = f"{request.namespace}/{request.name}/{request.uid}"
        sandbox = PodSandbox(request, identity, NODE_ADDRESS if request.host_network else address)
        self.sandboxes[identity] = sandbox
        return sandbox

    async def has(self, sandbox: PodSandbox, container: str) -> bool:
        """Tell that none does: containers end with their runtime."""
        del sandbox, container
        return False

    def times(self, container: RunningProcess) -> tuple[float, float]:
        """Tell nothing: no container is joined."""
        del container
        return 0.0, 0.0

    async def lost(self, sandbox: PodSandbox) -> None:
        """Wait until a test sets the sandbox's event."""
        await self.losses.setdefault(sandbox.id, asyncio.Event()).wait()
        del self.losses[sandbox.id]

    async def start(
        self, sandbox: PodSandbox, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Start a container; raises RuntimeFailure. Cancelled, it leaves no process."""
        await self.gate.wait()
        beside = cast("FakeProcess | None", request.beside)
        shares = sandbox.request.shares_processes
        if beside is not None and not beside.running and not shares:
            what = "the container whose processes it is to see"
            raise RuntimeFailure("RunContainerError", f"{what} does not run")
        process = self._run(request, streams, first=beside is None and not shares)
        if beside is not None and not shares:
            # It is in a namespace whose first process that is.
            beside.others.append(process)
        return process

    async def execute(
        self, container: RunningProcess, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Run a command inside a running container; raises RuntimeFailure."""
        first = cast(FakeProcess, container)
        if not first.running:
            raise RuntimeFailure("InternalError", "container not running")
        process = self._run(request, streams, first=False)
        first.others.append(process)
        return process

    def container_id(self, container: RunningProcess) -> str:
        """Return a name of its own for each container."""
        del container
        self._numbers += 1
        return f"podwire://{self._numbers:064x}"

    async def remove(self, sandbox: PodSandbox) -> None:
        """Release the pod's address; may be repeated after RuntimeFailure."""
        if self.refusals_to_remove:
            raise self.refusals_to_remove.popleft()
        self.sandboxes.pop(sandbox.id, None)

    def _run(self, request: ContainerRequest, streams: Streams, *, first: bool) -> FakeProcess:
        name = request.argv[0]
        program = self.programs.get(name)
        if program is None:
            raise RuntimeFailure(
                "RunContainerError",
                f'cannot start "{" ".join(request.argv)}": '
                f'exec: "{name}": executable file not found in $PATH',
            )
        self.requests.append(request)
        process = FakeProcess(request, streams, first=first)
        process.task = self._tasks.create_task(_live(process, program), name=name)
        return process


async def _live(process: FakeProcess, program: FakeProgram) -> None:
    process.end(await program(process))


async def pause(process: FakeProcess) -> int:
    """Wait for SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        process.handle(number, stop.set)
    await stop.wait()
    return 0


async def _true(_process: FakeProcess) -> int:
    return 0


async def _false(_process: FakeProcess) -> int:
    return 1


async def _echo(process: FakeProcess) -> int:
    process.print(" ".join(process.request.argv[1:]) + "\n")
    return 0


async def _cat(process: FakeProcess) -> int:
    while typed := await process.read():
        process.print(typed.decode())
    return 0


async def _sleep(process: FakeProcess) -> int:
    await asyncio.sleep(float(process.request.argv[1]))
    return 0


async def _printenv(process: FakeProcess) -> int:
    value = process.request.environ.get(process.request.argv[1])
    if value is None:
        return 1
    process.print(value + "\n")
    return 0


async def _pwd(process: FakeProcess) -> int:
    process.print(process.request.directory + "\n")
    return 0


# The catalogue's names of built-in programs, and a few of the host's.
PROGRAMS: dict[str, FakeProgram] = {
    "builtin:pause": pause,
    "builtin:web": pause,
    "cat": _cat,
    "echo": _echo,
    "false": _false,
    "printenv": _printenv,
    "pwd": _pwd,
    "sleep": _sleep,
    "true": _true,
}
