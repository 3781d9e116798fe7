"""How many pods a budget lets go."""

from typing import Any

import msgspec
import pytest

from podwire.emulator.controllers.workloads.budget_plan import (
    Expected,
    NoScale,
    Scale,
    budget_status,
    expected,
    failed_status,
    recheck_in,
)
from podwire.kube.clock import rfc3339
from podwire.kube.objects import Pod, PodDisruptionBudget
from podwire.testing import build

NOW = build.MOMENT + 1000
OWNER = build.replica_set("web-1")


def budget(*, disrupted: dict[str, str] | None = None, **spec: Any) -> PodDisruptionBudget:
    made = msgspec.convert(
        {"spec": spec, "status": {"disruptedPods": disrupted or {}}}, PodDisruptionBudget
    )
    return msgspec.structs.replace(made, metadata=build.meta("b", generation=2))


def pods(text: str) -> list[Pod]:
    """Read `a b:sick c:leaving d:lone`: pods and how they are."""
    return [
        build.pod(
            name,
            ready=words != "sick",
            deleted=words == "leaving",
            owner=None if words == "lone" else OWNER,
        )
        for name, _, words in (item.partition(":") for item in text.split())
    ]


@pytest.mark.parametrize(
    ("spec", "present", "said"),
    [
        # of the budget: allowed, healthy, desired, expected
        ({"minAvailable": 2}, "a b c", (1, 3, 2, 3)),
        ({"minAvailable": 2}, "a b:sick c:leaving", (0, 1, 2, 3)),
        ({"minAvailable": 2}, "a:lone b:lone c:lone", (1, 3, 2, 3)),
        ({"minAvailable": 0}, "", (0, 0, 0, 0)),
        # A share is one of what the owner wants, not of what there is.
        ({"minAvailable": "50%"}, "a b c", (1, 3, 2, 4)),
        ({"minAvailable": "34%"}, "a b c", (1, 3, 2, 4)),
        ({"maxUnavailable": 1}, "a b c", (0, 3, 3, 4)),
        ({"maxUnavailable": "50%"}, "a b c", (1, 3, 2, 4)),
        ({"maxUnavailable": 9}, "a b c", (3, 3, 0, 4)),
    ],
)
def test_what_may_go(spec: dict[str, Any], present: str, said: tuple[int, ...]) -> None:
    asked, there = budget(**spec), pods(present)
    wanted = expected(asked, there, {OWNER.metadata.uid: Scale("deployment", 4)})
    status = budget_status(asked, there, wanted, now=NOW)
    found = status.disruptions_allowed, status.current_healthy
    assert (*found, status.desired_healthy, status.expected_pods) == said
    [condition] = status.conditions
    assert condition.reason == ("SufficientPods" if said[0] else "InsufficientPods")
    assert status.observed_generation == 2


def test_a_deployment_counts_once_during_an_update() -> None:
    other = build.replica_set("web-2")
    there = [*pods("a b"), build.pod("c", ready=True, owner=other)]
    scales = {r.metadata.uid: Scale("deployment", 3) for r in (OWNER, other)}
    assert expected(budget(maxUnavailable=1), there, scales) == Expected(3, 2)


def test_nobody_says_how_many_there_should_be() -> None:
    with pytest.raises(NoScale, match='found no controllers for pod "a"'):
        expected(budget(maxUnavailable=1), pods("a"), {})
    status = failed_status(budget(maxUnavailable=1), "why", now=NOW)
    assert status.disruptions_allowed == 0
    assert [(c.reason, c.message) for c in status.conditions] == [("SyncFailed", "why")]


def test_an_evicted_pod_counts_as_gone_for_a_while() -> None:
    since = {"a": rfc3339(NOW - 20), "b": rfc3339(NOW - 200), "x": rfc3339(NOW)}
    asked = budget(disrupted=since, minAvailable=0)
    status = budget_status(asked, pods("a b c"), Expected(3, 0), now=NOW)
    assert status.current_healthy == 2
    assert list(status.disrupted_pods) == ["a"]
    assert recheck_in(status, now=NOW) == 101
