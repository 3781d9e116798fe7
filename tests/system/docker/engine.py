"""A Docker Engine for tests: one of their own in a network namespace of its own, or the one that is there.

As root we start one: nothing of it is in the machine's own namespace, no packet of its clusters can
leave, and it is gone with the block. Anybody else uses the engine that answers (DOCKER_HOST, the
current context).
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.needs import SEARCH, lack, need

START_LIMIT = 30.0
STOP_LIMIT = 30.0
DESKTOP = "/var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers, and the way to its host."""

    environ: Mapping[str, str]
    socket: str
    # What runs a command on the engine's host.
    host: tuple[str, ...] = ()
    is_own: bool = False

    def docker(self, *words: str, limit: float = 120.0, fails: bool = False) -> str:
        """Return what `docker WORDS` prints; it must succeed, unless it *fails*."""
        done = self.run("docker", *words, limit=limit)
        if bool(done.returncode) != fails:
            raise AssertionError(
                f"docker {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout + done.stderr if fails else done.stdout

    def run(self, *argv: str, limit: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """Run a command that may speak to the engine; returns how it ended."""
        return subprocess.run(
            argv, env=self.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=limit, check=False,
        )  # fmt: skip

    def on_host(self, *argv: str, limit: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run a command in the network namespace of the engine's host; returns how it ended."""
        return self.run(*self.host, *argv, limit=limit)


@contextmanager
def engine() -> Generator[Engine, None, None]:
    """Give an engine inside the block; without one the test is skipped, or fails in CI."""
    need("docker")
    if os.geteuid() == 0 and shutil.which("dockerd", path=SEARCH):
        with _own() as one:
            yield one
    else:
        yield _present()


def _present() -> Engine:
    environ = {**os.environ, "PATH": SEARCH}
    one = Engine(environ, DESKTOP)
    if one.run("docker", "version").returncode:
        lack("no Docker Engine answers here, and to start one takes root and dockerd")
    context = one.docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    endpoint = os.environ.get("DOCKER_HOST") or context
    if not endpoint.startswith("unix://"):
        lack(f"the Docker Engine at {endpoint} is not on this machine")
    return Engine(environ, _socket_inside(endpoint.removeprefix("unix://")))


def _socket_inside(path: str) -> str:
    """Return the socket's path as containers can mount it: Docker Desktop's is in its machine."""
    return DESKTOP if ".docker/" in path else path


@contextmanager
def _own() -> Generator[Engine, None, None]:
    name = f"podwire-engine-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        stack.callback(shutil.rmtree, folder)
        _must("ip", "netns", "add", name)
        stack.callback(_must, "ip", "netns", "del", name)
        _must("ip", "-n", name, "link", "set", "lo", "up")
        # Not `ip netns exec`, which mounts another /sys: without the control groups.
        inside = ("nsenter", f"--net=/run/netns/{name}")
        socket = folder / "docker.sock"
        log = stack.enter_context((folder / "log").open("w", encoding="utf-8"))
        # The engine mounts its namespaces there; what is left would keep the folder from going.
        stack.callback(_unmount_under, folder)
        process = subprocess.Popen(
            # Ends with us, even if we are killed.
            ["setpriv", "--pdeathsig", "TERM", *inside, "dockerd", "--data-root", str(folder / "data"),
             "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid"),
             "--host", f"unix://{socket}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PATH": SEARCH},
        )  # fmt: skip
        stack.callback(_end, process)
        environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")},
            "PATH": SEARCH,
            "DOCKER_HOST": f"unix://{socket}",
            # Not the contexts and credentials of whoever runs the tests.
            "DOCKER_CONFIG": str(folder / "config"),
        }
        one = Engine(environ, str(socket), inside, is_own=True)
        _await(one, process, folder / "log")
        yield one


def _await(one: Engine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while one.run("docker", "version").returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:])
            raise AssertionError(f"dockerd did not start:\n{last}")
        time.sleep(0.05)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _unmount_under(folder: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    places = [line.split()[1] for line in mounts]
    for place in sorted((one for one in places if one.startswith(f"{folder}/")), reverse=True):
        _must("umount", place)


def _must(*argv: str) -> None:
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, "PATH": SEARCH}
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(argv)}: {done.stderr.strip()}")
