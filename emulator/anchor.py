"""The one process of a cluster outside its sandbox: holds its name and its ports on this host.

    podwire up -> anchor (host's namespaces) -> keeper (new namespaces) -> supervisor (PID 1 inside)

Each dies with the one before it (PDEATHSIG), and the anchor ends when the inside does. The name is
an abstract socket, `@podwire/UID/NAME`: the kernel drops it with the process, so no file decides
anything. A request is one JSON line, {"op": "status"}, {"op": "stop"} or {"op": "log"}, and so is
its answer.
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
from typing import Any, NoReturn

from podwire import linux
from podwire.emulator.config import ClusterConfig
from podwire.emulator.doors import Doors, open_doors
from podwire.errors import (
    AlreadyRunning,
    InternalError,
    MachineError,
    NotRunning,
    PodwireError,
    PortInUse,
)

# Whoever asks must be of our user: the credentials are the kernel's word.
_CREDENTIALS = struct.Struct("3i")


@dataclass(slots=True)
class Running:
    """A cluster whose API server answers; *access* holds server, ca, certificate and key (PEM)."""

    name: str
    pid: int
    access: Mapping[str, str]
    _link: socket.socket

    def keep(self) -> None:
        """Let the cluster live on without us. Until then it ends when this process does."""
        self._link.sendall(b'{"keep": true}\n')
        self._link.close()

    def abandon(self) -> None:
        """End the cluster, and return when it is gone."""
        self._link.close()
        os.waitpid(self.pid, 0)


def start(
    config: ClusterConfig,
    kubeconfig: Path | None,
    report: Callable[[str], None],
    *,
    meanwhile: Callable[[], object],
) -> Running:
    """Start the cluster and return when its API server answers.

    *report* hears each step that is done; *meanwhile* is called while the inside starts. Call this
    from a process with one thread: it forks.
    Raises AlreadyRunning, PortInUse, MachineError, or whatever stopped the inside.
    """
    name = _take_name(config.name)
    try:
        doors = open_doors(config)
    except PortInUse:
        name.close()
        raise
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        here.close()
        _Anchor(config, kubeconfig, name, doors, there).run()
    for end in (there, name, doors):
        end.close()
    try:
        meanwhile()
        access = _follow(here, report)
    except BaseException:
        here.close()
        os.waitpid(pid, 0)
        raise
    return Running(config.name, pid, access, here)


def request(name: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the anchor of cluster *name*; raises NotRunning."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(_address(name))
        except (ConnectionRefusedError, FileNotFoundError):
            names = ", ".join(running()) or "none"
            raise NotRunning(
                f"no cluster named {name!r} runs (running: {names})\n"
                f"  start it: podwire up --name {name}"
            ) from None
        sock.sendall(json.dumps(message).encode() + b"\n")
        with sock.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise NotRunning(f"cluster {name!r} ended while it was asked")
    answer: dict[str, Any] = json.loads(line)
    return answer


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


def _follow(link: socket.socket, report: Callable[[str], None]) -> Mapping[str, str]:
    error: PodwireError | None = None
    log = ""
    with link.makefile("rb") as lines:
        for line in lines:
            said = json.loads(line)
            if "step" in said:
                report(said["step"])
            elif "access" in said:
                access: Mapping[str, str] = said["access"]
                return access
            elif "error" in said:
                kinds = {69: MachineError, 70: InternalError}
                error = kinds.get(said["status"], PodwireError)(said["error"])
            elif "log" in said:
                log = said["log"]
    if error is not None and not isinstance(error, InternalError):
        raise error
    what = str(error or "the cluster ended while it started")
    raise InternalError(what + (f":\n{log}" if log else ""))


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

    def run(self) -> NoReturn:
        """Be the anchor until the cluster ends."""
        status = 70
        try:
            os.setsid()
            linux.set_process_name("podwire-anchor")
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1):
                os.dup2(null, fd)
            os.dup2(self._log, 2)
            os.chdir("/")
            keeper = self._start_keeper()
            self._doors.close()
            self._serve(keeper)
            status = 0
        finally:
            os._exit(status)

    def _start_keeper(self) -> int:
        assert self._link is not None
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
        signal.signal(signal.SIGTERM, lambda _n, _f: os.kill(keeper, signal.SIGTERM))
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
                        os.kill(keeper, signal.SIGTERM)
                elif fd == self._name.fileno():
                    self._answer(keeper)

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
            with contextlib.suppress(OSError):
                self._link.sendall(json.dumps({"log": self._log_tail()}).encode() + b"\n")
        for sock in self._stop_asked:
            try:
                sock.sendall(b'{"stopped": true}\n')
            except OSError:
                continue

    def _answer(self, keeper: int) -> None:
        sock, _address = self._name.accept()
        _pid, uid, _gid = _CREDENTIALS.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid != os.getuid():
            sock.close()
            return
        sock.settimeout(2)
        try:
            line = sock.makefile("rb").readline()
            op = json.loads(line).get("op") if line else ""
            if op == "stop":
                self._stop_asked.append(sock)
                os.kill(keeper, signal.SIGTERM)
                return
            answer = self._status() if op == "status" else {"error": f"unknown op {op!r}"}
            if op == "log":
                answer = {"log": self._log_tail(1 << 20)}
            sock.sendall(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError):
            pass
        sock.close()

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
    if path:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.memfd_create("podwire-log")
