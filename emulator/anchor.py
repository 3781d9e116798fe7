"""The one process of a cluster outside its sandbox: holds its name and its ports on this host.

    podwire up -> anchor (host's namespaces) -> keeper (new namespaces) -> supervisor (PID 1 inside)

Each dies with the one before it (PDEATHSIG), and the anchor ends when the inside does. The name is
an abstract socket, `@podwire/UID/NAME`: the kernel drops it with the process, so no file decides
anything. A request is one JSON line, {"op": "status"}, {"op": "stop"} or {"op": "log"}, and so is
its answer. Nobody waits for ever for the other side.
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from podwire import linux
from podwire.emulator.config import ClusterConfig
from podwire.emulator.doors import Doors, open_doors
from podwire.emulator.kubeconfig import home
from podwire.emulator.kubeconfig_lock import make_folder
from podwire.errors import (
    AlreadyRunning,
    InternalError,
    MachineError,
    NotRunning,
    PodwireError,
    PortInUse,
    TimedOut,
    UsageError,
)

# Whoever asks must be of our user: the credentials are the kernel's word.
_CREDENTIALS = struct.Struct("3i")

# What a user, a terminal or the end of a session sends to `podwire up`.
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# In seconds. An anchor answers at once; the end takes as long as the kernel needs to tidy up.
_ANSWER = 10.0
_END = 30.0
_REQUEST = 2.0  # until a request is whole: the anchor hears one at a time
_LONGEST = 4096  # bytes of a request
_GOODBYE = 0.1  # between the first byte of the last words and their end


@dataclass(frozen=True, slots=True)
class LastWords:
    """How a cluster ended: *asked* by somebody, or by itself; *log* is the end of its own log."""

    asked: bool
    log: str


class _Lines:
    """Lines from a socket, each with a limit."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""

    def next(self, until: float, *, longest: int = 1 << 24) -> bytes:
        """Return a line with its end, or nothing when the other side has ended.

        Raises TimeoutError when it is *until* (monotonic), ValueError if it has *longest* bytes.
        """
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if len(self._rest) > longest:
                raise ValueError
            self._sock.settimeout(left)
            chunk = self._sock.recv(1 << 16)
            if not chunk:
                return b""
            self._rest += chunk
        line, end, self._rest = self._rest.partition(b"\n")
        return line + end


@dataclass(slots=True)
class Running:
    """A cluster whose API server answers; *access* holds server, ca, certificate and key (PEM)."""

    name: str
    pid: int
    access: Mapping[str, str]
    _link: socket.socket
    _lines: _Lines

    def fileno(self) -> int:
        """Return the descriptor that can be read when the cluster has ended."""
        return self._link.fileno()

    def last_words(self) -> LastWords | None:
        """Return how the cluster ended, or None if it goes on; call this when `fileno` is ready."""
        try:
            while line := self._lines.next(time.monotonic() + _GOODBYE):
                said = json.loads(line)
                if "log" in said:
                    return LastWords(bool(said.get("asked")), str(said["log"]))
        except TimeoutError:
            return None
        except OSError:
            pass  # the anchor was killed
        return LastWords(asked=False, log="")

    def keep(self) -> None:
        """Let the cluster live on without us. Until then it ends when this process does."""
        self._link.settimeout(None)
        self._link.sendall(b'{"keep": true}\n')
        self._link.close()

    def abandon(self) -> None:
        """End the cluster, and return when it is gone."""
        self._link.close()
        _reap(self.pid)


def start(
    config: ClusterConfig,
    kubeconfig: Path | None,
    report: Callable[[str], None],
    *,
    meanwhile: Callable[[], object],
    limit: float,
) -> Running:
    """Start the cluster and return when its API server answers.

    *report* hears each step that is done; *meanwhile* is called while the inside starts. Call this
    from a process with one thread: it forks.
    Raises UsageError, AlreadyRunning, PortInUse, MachineError, TimedOut after *limit* seconds, or
    whatever stopped the inside; nothing of the cluster is left then.
    """
    until = time.monotonic() + limit
    os.close(_open_log())  # what is wrong with it is said here, not by the anchor to nobody
    name = _take_name(config.name)
    try:
        doors = open_doors(config)
    except PortInUse:
        name.close()
        raise
    here, there = socket.socketpair()
    # Python tidies up in the child of a fork, and an interruption of that would be a traceback on
    # the terminal. They wait: here until we are ready to undo, there until they are ignored.
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
    pid = os.fork()
    if pid == 0:
        here.close()
        _Anchor(config, kubeconfig, name, doors, there).run()
    for end in (there, name, doors):
        end.close()
    lines = _Lines(here)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTIONS)
        meanwhile()
        access = _follow(lines, report, until, limit)
    except BaseException:
        here.close()
        _reap(pid)
        raise
    return Running(config.name, pid, access, here, lines)


def request(name: str, message: Mapping[str, Any], *, limit: float | None = None) -> dict[str, Any]:
    """Ask the anchor of cluster *name*; raises NotRunning, and TimedOut after *limit* seconds."""
    if limit is None:
        limit = _END if message["op"] == "stop" else _ANSWER
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(limit)
        try:
            line = _asked(sock, name, message, time.monotonic() + limit)
        except (TimeoutError, BlockingIOError):  # the second: its queue is full
            raise TimedOut(_hangs(sock, name, limit)) from None
    if not line:
        raise NotRunning(f"cluster {name!r} ended while it was asked")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _asked(sock: socket.socket, name: str, message: Mapping[str, Any], until: float) -> bytes:
    try:
        sock.connect(_address(name))
    except (ConnectionRefusedError, FileNotFoundError):
        names = ", ".join(running()) or "none"
        start = "podwire up" if name == ClusterConfig().name else f"podwire up --name {name}"
        raise NotRunning(
            f"no cluster named {name!r} runs (running: {names})\n  start it: {start}"
        ) from None
    try:
        sock.sendall(json.dumps(message).encode() + b"\n")
        return _Lines(sock).next(until)
    except ConnectionError:  # it ended with our question unread
        return b""


def _hangs(sock: socket.socket, name: str, limit: float) -> str:
    try:
        pid = _peer(sock)[0]
    except OSError:
        pid = 0  # not even connected
    how = f"end it: kill -9 {pid}" if pid else "its process is called podwire-anchor; end that"
    return f"cluster {name!r} did not answer within {limit:g} s\n  {how}"


def _peer(sock: socket.socket) -> tuple[int, int]:
    """Return (pid, uid) of the other side, in the kernel's words."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(data)
    return pid, uid


def _reap(pid: int) -> None:
    """Return when the anchor has ended. One that hangs is killed; the inside ends with it."""
    ended = os.pidfd_open(pid)
    try:
        if not select.select([ended], [], [], _END)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(ended)
    os.waitpid(pid, 0)


def running() -> list[str]:
    """Return the names of this user's clusters."""
    prefix = f"@podwire/{os.getuid()}/"
    names: set[str] = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        columns = line.split()
        if len(columns) == 8 and columns[7].startswith(prefix):
            names.add(columns[7][len(prefix) :])
    return sorted(names)


def _address(name: str) -> str:
    return f"\0podwire/{os.getuid()}/{name}"


def _take_name(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(_address(name))
    except OSError:
        sock.close()
        raise AlreadyRunning(
            f"a cluster named {name!r} runs already\n"
            f"  use it: podwire status --name {name}; end it: podwire down --name {name}; "
            "or start another: podwire up --name OTHER"
        ) from None
    sock.listen(16)
    return sock


def _follow(
    lines: _Lines, report: Callable[[str], None], until: float, limit: float
) -> Mapping[str, str]:
    error: PodwireError | None = None
    log, step = "", "none"
    try:
        while line := lines.next(until):
            said = json.loads(line)
            if "step" in said:
                step = said["step"]
                report(step)
            elif "access" in said:
                access: Mapping[str, str] = said["access"]
                return access
            elif "error" in said:
                kinds = {69: MachineError, 70: InternalError}
                error = kinds.get(said["status"], PodwireError)(said["error"])
            elif "log" in said:
                log = said["log"]
                if said["asked"]:
                    raise PodwireError("the cluster was ended while it started: podwire down")
    except TimeoutError:
        raise TimedOut(
            f"the cluster did not start within {limit:g} s; the last step that was done: {step}\n"
            "  wait longer: --timeout SECONDS; keep what it says: PODWIRE_LOG_FILE=FILE podwire up"
        ) from None
    if error is not None and not isinstance(error, InternalError):
        raise error
    what = str(error or "the cluster ended while it started")
    raise InternalError(what + (f":\n{log}" if log else ""))


def operation(line: bytes) -> str:
    """Return what a request asks for, or nothing if it makes no sense."""
    try:
        said: object = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return str(cast("dict[str, Any]", said).get("op", "")) if isinstance(said, dict) else ""


class _Anchor:
    def __init__(
        self,
        config: ClusterConfig,
        kubeconfig: Path | None,
        name: socket.socket,
        doors: Doors,
        link: socket.socket,
    ) -> None:
        self._config = config
        self._kubeconfig = kubeconfig
        self._name = name
        self._doors = doors
        self._link: socket.socket | None = link
        self._server = "https://{}:{}".format(*doors.api.getsockname())
        self._log = _open_log()
        self._started = time.time()
        self._stop_asked: list[socket.socket] = []
        self._end_asked = False

    def run(self) -> NoReturn:
        """Be the anchor until the cluster ends."""
        status = 70
        try:
            os.setsid()
            linux.set_process_name("podwire-anchor")
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTIONS)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1):
                os.dup2(null, fd)
            os.dup2(self._log, 2)
            os.chdir("/")
            # Again: the kernel shows callers the process that listened last, and that shall be us.
            self._name.listen(16)
            keeper = self._start_keeper()
            self._doors.close()
            self._serve(keeper)
            status = 0
        finally:
            os._exit(status)

    def _start_keeper(self) -> int:
        assert self._link is not None
        if self._kubeconfig is not None:
            # It is hidden from pods if it is there by now (sandbox/filesystem.py).
            with contextlib.suppress(OSError):
                make_folder(self._kubeconfig.parent)
        if (folder := home(os.environ)) is not None:
            os.environ["HOME"] = str(folder)  # inside we are root, whose home is another one
        anchor = os.getpid()
        # Python forgets, in the child of a fork, what signals came before it was whole; an order to
        # end must not be lost so. Blocked, it waits until the keeper can obey.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            # Imported here: only the inside needs it, and `podwire up` should start light.
            from podwire.emulator.keeper import keep  # noqa: PLC0415

            self._name.close()
            keep(self._config, self._doors, self._link, anchor=anchor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return pid

    def _serve(self, keeper: int) -> None:
        gone = os.pidfd_open(keeper)
        signal.signal(signal.SIGTERM, lambda _n, _f: self._end(keeper))
        poll = select.poll()
        poll.register(gone, select.POLLIN)
        poll.register(self._name, select.POLLIN)
        # The keeper and what it starts hold the link too, so its end shows as POLLIN of our own
        # reads: the other end writes "keep", or closes.
        assert self._link is not None
        link_fd = self._link.fileno()
        poll.register(link_fd, select.POLLIN)
        while True:
            for fd, _events in poll.poll():
                if fd == gone:
                    os.waitpid(keeper, 0)
                    self._say_goodbye()
                    return
                if fd == link_fd:
                    poll.unregister(fd)
                    if not self._link_says_keep():
                        self._end(keeper)
                elif fd == self._name.fileno():
                    self._answer(keeper)

    def _end(self, keeper: int) -> None:
        self._end_asked = True
        os.kill(keeper, signal.SIGTERM)

    def _link_says_keep(self) -> bool:
        assert self._link is not None
        try:
            kept = bool(self._link.recv(4096))
        except OSError:
            kept = False
        if kept:
            self._link.close()
            self._link = None
        return kept

    def _say_goodbye(self) -> None:
        if self._link is not None:
            said = {"log": self._log_tail(), "asked": self._end_asked}
            with contextlib.suppress(OSError):
                self._link.sendall(json.dumps(said).encode() + b"\n")
        for sock in self._stop_asked:
            try:
                sock.sendall(b'{"stopped": true}\n')
            except OSError:
                continue

    def _answer(self, keeper: int) -> None:
        """Answer one request; whatever comes, the cluster goes on."""
        with contextlib.suppress(OSError):
            sock, _address = self._name.accept()
            try:
                self._answer_on(sock, keeper)
            finally:
                if sock not in self._stop_asked:
                    sock.close()

    def _answer_on(self, sock: socket.socket, keeper: int) -> None:
        if _peer(sock)[1] != os.getuid():
            return
        try:
            op = operation(_Lines(sock).next(time.monotonic() + _REQUEST, longest=_LONGEST))
        except ValueError:
            op = ""
        sock.settimeout(_REQUEST)
        if op == "stop":
            self._stop_asked.append(sock)
            self._end(keeper)
            return
        answer = self._status() if op == "status" else {"error": f"unknown op {op!r}"}
        if op == "log":
            answer = {"log": self._log_tail(1 << 20)}
        sock.sendall(json.dumps(answer).encode() + b"\n")

    def _status(self) -> dict[str, Any]:
        return {
            "name": self._config.name,
            "pid": os.getpid(),
            "server": self._server,
            "started": self._started,
            "nodes": [node.name for node in self._config.nodes],
            "kubeconfig": str(self._kubeconfig) if self._kubeconfig else "",
        }

    def _log_tail(self, size: int = 8192) -> str:
        end = os.fstat(self._log).st_size
        return os.pread(self._log, size, max(0, end - size)).decode(errors="replace")


def _open_log() -> int:
    """Return where the inside writes what goes wrong: memory, or the file PODWIRE_LOG_FILE."""
    path = os.environ.get("PODWIRE_LOG_FILE")
    if not path:
        return os.memfd_create("podwire-log")
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"PODWIRE_LOG_FILE: cannot write {path}: {error.strerror}") from error
