"""The client's end of one fork server, on asyncio: requests, answers, and the ends of processes."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from podwire.emulator.sandbox.messages import (
    LARGEST,
    Answer,
    Fork,
    Namespaces,
    Reply,
    Request,
    Unmount,
)
from podwire.emulator.sandbox.processes import Place, Process, Program, StartError

_DECODER = msgspec.json.Decoder(Reply)
_ENCODER = msgspec.json.Encoder()
_KILLED = 128 + signal.SIGKILL


class ForkChannel:
    """The client's end of one fork server."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._channel.setblocking(False)
        self._answers: dict[int, asyncio.Future[tuple[Answer, list[int]]]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._started: dict[int, asyncio.Future[int]] = {}
        self._next = 0
        self._room = asyncio.Event()
        self._sending = asyncio.Lock()
        self._gone = False

    def start(self) -> None:
        """Listen for answers; call it in the loop."""
        asyncio.get_running_loop().add_reader(self._channel, self._read)

    async def namespaces(self, hostname: str, path: str = "") -> list[int]:
        """Make network (bind-mounted at *path*; none if empty), UTS and IPC namespaces."""
        _answer, fds = await self._ask(Namespaces(self._id(), hostname, path), [])
        return fds

    async def remove_namespace(self, path: str) -> None:
        """Remove the bind mount at *path*."""
        await self._ask(Unmount(self._id(), path), [])

    async def fork(
        self,
        program: Program,
        place: Place,
        *,
        stdin: int = -1,
        stdout: int = -1,
        stderr: int = -1,
    ) -> Process:
        """Start *program* in *place* with these descriptors; raises StartError.

        Cancelled, it leaves no process behind.
        """
        report, reported = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        fds: list[int] = []

        def put(fd: int) -> int:
            if fd < 0:
                return -1
            fds.append(fd)
            return len(fds) - 1

        try:
            request = Fork(
                id=self._id(),
                argv=program.argv,
                environ=dict(program.environ),
                fd_status=put(reported),
                builtin=program.builtin,
                directory=program.directory,
                fd_stdin=put(stdin),
                fd_stdout=put(stdout),
                fd_stderr=put(stderr),
                tty=program.tty,
                fd_net=put(place.net),
                fd_uts=put(place.uts),
                fd_ipc=put(place.ipc),
                fd_join=put(place.join),
                contain=place.contain,
                fd_pids=put(place.pids),
                mounts=place.mounts,
                capabilities=place.capabilities,
            )
            answer, made = await self._ask(request, fds)
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(reported)
        process = Process(answer.pid, made[0], self._started.pop(answer.pid))
        try:
            problem = await _read_all(report)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            process.close()
            raise
        if problem:
            await process.wait()
            process.close()
            raise StartError(problem.decode(errors="replace"))
        return process

    def _id(self) -> int:
        self._next += 1
        return self._next

    async def _ask(self, request: Request, fds: Sequence[int]) -> tuple[Answer, list[int]]:
        packet = _ENCODER.encode(request)
        if len(packet) > LARGEST:
            raise StartError("argument list too long")
        future: asyncio.Future[tuple[Answer, list[int]]] = (
            asyncio.get_running_loop().create_future()
        )
        async with self._sending:
            await self._send(packet, fds)
            self._answers[request.id] = future
        try:
            answer, made = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._discard(*future.result())
            raise
        if answer.error:
            raise StartError(answer.error)
        return answer, made

    async def _send(self, packet: bytes, fds: Sequence[int]) -> None:
        if self._gone:
            raise StartError("the fork server is gone")
        while True:
            try:
                socket.send_fds(self._channel, [packet], list(fds))
                return
            except BlockingIOError:
                self._room.clear()
                asyncio.get_running_loop().add_writer(self._channel, self._writable)
                await self._room.wait()
            except OSError as error:
                raise StartError(f"the fork server is gone: {error}") from error

    def _writable(self) -> None:
        asyncio.get_running_loop().remove_writer(self._channel)
        self._room.set()

    def _read(self) -> None:
        while True:
            try:
                packet, fds, _flags, _address = socket.recv_fds(self._channel, LARGEST, 64)
            except BlockingIOError:
                return
            except OSError:
                packet, fds = b"", []
            if not packet:
                self._end()
                return
            # recv_fds cannot ask for close-on-exec: it ignores its flags.
            for fd in fds:
                os.set_inheritable(fd, False)
            reply = _DECODER.decode(packet)
            if isinstance(reply, Answer):
                self._answered(reply, list(fds))
            else:
                end = self._ends.pop(reply.pid, None)
                if end is not None and not end.done():
                    end.set_result(reply.status)

    def _answered(self, answer: Answer, fds: list[int]) -> None:
        waiting = self._answers.pop(answer.id)
        if waiting.cancelled():
            self._discard(answer, fds)
            return
        if answer.pid:
            # The end may be read before the caller of fork() runs again.
            ended = asyncio.get_running_loop().create_future()
            self._started[answer.pid] = self._ends[answer.pid] = ended
        waiting.set_result((answer, fds))

    def _discard(self, answer: Answer, fds: Sequence[int]) -> None:
        """Undo what was asked for by somebody who does not wait any more."""
        self._started.pop(answer.pid, None)
        if answer.pid and fds:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fds[0], signal.SIGKILL)
        for fd in fds:
            os.close(fd)

    def _end(self) -> None:
        """Let nobody wait for a fork server that is gone: its processes went with it."""
        self._gone = True
        asyncio.get_running_loop().remove_reader(self._channel)
        for request, waiting in self._answers.items():
            if not waiting.done():
                waiting.set_result((Answer(request, error="the fork server is gone"), []))
        for ended in self._ends.values():
            if not ended.done():
                ended.set_result(_KILLED)
        self._answers.clear()
        self._ends.clear()


async def _read_all(fd: int) -> bytes:
    """Read *fd* to its end and close it."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    parts: list[bytes] = []
    loop.add_reader(fd, ready.set)
    try:
        while True:
            try:
                part = os.read(fd, 4096)
            except BlockingIOError:
                ready.clear()
                await ready.wait()
                continue
            if not part:
                return b"".join(parts)
            parts.append(part)
    finally:
        loop.remove_reader(fd)
        os.close(fd)
