from typing import Any

import pytest

from podwire.emulator.controllers.victims import victims
from podwire.kube.objects import Pod
from podwire.testing import build

NOW = build.MOMENT + 100_000
COST = "controller.kubernetes.io/pod-deletion-cost"


def up(name: str, **parts: Any) -> Pod:
    with_defaults: dict[str, Any] = {"node": "node-1", "ready": True, **parts}
    return build.pod(name, **with_defaults)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (build.pod("unassigned", phase="Pending"), up("assigned", phase="Pending", ready=False)),
        (up("pending", phase="Pending", ready=False), up("running", ready=False)),
        (up("pending", phase="Pending", ready=False), up("unknown", phase="Unknown", ready=False)),
        (up("unknown", phase="Unknown", ready=False), up("running", ready=False)),
        (up("not-ready", ready=False), up("ready")),
        (up("cheap", annotations={COST: "-5"}), up("dear", annotations={COST: "3"})),
        (up("cheap"), up("dear", annotations={COST: "3"})),
        (up("same"), up("typo", annotations={COST: "much"}, created=build.MOMENT - 1e6)),
        (up("lately-ready", since=NOW - 5), up("long-ready", since=NOW - 5000)),
        (up("restarted", restarts=4), up("calm", restarts=1)),
        (up("young", created=NOW - 10), up("old", created=NOW - 10_000)),
        # The same order of magnitude: chance decides, and the uid is chance.
        (up("b", uid="1", since=NOW - 6), up("a", uid="2", since=NOW - 5)),
    ],
)
def test_who_goes_first(first: Pod, second: Pod) -> None:
    for order in ([first, second], [second, first]):
        [victim] = victims(order, 1, now=NOW)
        assert victim.metadata.name == first.metadata.name


def test_the_crowded_node_gives_first() -> None:
    lonely = up("lonely", node="node-2", since=NOW - 5)
    crowded = [up(f"crowded-{n}", node="node-1", since=NOW - 50_000) for n in range(2)]
    everybody = [lonely, *crowded]
    [victim] = victims(everybody, 1, related=everybody, now=NOW)
    assert victim.spec.node_name == "node-1"
    # Without the crowd the younger one would have gone.
    [victim] = victims(everybody, 1, now=NOW)
    assert victim is lonely


def test_all_of_them_if_there_are_not_enough() -> None:
    pods = (up("a"), up("b"))
    assert victims(pods, 5, now=NOW) == pods
