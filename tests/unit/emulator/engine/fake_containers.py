"""The containers of the engine that pretends, and the programs that run in them: coroutines."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
NEVER = "0001-01-01T00:00:00Z"


def now() -> str:
    """Return the time as the engine writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


UNKNOWN = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    'runc create failed: unable to start container process: exec: "{}": '
    "executable file not found in $PATH: unknown"
)


@dataclass(slots=True)
class Process:
    """A process: what it was given, and where what it writes goes."""

    argv: list[str]
    environ: dict[str, str]
    directory: str
    terminal: bool
    stdin: asyncio.StreamReader = field(default_factory=asyncio.StreamReader)
    readers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])
    log: bytes = b""
    size: tuple[int, int] = (0, 0)
    status: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    terminated: asyncio.Event = field(default_factory=asyncio.Event)
    handles_sigterm: bool = False
    task: "asyncio.Task[None] | None" = None
    # When each piece of the log was written, and it: as the engine keeps it.
    pieces: list[tuple[str, int, bytes]] = field(default_factory=list[tuple[str, int, bytes]])
    news: asyncio.Event = field(default_factory=asyncio.Event)
    started: str = NEVER
    finished: str = NEVER
    paused: bool = False

    def print(self, text: str, *, stream: int = 1) -> None:
        """Write to standard output, or to another stream."""
        said = text.encode()
        self.pieces.append((now(), stream, said))
        self._tell()
        if not self.terminal:
            said = struct.pack(">BxxxL", stream, len(said)) + said
        self.log += said
        for reader in self.readers:
            reader.write(said)

    def end(self, status: int) -> None:
        """Let it be over."""
        if self.status is not None:
            return
        self.status = status
        self.finished = now()
        self.ended.set()
        self._tell()
        for reader in self.readers:
            reader.close()
        if self.task is not None:
            self.task.cancel()

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()

    def logged(self, number: int, *, stamped: bool) -> bytes:
        """Return a piece of the log as a request for it gets it."""
        stamp, stream, said = self.pieces[number]
        text = f"{stamp} ".encode() + said if stamped else said
        return text if self.terminal else struct.pack(">BxxxL", stream, len(text)) + text


Writer = asyncio.StreamWriter


Program = Callable[[Process], Awaitable[int]]


@dataclass(slots=True)
class Container:
    """A container, with the body that created it."""

    id: str
    name: str
    body: Json
    address: str = ""
    process: Process | None = None
    commands: list[Process] = field(default_factory=list[Process])

    @property
    def running(self) -> bool:
        """Tell whether it runs."""
        return self.process is not None and self.process.status is None

    def inspected(self) -> Json:
        """Return what `docker inspect` would."""
        process = self.process or Process([], {}, "", terminal=False)
        state = "exited" if self.process else "created"
        if self.running:
            state = "paused" if process.paused else "running"
        networks = {} if self.network.startswith("container:") else {
            "pods": {"IPAddress": self.address if self.running else "",
                     "MacAddress": "02:42:0a:f4:01:80", "NetworkID": self.network}
        }  # fmt: skip
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Config": self.body,
            "HostConfig": self.body.get("HostConfig", {}),
            "State": {
                "Status": state,
                "Running": self.running,
                "Paused": process.paused,
                "StartedAt": process.started,
                "FinishedAt": process.finished,
            },
            "NetworkSettings": {"Networks": networks},
        }

    def listed(self) -> Json:
        """Return what `docker ps` would."""
        state: str = self.inspected()["State"]["Status"]
        return {
            "Id": self.id,
            "Names": [f"/{self.name}"],
            "State": state,
            "Labels": self.labels,
            "HostConfig": {"NetworkMode": self.network},
        }

    @property
    def network(self) -> str:
        """Return its network mode."""
        return str(self.body.get("HostConfig", {}).get("NetworkMode", "default"))

    @property
    def beside(self) -> str:
        """Return the container whose processes it sees; empty: its own."""
        mode = str(self.body.get("HostConfig", {}).get("PidMode", ""))
        return mode.removeprefix("container:") if mode.startswith("container:") else ""

    @property
    def labels(self) -> dict[str, str]:
        """Return its labels."""
        return self.body.get("Labels") or {}


async def _pause(process: Process) -> int:
    await process.terminated.wait()
    return 0


async def _echo(process: Process) -> int:
    process.print(" ".join(process.argv[1:]) + "\n")
    return 0


async def _cat(process: Process) -> int:
    while chunk := await process.stdin.read(4096):
        process.print(chunk.decode())
    return 0


async def _sleep(process: Process) -> int:
    await asyncio.sleep(float(process.argv[1]))
    return 0


async def _printenv(process: Process) -> int:
    value = process.environ.get(process.argv[1])
    if value is not None:
        process.print(value + "\n")
    return int(value is None)


async def _pwd(process: Process) -> int:
    process.print(process.directory + "\n")
    return 0


async def _true(_process: Process) -> int:
    return 0


async def _false(_process: Process) -> int:
    return 1


PROGRAMS: dict[str, Program] = {
    "builtin:pause": _pause,
    "cat": _cat,
    "echo": _echo,
    "false": _false,
    "printenv": _printenv,
    "pwd": _pwd,
    "sleep": _sleep,
    "true": _true,
}
