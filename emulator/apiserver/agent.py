"""What the API server asks of the kubelets: processes, logs, captures. They implement it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


class AgentError(Exception):
    """The node cannot do what was asked; becomes a Status with HTTP *code* and *reason*."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


class Session(Protocol):
    """A process started for a client.

    The file descriptors belong to the API server from the start on: it makes them non-blocking,
    reads and writes them, and closes each exactly once (*stdin* early, when the client's input
    ends). `close` is called once, after that; it must kill the process if it still runs, and must
    not touch the descriptors.
    """

    stdin: int | None
    """Write end; None if the client sends no input. With a tty the same number as *stdout*."""
    stdout: int
    """Read end, or the pty's master."""
    stderr: int | None
    """Read end; None with a tty."""

    async def wait(self) -> int:
        """Return the exit code, 128+n for signal n, when the process has ended."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the tty; without one nothing happens."""
        ...

    def close(self) -> None:
        """Kill the process if it still runs."""
        ...


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which lines of a container's log are wanted."""

    follow: bool = False
    tail_lines: int | None = None
    timestamps: bool = False
    previous: bool = False
    since_seconds: int | None = None
    since_time: float | None = None
    """Seconds since 1970."""
    limit_bytes: int | None = None
    """Held by the API server too; the agent may stop early."""


@dataclass(frozen=True, slots=True)
class HostName:
    """A machine of the emulated network that is no pod."""

    name: str
    kind: Literal["node", "external", "router"]


@dataclass(frozen=True, slots=True)
class CapturePoint:
    """A network namespace whose packets can be captured."""

    where: str
    """`pod/NAMESPACE/NAME`, `node/NAME`, `external` or `router`."""
    kind: Literal["pod", "node", "external", "router"]
    netns: str
    """Path of the network namespace, inside the sandbox."""
    interfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """What a container uses: billionths of a processor, and bytes of memory."""

    name: str
    cpu: int
    memory: int


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What a pod's containers use: over *window* seconds before *time* (seconds since 1970)."""

    namespace: str
    name: str
    time: float
    window: float
    containers: tuple[ContainerUsage, ...]


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """What a node uses: its pods, and its own processes."""

    name: str
    time: float
    window: float
    cpu: int
    memory: int


@dataclass(frozen=True, slots=True)
class Usages:
    """What is used in the cluster. Pods that have just begun are not among them."""

    pods: tuple[PodUsage, ...] = ()
    nodes: tuple[NodeUsage, ...] = ()


Instruction = tuple[int, int, int, int]
"""One instruction of a classic BPF program: code, jump if true, jump if false, k."""


@dataclass(frozen=True, slots=True)
class PodPlace:
    """A pod, and where it is: its node, and its address (empty: it has none yet)."""

    namespace: str
    name: str
    node: str
    address: str


Tcp = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""A TCP connection; who gets it closes the writer."""


class NodeAgent(Protocol):
    """All nodes of the cluster, as seen from the API server. Every method may raise AgentError."""

    async def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> Session:
        """Start *command* in a container."""
        ...

    async def attach(
        self, namespace: str, pod: str, container: str, *, stdin: bool, tty: bool
    ) -> Session:
        """Join a container's first process; closing the session must not kill it."""
        ...

    def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with *follow* until the container ends.

        An AgentError from the first piece becomes a Status; later ones end the stream.
        """
        ...

    async def connect(self, pod: PodPlace, port: int) -> Tcp:
        """Connect to *port* of *pod* as one does inside of it, where the runtime can: localhost.

        The message of an AgentError is what comes after "error forwarding port N to pod ...:".
        """
        ...

    async def reach(self, node: str, address: str, port: int, *, tls: bool) -> Tcp:
        """Connect to an address of the cluster's network from *node*; any, if it is unknown.

        With *tls* whoever answers is believed. Raises OSError if that fails.
        """
        ...

    async def exec_host(
        self, name: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Session:
        """Start *command* on a host (see `hosts`)."""
        ...

    def hosts(self) -> Sequence[HostName]:
        """Return the machines on which commands can be run."""
        ...

    async def usage(self) -> Usages:
        """Return what pods and nodes use now."""
        ...

    def capture_points(self) -> Sequence[CapturePoint]:
        """Return where packets can be captured."""
        ...

    async def capture(
        self, points: Sequence[str], *, snaplen: int, filter_: Sequence[Instruction]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin to capture; when this returns, no packet is missed any more.

        The reader yields pcapng. Half-closing the writer (`write_eof`) means "stop": the agent
        writes what it has and the interface statistics, then ends its side. Closing the writer
        means that nobody reads any more.
        """
        ...
