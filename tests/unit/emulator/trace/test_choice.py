from typing import TYPE_CHECKING, Any

import pytest

from podwire.emulator.trace.choice import choose
from podwire.emulator.trace.modes import Via

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

LOCAL_INSIDE = {"internalTrafficPolicy": "Local"}
LOCAL_OUTSIDE = {"externalTrafficPolicy": "Local"}


@pytest.mark.parametrize(
    ("endpoints", "chosen"),
    [
        ("10.244.1.6, 10.244.2.6", "10.244.1.6:80 10.244.2.6:80"),
        ("10.244.1.6 not-ready, 10.244.2.6", "10.244.2.6:80"),
        ("10.244.1.6 draining, 10.244.2.6", "10.244.2.6:80"),
        ("10.244.1.6 draining, 10.244.2.6 not-ready", "10.244.1.6:80"),
        ("10.244.1.6 not-ready", "refused"),
        ("", "refused"),
        ("10.244.1.6 zone-1, 10.244.2.6 zone-2", "10.244.1.6:80"),
        ("10.244.1.6 zone-1, 10.244.2.6", "10.244.1.6:80 10.244.2.6:80"),
        ("10.244.1.6 zone-3, 10.244.2.6 zone-2", "10.244.1.6:80 10.244.2.6:80"),
        ("10.244.1.6, 10.244.1.6", "10.244.1.6:80"),
    ],
)
def test_endpoints_that_node_1_may_use(bench: "Bench", endpoints: str, chosen: str) -> None:
    assert picked(bench, endpoints) == chosen


@pytest.mark.parametrize(
    ("policy", "via", "here", "endpoints", "chosen"),
    [
        (LOCAL_INSIDE, "ClusterIP", True, "10.244.1.6, 10.244.2.6", "10.244.1.6:80"),
        (LOCAL_INSIDE, "ClusterIP", True, "10.244.2.6", "timed out"),
        (LOCAL_INSIDE, "ClusterIP", True, "", "refused"),
        (LOCAL_INSIDE, "ClusterIP", True, "10.244.1.6 draining, 10.244.2.6", "10.244.1.6:80"),
        (LOCAL_INSIDE, "NodePort", False, "10.244.2.6", "10.244.2.6:80"),
        (LOCAL_OUTSIDE, "NodePort", False, "10.244.2.6", "timed out"),
        (LOCAL_OUTSIDE, "NodePort", False, "10.244.1.6, 10.244.2.6", "10.244.1.6:80"),
        (LOCAL_OUTSIDE, "NodePort", True, "10.244.2.6", "10.244.2.6:80"),
        (LOCAL_OUTSIDE, "ClusterIP", True, "10.244.2.6", "10.244.2.6:80"),
    ],
)
def test_traffic_policies(
    bench: "Bench",
    policy: dict[str, str],
    via: Via,
    here: bool,  # noqa: FBT001 - a column of the table
    endpoints: str,
    chosen: str,
) -> None:
    assert picked(bench, endpoints, via=via, here=here, **policy) == chosen


def picked(
    bench: "Bench",
    endpoints: str,
    *,
    via: Via = "ClusterIP",
    here: bool = True,
    **policy: Any,
) -> str:
    snapshot = bench.cluster(
        bench.service("default/web-svc", "10.96.14.7", **policy),
        bench.slice("default/web-svc", endpoints),
    )
    service = snapshot.service("default/web-svc")
    assert service is not None
    port = service.spec.ports[0]
    found = choose(snapshot, service, port, node="node-1", via=via, from_here=here)
    return " ".join(map(str, found.backends)) or found.outcome
