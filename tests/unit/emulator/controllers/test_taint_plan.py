"""Which taints a node has, and which pods they send away."""

import pytest

from podwire.emulator.controllers.nodes.taint_plan import leaves_in, wanted_taints
from podwire.kube.objects import Taint, Toleration
from podwire.testing import build

CORDON = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
OTHER = Taint(key="team", value="db", effect="NoExecute")
FOR_EVER = Toleration(key="team", operator="Equal", value="db", effect="NoExecute")
FOR_A_MINUTE = Toleration(key="team", operator="Exists", effect="NoExecute", toleration_seconds=60)
NOT_A_MOMENT = Toleration(key="team", operator="Exists", toleration_seconds=-5)
ANYTHING_AN_HOUR = Toleration(operator="Exists", toleration_seconds=3600)
SECOND = Taint(key="net", effect="NoExecute")


@pytest.mark.parametrize(
    ("cordoned", "present", "wanted"),
    [
        (False, (), ()),
        (False, (OTHER,), (OTHER,)),
        (True, (), (CORDON,)),
        (True, (OTHER,), (OTHER, CORDON)),
        (True, (CORDON, OTHER), (CORDON, OTHER)),
        (False, (CORDON, OTHER), (OTHER,)),
    ],
)
def test_taints_of_a_node(
    *, cordoned: bool, present: tuple[Taint, ...], wanted: tuple[Taint, ...]
) -> None:
    assert wanted_taints(build.node("n", unschedulable=cordoned, taints=present)) == wanted


@pytest.mark.parametrize(
    ("taints", "tolerations", "leaves"),
    [
        ((), (), None),
        ((CORDON,), (), None),
        ((OTHER,), (), 0),
        ((OTHER,), (FOR_EVER,), None),
        ((OTHER,), (FOR_A_MINUTE,), 60),
        ((OTHER,), (NOT_A_MOMENT,), 0),
        ((OTHER, SECOND), (FOR_EVER,), 0),
        ((OTHER, SECOND), (FOR_A_MINUTE, ANYTHING_AN_HOUR), 60),
        ((OTHER, SECOND), (FOR_EVER, ANYTHING_AN_HOUR), 3600),
    ],
)
def test_when_a_pod_leaves(
    taints: tuple[Taint, ...], tolerations: tuple[Toleration, ...], leaves: float | None
) -> None:
    assert leaves_in(taints, tolerations) == leaves
