"""Run by test_anchor.py: a real anchor around an inside that does what the test says.

A process of its own, for the anchor forks. Each scenario prints one line of JSON.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from podwire.emulator import anchor, keeper
from podwire.emulator.config import ClusterConfig
from podwire.emulator.sandbox.progress import Progress
from podwire.errors import NotRunning, PodwireError

NAME = f"hollow-{os.getpid()}"
GO_ON = Path(sys.argv[2])


def hang(link: socket.socket) -> None:
    Progress(link).step("network made")
    signal.pause()


def run(link: socket.socket) -> None:
    Progress(link).ready({"server": "s"})
    signal.pause()


def collapse(link: socket.socket) -> None:
    Progress(link).ready({"server": "s"})
    while not GO_ON.exists():
        time.sleep(0.01)
    sys.stderr.write("the roof fell in\n")


def inside(behaviour: Callable[[socket.socket], None]) -> None:
    def keep(_config: object, _doors: object, link: socket.socket, *, anchor: int) -> NoReturn:
        del anchor
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        behaviour(link)
        sys.stderr.flush()
        os._exit(0)

    setattr(keeper, "keep", keep)  # noqa: B010 - the real one never returns


def started(limit: float = 30.0) -> anchor.Running:
    steps = list[str]()
    return anchor.start(
        ClusterConfig(name=NAME), None, steps.append, meanwhile=lambda: None, limit=limit
    )


def start_that_hangs() -> dict[str, Any]:
    inside(hang)
    try:
        started(0.5)
    except PodwireError as error:
        return {"status": error.exit_status, "said": str(error), "left": NAME in anchor.running()}
    return {}


def end_while_starting() -> dict[str, Any]:
    inside(hang)

    def ended_at(_step: str) -> None:
        if os.fork() == 0:  # another `podwire down`
            anchor.request(NAME, {"op": "stop"})
            os._exit(0)

    try:
        anchor.start(ClusterConfig(name=NAME), None, ended_at, meanwhile=lambda: None, limit=30)
    except PodwireError as error:
        return {"status": error.exit_status, "said": str(error), "left": NAME in anchor.running()}
    return {}


def bad_clients() -> dict[str, Any]:
    inside(run)
    running = started()
    for line in (
        b"[]\n",
        b'"stop"\n',
        b"7\n",
        b"{\n",
        b"\xff\n",
        b"[" * 4000 + b"\n",
        b"x" * 9999,
        b"",
    ):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"\0podwire/{os.getuid()}/{NAME}")
            with contextlib.suppress(OSError):
                sock.sendall(line)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(4096)
    status = anchor.request(NAME, {"op": "status"})
    running.abandon()
    return {"name": status["name"] == NAME, "left": NAME in anchor.running()}


def anchor_that_hangs() -> dict[str, Any]:
    inside(run)
    running = started()
    os.kill(running.pid, signal.SIGSTOP)
    try:
        anchor.request(NAME, {"op": "status"}, limit=0.2)
        said, status = "", 0
    except PodwireError as error:
        said, status = str(error), error.exit_status
    os.kill(running.pid, signal.SIGCONT)
    running.abandon()
    return {"status": status, "said": said.replace(str(running.pid), "PID")}


def last_words() -> dict[str, Any]:
    inside(collapse)
    running = started()
    before = running.last_words()
    GO_ON.touch()
    said = before
    while said is None:
        said = running.last_words()
    running.abandon()
    return {"before": before, "asked": said.asked, "log": said.log}


def asked_end() -> dict[str, Any]:
    inside(run)
    running = started()
    answer = anchor.request(NAME, {"op": "stop"})
    said = running.last_words()
    running.abandon()
    try:
        anchor.request(NAME, {"op": "status"})
    except NotRunning as error:
        return {"answer": answer, "asked": said and said.asked, "then": error.exit_status}
    return {}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]]()))
