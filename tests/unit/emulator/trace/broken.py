"""A story with one thing that is wrong, and its twin without the cause."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


@dataclass
class Broken:
    """One thing that is wrong, and what must be said of it."""

    outcome: str
    wrong: str  # where and interface of the first wrong hop, or its kind
    reason: str
    story: str = ""
    without: str = ""
    objects: tuple[dict[str, Any], ...] = ()
    to: str = "http://web-svc"


def check(bench: "Bench", broken: Broken) -> None:
    finding = bench.judge(
        broken.story or bench.answered,
        without=broken.without,
        snapshot=bench.cluster(*broken.objects),
        to=broken.to,
    )
    assert finding.word == "refuted", finding
    assert finding.outcome == broken.outcome
    assert broken.reason in finding.reason
    assert finding.wrong is not None
    assert f"{finding.wrong.where} {finding.wrong.interface or finding.wrong.kind}" == broken.wrong
    assert finding.wrong in finding.hops
    assert bench.judge(bench.answered).word == "confirmed", "the twin without the cause"
