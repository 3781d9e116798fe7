"""The fork servers' client, on asyncio: ask for namespaces and processes, hear of their end."""

import socket

from podwire.emulator.sandbox.channel import ForkChannel
from podwire.emulator.sandbox.messages import LIGHT
from podwire.emulator.sandbox.processes import Place, Process, Program


class Forks:
    """Both fork servers: what needs no big library is forked by PID 1, the rest by the zygote."""

    def __init__(self, light: socket.socket, heavy: socket.socket) -> None:
        self._light = ForkChannel(light)
        self._heavy = ForkChannel(heavy)

    def start(self) -> None:
        """Listen for answers; call it in the loop."""
        self._light.start()
        self._heavy.start()

    async def namespaces(self, hostname: str, path: str = "") -> list[int]:
        """Make network (bind-mounted at *path*; none if empty), UTS and IPC namespaces."""
        return await self._light.namespaces(hostname, path)

    async def remove_namespace(self, path: str) -> None:
        """Remove the bind mount at *path*."""
        await self._light.remove_namespace(path)

    async def fork(
        self,
        program: Program,
        place: Place,
        *,
        stdin: int = -1,
        stdout: int = -1,
        stderr: int = -1,
    ) -> Process:
        """Start *program* in *place* with these descriptors; raises StartError."""
        is_light = not program.builtin or program.builtin in LIGHT
        channel = self._light if is_light else self._heavy
        return await channel.fork(program, place, stdin=stdin, stdout=stdout, stderr=stderr)
