"""What is told of a failure that lasts."""

import pytest

from podwire.kube.outage import LONGEST_PAUSE, Outage


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ("0 works", ""),
        ("0 away", "0 away"),
        ("0 away, 1 away, 9 away", "0 away"),
        ("0 away, 5 away, 10 away, 11 away", "0 away; 10 away (for 10 s now)"),
        (
            "0 away, 10 away, 39 away, 40 away, 129 away, 130 away",
            "0 away; 10 away (for 10 s now); 40 away (for 40 s now); 130 away (for 130 s now)",
        ),
        ("0 away, 1 works, 2 works", "0 away; 1 works again after 1.0 s"),
        ("0 away, 1 forbidden, 2 forbidden, 3 away", "0 away; 1 forbidden; 3 away"),
        ("0 away, 1 works, 2 away", "0 away; 1 works again after 1.0 s; 2 away"),
    ],
)
def test_a_failure_is_told_ever_more_seldom(events: str, told: str) -> None:
    outage, said = Outage(), list[str]()
    for event in events.split(", "):
        at, _, what = event.partition(" ")
        text = outage.worked(float(at)) if what == "works" else outage.failed(what, what, float(at))
        if text:
            said.append(f"{at} {text}")
    assert "; ".join(said) == told


def test_the_pauses_stop_growing() -> None:
    outage = Outage()
    at = [now for now in range(24 * 3600) if outage.failed("away", "", float(now))]
    assert at[-1] - at[-2] == LONGEST_PAUSE
