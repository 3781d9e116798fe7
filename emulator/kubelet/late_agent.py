"""A NodeAgent that is made when it is first asked: the API server answers before kubelets load."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from podwire.emulator.apiserver.agent import (
        CapturePoint,
        HostName,
        Instruction,
        LogOptions,
        NodeAgent,
        PodPlace,
        Session,
        Tcp,
        Usages,
    )


class LateAgent:
    """Passes everything on to what *made* returns, which must be the same each time."""

    def __init__(self, made: Callable[[], NodeAgent]) -> None:
        self._made = made

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
        return await self._made().exec(
            namespace, pod, container, command, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty
        )

    async def attach(
        self, namespace: str, pod: str, container: str, *, stdin: bool, tty: bool
    ) -> Session:
        """Join a container's first process."""
        return await self._made().attach(namespace, pod, container, stdin=stdin, tty=tty)

    def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """Yield the log in pieces."""
        return self._made().logs(namespace, pod, container, options)

    async def connect(self, pod: PodPlace, port: int) -> Tcp:
        """Connect to *port* inside of a pod."""
        return await self._made().connect(pod, port)

    async def reach(self, node: str, address: str, port: int, *, tls: bool) -> Tcp:
        """Connect to an address of the cluster's network from *node*."""
        return await self._made().reach(node, address, port, tls=tls)

    async def exec_host(
        self, name: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Session:
        """Start *command* on a host."""
        return await self._made().exec_host(name, command, stdin=stdin, tty=tty)

    def hosts(self) -> Sequence[HostName]:
        """Return the machines on which commands can be run."""
        return self._made().hosts()

    async def usage(self) -> Usages:
        """Return what pods and nodes use now."""
        return await self._made().usage()

    def capture_points(self) -> Sequence[CapturePoint]:
        """Return where packets can be captured."""
        return self._made().capture_points()

    async def capture(
        self, points: Sequence[str], *, snaplen: int, filter_: Sequence[Instruction]
    ) -> Tcp:
        """Begin to capture."""
        return await self._made().capture(points, snaplen=snaplen, filter_=filter_)
