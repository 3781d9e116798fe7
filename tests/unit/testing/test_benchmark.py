"""The command line that all benchmarks share."""

import json

import pytest

from podwire.testing.benchmark import Benchmark
from podwire.testing.figures import Figure

SLOW = Figure("start-up", "s", (1.5, 1.6, 1.7), goal=1.0, limit=2.5)


@pytest.mark.parametrize(
    ("argv", "status", "complaint"),
    [
        ([], 0, ""),
        (["--check"], 1, "missed: start-up: 1.6 s (median of 3), goal: at most 1\n"),
        (["--check", "goals"], 1, "missed: start-up: 1.6 s (median of 3), goal: at most 1\n"),
        (["--check", "limits"], 0, ""),
    ],
)
def test_only_check_makes_a_miss_a_failure(
    argv: list[str], status: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Benchmark("measures", rounds=3)
    options = bench.parse(argv)
    assert options.rounds == 3
    assert bench.finish([SLOW], options) == status
    said = capsys.readouterr()
    assert said.err == complaint
    assert "over the goal" in said.out


def test_json_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Benchmark("measures", rounds=3)
    options = bench.parse(["-o", "json", "--rounds", "1"])
    bench.say("round 1")
    assert bench.finish([SLOW], options) == 0
    said = capsys.readouterr()
    assert said.err == "round 1\n"
    assert [document["median"] for document in json.loads(said.out)] == [1.6]
