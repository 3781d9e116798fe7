"""The anchor with an inside that hangs or ends, and with clients that make no sense."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.anchor import operation


def scenario(name: str, folder: Path) -> dict[str, Any]:
    program = Path(__file__).with_name("hollow_cluster.py")
    done = subprocess.run(
        [sys.executable, "-P", str(program), name, str(folder / "go-on")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b'{"op": "status"}\n', "status"),
        (b"{}\n", ""),
        (b"[]\n", ""),
        (b'"stop"\n', ""),
        (b"null\n", ""),
        (b"{\n", ""),
        (b"\xff\n", ""),
        (b"", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_what_a_request_asks_for(line: bytes, wanted: str) -> None:
    assert operation(line) == wanted


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODWIRE_LOG_FILE", str(tmp_path / "absent" / "log"))
        found = scenario("start_that_hangs", tmp_path)
    assert found["status"] == 64
    assert found["said"].startswith("PODWIRE_LOG_FILE: cannot write ")


def test_no_client_ends_the_cluster(tmp_path: Path) -> None:
    assert scenario("bad_clients", tmp_path) == {"name": True, "left": False}


def test_a_start_that_hangs_is_ended_and_names_its_last_step(tmp_path: Path) -> None:
    found = scenario("start_that_hangs", tmp_path)
    assert found["status"] == 124
    assert found["said"].splitlines()[0] == (
        "the cluster did not start within 0.5 s; the last step that was done: network made"
    )
    assert not found["left"]


def test_an_end_that_is_asked_for_during_the_start_is_no_fault(tmp_path: Path) -> None:
    said = "the cluster was ended while it started: podwire down"
    assert scenario("end_while_starting", tmp_path) == {"status": 1, "said": said, "left": False}


def test_an_anchor_that_does_not_answer_is_named(tmp_path: Path) -> None:
    found = scenario("anchor_that_hangs", tmp_path)
    assert found["status"] == 124
    assert "did not answer within 0.2 s" in found["said"]
    assert found["said"].endswith("\n  end it: kill -9 PID")


def test_a_cluster_that_ends_by_itself_leaves_its_last_words(tmp_path: Path) -> None:
    found = scenario("last_words", tmp_path)
    assert found == {"before": None, "asked": False, "log": "the roof fell in\n"}


def test_an_end_that_was_asked_for_is_told_apart(tmp_path: Path) -> None:
    found = scenario("asked_end", tmp_path)
    assert found == {"answer": {"stopped": True}, "asked": True, "then": 1}
