"""The fork server: with its libraries loaded once, a process costs a fork.

Single-threaded and without an event loop, for ever: only such a process may fork freely. There are
two in a sandbox (see supervisor); each is the parent of what it forks, and its own end ends the
sandbox.
"""

import gc
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from podwire import linux
from podwire.emulator.sandbox.container import BuiltIn, enter
from podwire.emulator.sandbox.messages import (
    LARGEST,
    Answer,
    Exited,
    Fork,
    Namespaces,
    Request,
    Unmount,
)

_DECODER = msgspec.json.Decoder(Request)
_ENCODER = msgspec.json.Encoder()


class ForkServer:
    """Serves one client: the process that holds the other end of *channel*."""

    def __init__(self, channel: socket.socket, builtins: Mapping[str, BuiltIn]) -> None:
        self._channel = channel
        self._builtins = builtins
        self._children: set[int] = set()
        # Those that were put beside others: their ends take no namespace of processes away.
        self._guests: set[int] = set()
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def run(self, essential: Mapping[int, str], ended: Callable[[str], None]) -> None:
        """Serve until an *essential* process (pid to its name) ends; says which through *ended*."""
        # What there is stays shared with all children. Not collected before: that takes 20 ms, in
        # which the first pods wait, and finds next to nothing.
        gc.freeze()
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._channel, select.POLLIN)
        # Also of what ended before we listened for it.
        while not (dead := self._reap(essential)):
            for fd, _event in poll.poll():
                if fd == wake:
                    os.read(wake, 4096)
                elif not self._serve():
                    poll.unregister(self._channel)
        ended(dead)

    def _serve(self) -> bool:
        try:
            packet, fds, _flags, _address = socket.recv_fds(self._channel, LARGEST, 64)
        except OSError:
            return False
        if not packet:
            return False
        request = _DECODER.decode(packet)
        made: list[int] = []
        try:
            answer = self._obey(request, fds, made)
        except OSError as error:
            answer = Answer(request.id, error=str(error))
        finally:
            for fd in fds:
                os.close(fd)
        self._reply(answer, made)
        for fd in made:
            os.close(fd)
        return True

    def _obey(self, request: Request, fds: Sequence[int], made: list[int]) -> Answer:
        match request:
            case Namespaces():
                made.extend(make_namespaces(request.hostname, request.path))
                return Answer(request.id)
            case Unmount():
                _remove_namespace(request.path)
                return Answer(request.id)
            case Fork():
                pid = self._fork(request, fds)
                self._children.add(pid)
                if request.fd_pids >= 0:
                    self._guests.add(pid)
                try:
                    made.append(os.pidfd_open(pid))
                except OSError:
                    os.kill(pid, signal.SIGKILL)
                    raise
                return Answer(request.id, pid=pid)

    def _fork(self, request: Fork, fds: Sequence[int]) -> int:
        # setns/unshare of a PID namespace moves only later children: go, fork, come back. One fork
        # makes a container's first process, and we are its parent.
        joined = max(request.fd_join, request.fd_pids)
        if joined >= 0:
            linux.setns(fds[joined], linux.CLONE_NEWPID)
        elif request.contain:
            linux.unshare(linux.CLONE_NEWPID)
        pid = -1
        try:
            pid = os.fork()
        finally:
            # Not in the child: it is in the new namespace, from which there is no way up.
            if pid and (joined >= 0 or request.contain):
                linux.setns(self._own_pids, linux.CLONE_NEWPID)
        if pid == 0:
            enter(request, fds, self._builtins)
        return pid

    def _reap(self, essential: Mapping[int, str]) -> str:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ""
            if pid == 0:
                return ""
            if pid in essential:
                return essential[pid]
            if pid in self._children:
                self._children.discard(pid)
                if pid in self._guests:
                    self._guests.discard(pid)
                    end_session(pid)
                code = os.waitstatus_to_exitcode(status)
                self._reply(Exited(pid, code if code >= 0 else 128 - code), [])

    def _reply(self, reply: Answer | Exited, fds: Sequence[int]) -> None:
        # Blocking on purpose: losing an exit would leave a pod Running for ever.
        try:
            socket.send_fds(self._channel, [_ENCODER.encode(reply)], list(fds))
        except OSError:
            # The client is gone; it is essential, so its end is about to be reaped.
            return


def end_session(leader: int) -> None:
    """Kill what a process that led a session has left: its own children, and theirs."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            with suppress(OSError):
                session = (directory / "stat").read_bytes().rpartition(b")")[2].split()[3]
                if int(session) == leader:
                    os.kill(int(directory.name), signal.SIGKILL)


def make_namespaces(hostname: str, path: str) -> list[int]:
    """Make network, UTS and IPC namespaces and return descriptors of them, in that order.

    With an empty *path* the network namespace is not made and only two descriptors come back.
    Raises OSError and leaves nothing.
    """
    made: list[int] = []
    try:
        if path:
            _make_namespace(path)
            made.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        made += _name_namespaces(hostname)
    except OSError:
        for fd in made:
            os.close(fd)
        if path:
            _remove_namespace(path)
        raise
    return made


def _make_namespace(path: str) -> None:
    # Only PID 1 is asked for networks, and has loaded this; the zygote never needs it.
    from podwire.emulator.network import make_namespace  # noqa: PLC0415

    make_namespace(Path(path))


def _remove_namespace(path: str) -> None:
    from podwire.emulator.network import remove_namespace  # noqa: PLC0415 - as above

    remove_namespace(Path(path))


def _name_namespaces(hostname: str) -> list[int]:
    kinds = (("uts", linux.CLONE_NEWUTS), ("ipc", linux.CLONE_NEWIPC))
    homes = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name, _ in kinds]
    try:
        linux.unshare(linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
        socket.sethostname(hostname)
        return [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name, _ in kinds]
    finally:
        for home, (_, flag) in zip(homes, kinds, strict=True):
            linux.setns(home, flag)
            os.close(home)
