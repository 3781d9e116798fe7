"""What `podwire trace` asks for, and the status it ends with: a verdict's, or none of the verdicts'."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from podwire import errors
from podwire.cli import main, parser_of
from podwire.commands.trace import status_without_verdict
from podwire.emulator.trace import pcapng
from podwire.emulator.trace.clients import Execution
from podwire.emulator.trace.hops import Finding, Word
from podwire.emulator.trace.request import Command, Fetch, Request
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.trace import Trace
from podwire.emulator.trace.wiring import Wiring

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api


def judged_as(
    word: Word, asked: list[Request] | None = None, error: Exception | None = None
) -> Callable[..., object]:
    """Return a judge that says *word*, or raises *error*."""

    async def judged(_access: object, where: str, wanted: Request, *, limit: float) -> Trace:
        del limit
        if error is not None:
            raise error
        if asked is not None:
            asked.append(wanted)
        return Trace(
            request=str(wanted),
            source=where,
            finding=Finding(word, (), outcome="answered", reason="because"),
            capture=pcapng.Capture((), (), ()),
            snapshot=Snapshot.of(()),
            wiring=Wiring(),
            execution=Execution(0),
            duration_ns=1_000_000,
        )

    return judged


@pytest.mark.parametrize(
    ("word", "status"), [("confirmed", 0), ("refuted", 1), ("inconclusive", 2)]
)
@pytest.mark.parametrize("options", [[], ["-o", "json"], ["-o", "mermaid"]])
def test_a_verdict_stands_though_its_packets_cannot_be_written(
    api: "Api", capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    word: Word, status: int, options: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("podwire.testing.target.judged", judged_as(word))
    path = str(tmp_path / "nowhere" / "x.pcapng")
    words = ["trace", "client", "http://web", "-w", path, *options, *api.options]
    assert main(words) == status
    said = capfd.readouterr()
    assert "GET http://web/" in said.out
    assert "wrote" not in said.out + said.err
    assert f"podwire: cannot write the capture {path}: No such file or directory\n" in said.err
    assert "choose another place with -w FILE" in said.err
    path = str(tmp_path / "x.pcapng")
    assert main(["trace", "client", "http://web", "-w", path, *options, *api.options]) == status
    said = capfd.readouterr()
    assert f"wrote {path}" in said.out + said.err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["http://web"], Fetch("http://web/", "web", 80)),
        (["--", "true"], Command(("true",))),
        (["--", "curl", "http://a", "http://b"], Command(("curl", "http://a", "http://b"))),
    ],
)
def test_what_is_traced(
    api: "Api", monkeypatch: pytest.MonkeyPatch, words: list[str], wanted: Request
) -> None:
    asked = list[Request]()
    monkeypatch.setattr("podwire.testing.target.judged", judged_as("confirmed", asked))
    assert main(["trace", "client", "--no-pcap", *api.options, *words]) == 0
    assert asked == [wanted]


def test_the_usage_line_knows_commands() -> None:
    assert "FROM (URL | HOST:PORT[/udp] | -- COMMAND...)" in parser_of("trace").format_usage()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotRunning("no cluster"), 69),
        (errors.UnreachableError("gone"), 69),
        (errors.MachineError("lack"), 69),
        (errors.UsageError("what"), 64),
        (errors.ApiError.of(404, "NotFound", "no such pod"), 64),
        (errors.ApiError.of(403, "Forbidden", "no"), 64),
        (errors.ApiError.of(504, "Timeout", "did not answer"), 69),
        (errors.InternalError("fault"), 70),
        (errors.PodwireError("what else"), 70),
        (errors.TimedOut("late"), 124),
        (ZeroDivisionError("bug"), 70),
    ],
)
def test_a_failure_is_no_verdict(
    api: "Api", monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    monkeypatch.setattr("podwire.testing.target.judged", judged_as("confirmed", error=error))
    assert main(["trace", "client", "http://web", *api.options]) == status
    if isinstance(error, errors.PodwireError):
        assert status_without_verdict(error) == status


def test_no_cluster_is_no_verdict(
    api: "Api", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert main(["trace", "client", "http://web", "--name", "no-such"]) == 69
    path = tmp_path / "gone"
    path.write_text(api.kubeconfig.read_text().replace(api.server, "https://127.0.0.1:1"))
    options = ["--kubeconfig", str(path), "--context", "podwire-test"]
    assert main(["trace", "client", "http://web", *options]) == 69


def test_the_verdict_stays_when_nobody_reads_on() -> None:
    program = """
import sys
from podwire.cli import main
from podwire.commands import trace
from tests.unit.commands.test_trace import judged_as
import asyncio
trace._judged = lambda args: (asyncio.run(judged_as("refuted")(None, "client", "x", limit=1)), "x")
sys.exit(main(["trace", "client", "http://web", "--no-pcap"]))
"""
    root = str(Path(__file__).parents[3])
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=out, stderr=subprocess.PIPE, cwd=root, text=True
        )
    assert (done.returncode, done.stderr) == (1, "")
