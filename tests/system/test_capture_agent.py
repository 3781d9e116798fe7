"""The capture agent alone: floods, slow callers, interfaces and namespaces that come and go."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.needs import lack

pytestmark = pytest.mark.system

ENTER = ["unshare", "-Urnmp", "--fork", "--kill-child"]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    lacking = [program for program in ("unshare", "ip") if shutil.which(program) is None]
    if not lacking and subprocess.run([*ENTER, "true"], capture_output=True).returncode != 0:
        lacking = ["permission to make user namespaces"]
    if lacking:
        lack(f"this machine lacks {lacking[0]}")
    program = [sys.executable, str(Path(__file__).parent / "capture_flood.py")]
    done = subprocess.run([*ENTER, *program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_nothing_of_a_burst_is_lost_uncounted(found: dict[str, Any]) -> None:
    flood = found["flood"]
    assert flood["seen"] + flood["dropped"] == 20000
    assert flood["received"] == 20000
    assert flood["in_order"]


def test_what_a_slow_caller_misses_is_counted(found: dict[str, Any]) -> None:
    slow = found["slow_reader"]
    assert slow["complete"]
    assert slow["dropped"] > 0
    assert slow["seen"] > 0
    whole = slow["whole"]
    assert whole == list(range(len(whole)))
    assert 0 < len(whole) <= slow["seen"]


def test_snaplen(found: dict[str, Any]) -> None:
    assert found["snaplen"] == [[64, 442]]


def test_filter_in_the_kernel(found: dict[str, Any]) -> None:
    assert found["filtered"] == 0


def test_interfaces_that_come_and_go_are_captured(found: dict[str, Any]) -> None:
    assert found["new_interface"] == ["default/a va out", "default/b vb in"]
    assert found["interface_removed"] == found["new_interface"]


def test_a_namespace_that_does_not_exist_is_said_and_left_out(found: dict[str, Any]) -> None:
    assert found["gone"] == {
        "comments": ["not captured: default/nowhere: No such file or directory"],
        "where": ["default/a"],
    }


def test_a_namespace_may_go_meanwhile(found: dict[str, Any]) -> None:
    assert found["namespace_removed"] == 3


def test_two_captures_of_one_place(found: dict[str, Any]) -> None:
    assert found["two_at_once"] == [30, 30]


def test_an_order_that_makes_no_sense_is_refused(found: dict[str, Any]) -> None:
    assert found["refused"].startswith("broken capture request: ")


def test_a_caller_that_leaves_does_no_harm(found: dict[str, Any]) -> None:
    assert found["caller_that_leaves"]


def test_without_an_agent(found: dict[str, Any]) -> None:
    assert found["no_agent"].startswith("the capture agent does not answer at /run/none.sock")
