"""Network namespaces of a benchmark's own, and programs in them; nothing outlives the benchmark.

`again` has the benchmark run once more inside; all the rest works only there.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from podwire.errors import MachineError

NETNS = Path("/run/netns")
"""Where the namespaces are, as files, by their names."""


def again(file: str, argv: Sequence[str], *, programs: Sequence[str], packages: str) -> int:
    """Run a Python program again, with --inside; return its exit status.

    It is in namespaces of its own, which end with it however it ends; it is root there. If one of
    the *programs* is missing, it is not run: the *packages* of Debian that bring them are named.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        lacking = ", ".join(missing)
        sys.stderr.write(f"{Path(file).name} needs {lacking}; run: apt-get install {packages}\n")
        return MachineError.exit_status
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    spaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inner = [sys.executable, "-P", file, *argv, "--inside"]
    return subprocess.run(["unshare", *user, *spaces, *inner], check=False).returncode


def own_run() -> None:
    """Have a /run of our own: `ip netns` keeps namespaces there, and iptables its lock."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)


@contextmanager
def made(places: Mapping[str, Sequence[str]]) -> Generator[None]:
    """Make namespaces, and carry out the lines (of `ip -batch`) of each; gone after the block."""
    _batch([f"netns add {place}" for place in places])
    try:
        for place, lines in places.items():
            _batch(lines, "-n", place)
        yield
    finally:
        _batch([f"netns delete {place}" for place in places])


def set_sysctls(place: str, values: Mapping[str, str]) -> None:
    """Set what is below /proc/sys/net, by its path there."""
    script = " && ".join(f"echo '{value}' >/proc/sys/net/{name}" for name, value in values.items())
    subprocess.run(inside(place, "sh", "-c", script), check=True)


def inside(place: str, *command: str) -> list[str]:
    """Return what runs *command* in a namespace."""
    return ["ip", "netns", "exec", place, *command]


@contextmanager
def running(
    place: str, *command: str, talks: bool = False
) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run *command* in a namespace until the block is left; it can be talked to if it *talks*."""
    ours = subprocess.PIPE if talks else None
    process = subprocess.Popen(
        inside(place, *command), stdin=ours, stdout=ours or subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _batch(lines: Sequence[str], *options: str) -> None:
    subprocess.run(["ip", *options, "-batch", "-"], input="\n".join(lines).encode(), check=True)
