"""An `up` that is interrupted, at each of its steps: nothing is left."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.command_line import User
from tests.system.conftest import WEB

# What `up` has just said when it happens; "name" is the moment at which the name is taken.
MOMENTS = ["name", "network of", "libraries loaded", "API server answers", "context", "applied"]


@contextlib.contextmanager
def at(user: User, moment: str, *words: str) -> Generator["subprocess.Popen[str]", None, None]:
    """Give an `up` that has come as far as *moment*."""
    with user.starting(*words) as up:
        assert up.stderr is not None
        if moment == "name":
            wanted = f"@podwire/{os.getuid()}/{user.cluster}"
            while wanted not in Path("/proc/net/unix").read_text(encoding="utf-8"):
                assert up.poll() is None, up.stderr.read()
        else:
            said = ""
            while moment not in said:
                line = up.stderr.readline()
                assert line, f"up ended before {moment!r}: {said}"
                said += line
        yield up


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_during_up_leaves_nothing(user: User, tmp_path: Path, moment: str) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    with at(user, moment, "-f", str(tmp_path / "web.yaml")) as up:
        os.killpg(up.pid, signal.SIGINT)  # a terminal sends it to the whole group
        _out, said = up.communicate(timeout=20)
    assert up.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not processes.leftovers(user.cluster)
    assert user.cluster not in user.contexts()
    assert user.files() <= {".kube/config"}


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_of_up_in_the_middle_leaves_nothing(user: User, tmp_path: Path, moment: str) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    with at(user, moment, "-f", str(tmp_path / "web.yaml")) as up:
        there = processes.of_cluster(user.cluster)
        up.kill()
        up.communicate(timeout=20)
    processes.wait_for_end(there)
    # What was being forked at that moment was not in our list; it goes with its parent.
    wait_for_nothing_left(user.cluster)
    processes.close(there)
    user.podwire("ls")
    assert user.cluster not in user.contexts()


def wait_for_nothing_left(cluster: str, limit: float = 10.0) -> None:
    deadline = time.monotonic() + limit
    while left := processes.leftovers(cluster):
        assert time.monotonic() < deadline, left
