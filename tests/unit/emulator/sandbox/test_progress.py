import json
import socket
from pathlib import Path

import pytest

from podwire.emulator.sandbox import paths
from podwire.emulator.sandbox.progress import Progress


def test_each_step_is_a_line() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        progress = Progress(theirs)
        progress.step("network made")
        progress.ready({"server": "https://127.0.0.1:1"})
        progress.failed("no namespaces", 69)
        progress.failed("a fault")
        progress.close()
        with ours.makefile("rb") as lines:
            said = [json.loads(line) for line in lines]
    assert said == [
        {"step": "network made"},
        {"access": {"server": "https://127.0.0.1:1"}},
        {"error": "no namespaces", "status": 69},
        {"error": "a fault", "status": 70},
    ]


def test_when_up_has_gone_nothing_is_lost() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        progress = Progress(theirs)
        progress.step("one")
        progress.step("two")


@pytest.mark.parametrize(
    ("prefix", "hidden"),
    [
        ("/usr", []),
        ("/opt/venv", []),
        ("/tmp/venv", ["/tmp/venv"]),
        ("/var/lib/venv", ["/var/lib/venv"]),
        ("/run/user/1000/venv", ["/run/user/1000/venv"]),
        ("/tmpfiles/venv", []),
    ],
)
def test_our_own_python_may_lie_below_what_pods_get_fresh(prefix: str, hidden: list[str]) -> None:
    found = paths.hidden(Path(directory) for directory in (prefix, "/usr", prefix))
    assert [str(directory) for directory in found] == hidden
