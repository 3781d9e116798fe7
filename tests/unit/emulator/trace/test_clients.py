"""Which program asks in a pod, depending on what its image has."""

import subprocess
import sys
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from podwire.emulator.trace import pcapng
from podwire.emulator.trace.clients import FETCH, Execution, clients
from podwire.emulator.trace.request import Command, Connect, parse
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.trace import Captured, trace
from podwire.emulator.trace.wiring import Wiring
from podwire.errors import UsageError

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


class Empty:
    """A capture in which nothing was captured."""

    def capture(self) -> pcapng.Capture:
        return pcapng.Capture((), (), (), comments=("not captured: node-1: nobody lends there",))


class Target:
    """A cluster whose pods have *programs*; its captures are empty."""

    def __init__(
        self, snapshot: Snapshot, programs: Collection[str], *, builtins: bool = False
    ) -> None:
        self.snapshot, self.programs, self.builtins = snapshot, programs, builtins
        self.ran: list[Sequence[str]] = []

    @asynccontextmanager
    async def capture(self, points: Sequence[str]) -> AsyncGenerator[Captured]:
        yield Empty()

    async def exec(self, where: str, argv: Sequence[str]) -> Execution:
        self.ran.append(argv)
        return Execution(7 if argv[0] in self.programs else 127, "", "no route")

    async def objects(self) -> Snapshot:
        return self.snapshot


WIRING = Wiring(captures="nodes", external=None, hint="switch it on")


@pytest.mark.parametrize(
    ("has", "to", "ran"),
    [
        ("curl wget python3", "http://web-svc", "curl"),
        ("wget python3", "http://web-svc", "curl wget"),
        ("python3", "http://web-svc", "curl wget python3"),
        ("python", "http://web-svc", "curl wget python3 python"),
        ("curl python3 nc", "web-svc:80", "python3"),
        ("nc", "web-svc:80", "python3 python nc"),
        ("python", "kube-dns.kube-system:53/udp", "python3 python"),
    ],
)
async def test_the_first_program_that_the_image_has_asks(
    bench: "Bench", has: str, to: str, ran: str
) -> None:
    target = Target(bench.cluster(), has.split())
    found = await trace(target, "default/client", parse(to), timeout=2, wiring=WIRING)
    assert [argv[0] for argv in target.ran] == ran.split()
    assert found.execution.exit_code == 7


@pytest.mark.parametrize(
    ("has", "to", "ran"),
    [
        ("curl", "http://web-svc", "curl"),
        ("", "http://web-svc", f"curl {FETCH}"),
        ("curl", "web-svc:80", FETCH),
    ],
)
async def test_where_there_are_built_in_programs(
    bench: "Bench", has: str, to: str, ran: str
) -> None:
    target = Target(bench.cluster(), [*has.split(), FETCH], builtins=True)
    await trace(target, "default/client", parse(to), timeout=2, wiring=WIRING)
    assert [argv[0] for argv in target.ran] == ran.split()


@pytest.mark.parametrize(
    ("to", "lacks"),
    [
        ("http://web-svc", "curl, wget, python3 and python"),
        ("web-svc:80", "python3, python and nc"),
        ("kube-dns.kube-system:53/udp", "python3 and python"),
    ],
)
async def test_an_image_that_has_nothing_to_ask_with(bench: "Bench", to: str, lacks: str) -> None:
    target = Target(bench.cluster(), ["sleep", "nc6"])
    with pytest.raises(UsageError) as caught:
        await trace(target, "default/client", parse(to), timeout=2, wiring=WIRING)
    assert str(caught.value).splitlines() == [
        f"nothing in default/client can ask: its image lacks {lacks}",
        "  name a program that it has: podwire trace default/client -- COMMAND",
        "  or trace from another pod",
    ]


async def test_a_command_is_run_as_it_is(bench: "Bench") -> None:
    target = Target(bench.cluster(), ["nslookup"])
    await trace(target, "default/client", Command(("nslookup", "x")), timeout=2, wiring=WIRING)
    assert target.ran == [("nslookup", "x")]


async def test_why_a_node_was_not_captured_is_said(bench: "Bench") -> None:
    target = Target(bench.cluster(), ["curl"])
    found = await trace(target, "default/client", parse("http://web-svc"), wiring=WIRING)
    assert found.verdict == "refuted"
    assert "nothing was captured at node-1: nobody lends there" in found.reason
    assert "  not captured: default/client (switch it on)" in found.render().splitlines()


async def test_external_where_there_is_no_such_host(bench: "Bench") -> None:
    target = Target(bench.cluster(), ["curl"])
    with pytest.raises(UsageError, match="this cluster has no external host\n  trace from a pod"):
        await trace(target, "external", parse("http://web-svc"), wiring=WIRING)
    assert target.ran == []


@pytest.mark.parametrize("target", [Connect("127.0.0.1", 1), Connect("127.0.0.1", 1, "UDP")])
def test_the_program_that_python_is_given_runs_with_nothing_but_python(target: Connect) -> None:
    client = next(c for c in clients(target, 1, builtins=False) if c.argv[0] == "python3")
    done = subprocess.run(
        [sys.executable, "-I", "-S", *client.argv[1:]], capture_output=True, text=True
    )
    report = client.report(Execution(done.returncode, done.stdout, done.stderr))
    assert (report.exit_code, report.error) == (7, "Connection refused"), done.stderr
