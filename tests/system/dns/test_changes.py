"""A thousand changes a second, for ten seconds: no answer says what was never true."""

from typing import Any

import pytest

from tests.system.dns import changing, inside

Json = dict[str, Any]

LATE = 3.0
"""Seconds that news may take to the server, and an answer to us, on a busy machine."""

MANY, SOME = 10_000, 3_000


@pytest.mark.parametrize(
    ("cache", "changes", "kept"),
    [
        ("# no cache", MANY, 0.0),
        # As kubeadm has it: what the cluster says is never kept.
        (
            "cache 30 {\n disable success cluster.local\n disable denial cluster.local\n }",
            SOME,
            0.0,
        ),
        ("cache 30 {\n success 9984 2 1\n denial 9984 2 1\n }", SOME, 2.0),
    ],
    ids=["no cache", "kubeadm's cache", "two seconds of cache"],
)
def test_answers_under_change(cache: str, changes: int, kept: float) -> None:
    wanted = {"seed": 1, "cache": cache, "changes": changes, "stale": LATE + kept}
    seen: Json = inside.play(changing.change, wanted, within=120.0)
    assert not seen["wrong"]
    assert not seen["late"]
    assert seen["serials"] == sorted(seen["serials"])
    assert seen["serials"][-1] > seen["serials"][0]
    # Both kinds of answers have been looked at, and many.
    assert seen["answers"] > 1000
    assert 0 < seen["positive"] < seen["answers"]
    assert "Traceback" not in seen["log"]
