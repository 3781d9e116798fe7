"""The Protocol of a runtime: how the kubelet makes pods and containers exist, whatever they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NamedTuple, Protocol

from podwire.emulator.runtimes.capabilities import kept
from podwire.emulator.runtimes.mounts import Bind


class RuntimeFailure(Exception):
    """The runtime could not do it; *reason* is the CamelCase word for the event."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PodPort(NamedTuple):
    """A port of the node that leads to one of a pod; without *host_ip*, on all its addresses."""

    protocol: str
    host_port: int
    container_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What a runtime must know to make a pod's shared namespaces and its network."""

    namespace: str
    name: str
    uid: str
    hostname: str
    host_network: bool
    # Whether its containers see each other's processes.
    shares_processes: bool = False
    # Of the netns runtime; an engine does not lead them.
    ports: tuple[PodPort, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """A container to start. *argv* of a built-in begins with `builtin:NAME`."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    directory: str = "/"
    binds: Sequence[Bind] = ()
    directories: Sequence[str] = ()
    tty: bool = False
    # Numbers of the capabilities that it may keep, and of those that the pod asks for by name: the
    # netns runtime gives what it may keep, an engine only what is asked for.
    capabilities: tuple[int, ...] = kept()
    asked: tuple[int, ...] = ()
    # Of an engine: what it runs, as whom (UID[:GID], empty as the image says), on which root.
    image: str = ""
    user: str = ""
    read_only: bool = False
    # The process whose processes it sees, and that see it; None: it has processes of its own.
    beside: "RunningProcess | None" = None


@dataclass(frozen=True, slots=True)
class Streams:
    """Descriptors for a process's standard streams; -1 is /dev/null. The caller closes them.

    *stamped*: of a container that is joined all output is wanted as lines `TIME F|P text`, with the
    time when it was written; P marks a part of a line that goes on.
    """

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    stamped: bool = field(default=False, kw_only=True)


class RunningProcess(Protocol):
    """A process in a container."""

    async def wait(self) -> int:
        """Return the exit status, or 128 + the signal that ended it."""
        ...

    def send_signal(self, number: int) -> None:
        """Send a signal; one that is gone gets none."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """Take note of the terminal's new size, if it is not the kernel that tells the process."""
        ...

    def when_paused(self, told: Callable[[bool], None]) -> None:
        """Call *told* with True when somebody pauses it, and with False when it goes on."""
        ...

    def close(self) -> None:
        """Give back what the handle holds; the process goes on."""
        ...


@dataclass(slots=True)
class PodSandbox:
    """A pod's shared namespaces, and its address in the cluster."""

    request: PodRequest
    id: str
    address: IPv4Address
    # Of the netns runtime: the descriptors of net, UTS and IPC, and where net is mounted.
    fds: list[int] = field(default_factory=list[int])
    netns: str = ""
    # Of a pod that shares its processes: the first of them, whose end is the others' end.
    first: RunningProcess | None = None


class Runtime(Protocol):
    """Makes pods on one node. Removing what is gone is success."""

    @property
    def pins_paths(self) -> bool:
        """Tell whether it mounts what a path led to when it was asked, even if that changes."""
        ...

    async def create(self, request: PodRequest) -> PodSandbox:
        """Make the pod's namespaces and network; raises RuntimeFailure.

        Failed or cancelled, it leaves nothing.
        """
        ...

    async def has(self, sandbox: PodSandbox, container: str) -> bool:
        """Tell whether there is a container of that name, which `start` then joins.

        It runs, or has ended and its end is known to nobody. Raises RuntimeFailure.
        """
        ...

    def times(self, container: RunningProcess) -> tuple[float, float]:
        """Return when a joined container started and ended, in seconds since 1970; 0: not known."""
        ...

    async def lost(self, sandbox: PodSandbox) -> None:
        """Return when the sandbox was ended by somebody else, and with it the pod's network."""
        ...

    async def start(
        self, sandbox: PodSandbox, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Start a container; raises RuntimeFailure. Cancelled, it leaves no process."""
        ...

    async def execute(
        self, container: RunningProcess, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Run a command inside a running container; raises RuntimeFailure."""
        ...

    def container_id(self, container: RunningProcess) -> str:
        """Return the name of a started container in statuses: RUNTIME://ID."""
        ...

    async def remove(self, sandbox: PodSandbox) -> None:
        """Release the pod's address and namespaces; may be repeated after RuntimeFailure.

        Its containers have ended, or end with it.
        """
        ...
