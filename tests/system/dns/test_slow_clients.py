"""A thousand slow and half-open TCP clients: who asks by UDP is not kept waiting."""

from typing import Any

from tests.system.dns import crowding, inside
from tests.system.dns.files import DATA, read

Json = dict[str, Any]

DELAY = 0.010
"""Seconds that an answer may be later than without the crowd."""

GROWTH = 32 << 20
"""Bytes that a thousand clients may cost: 32 kB each."""


def test_udp_answers_come_all_the_same() -> None:
    wanted = {"fixture": read(DATA / "cases.json")["fixtures"]["shop"]}
    seen: Json = inside.play(crowding.crowd, wanted)
    assert seen["ended"] is None, seen["log"]
    assert "Traceback" not in seen["log"]
    # The ninetieth of a hundred, of the best look: other processes of the machine, the crowd's own
    # too, take turns. A server that keeps its clients waiting does so at every look.
    ninetieth = crowding.QUERIES * 9 // 10
    beside = min(times[ninetieth] for times in seen["beside"])
    assert beside - seen["alone"][ninetieth] < DELAY
    assert seen["grown"] < GROWTH
    assert seen["tcp"], "an honest TCP client gets no answer"
