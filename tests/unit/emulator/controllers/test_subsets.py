from typing import Any

import pytest

from podwire.emulator.controllers.services.endpoints import wanted_endpoints
from podwire.emulator.controllers.services.subsets import subsets_of, truncated
from podwire.kube.objects import (
    EndpointAddress,
    EndpointSubset,
    Pod,
    Service,
    ServicePort,
    ServiceSpec,
)
from podwire.testing import build


def up(number: int, **parts: Any) -> Pod:
    ip = f"10.244.1.{number}"
    with_defaults: dict[str, Any] = {"node": "node-1", "ip": ip, "ready": True, **parts}
    return build.pod(f"web-{number}", **with_defaults)


def words(subsets: tuple[EndpointSubset, ...]) -> list[str]:
    """Return `2 3 (4) : 8080` for each subset: addresses' last numbers, (not ready), ports."""
    found: list[str] = []
    for subset in subsets:
        ready = [a.ip.rpartition(".")[2] for a in subset.addresses]
        not_ready = [f"({a.ip.rpartition('.')[2]})" for a in subset.not_ready_addresses]
        ports = [str(p.port) for p in subset.ports]
        found.append(" ".join([*ready, *not_ready, ":", *ports]))
    return found


PUBLISHING = build.service(
    "web",
    spec=ServiceSpec(
        selector={"app": "web"},
        publish_not_ready_addresses=True,
        ports=(ServicePort(port=80, target_port=8080),),
    ),
)
NAMED = build.service("web", ports=[ServicePort(port=80, name="http", target_port="web")])


@pytest.mark.parametrize(
    ("service", "pods", "expected"),
    [
        (build.service("web"), [], []),
        (build.service("web"), [up(10), up(9)], ["9 10 : 8080"]),
        (build.service("web"), [up(2), up(3, ready=False)], ["2 (3) : 8080"]),
        (build.service("web"), [up(2), up(3, deleted=True)], ["2 : 8080"]),
        (build.service("web"), [up(2, phase="Succeeded")], []),
        (PUBLISHING, [up(2, ready=False), up(3, deleted=True)], ["2 3 : 8080"]),
        (NAMED, [up(2, ports={"web": 1}), up(3, ports={"web": 2})], ["2 : 1", "3 : 2"]),
        (NAMED, [up(2, ports={"other": 1})], []),
        (build.service("web", ports=[], cluster_ip="None"), [up(2)], ["2 :"]),
    ],
)
def test_subsets(service: Service, pods: list[Pod], expected: list[str]) -> None:
    assert words(subsets_of(service, pods)) == expected


def subset(ready: int, not_ready: int = 0) -> EndpointSubset:
    def some(count: int) -> tuple[EndpointAddress, ...]:
        return tuple(EndpointAddress(ip=f"10.0.0.{n}") for n in range(count))

    return EndpointSubset(addresses=some(ready), not_ready_addresses=some(not_ready))


@pytest.mark.parametrize(
    ("subsets", "kept"),
    [
        ([subset(10)], None),
        ([subset(11)], [(10, 0)]),
        ([subset(8, 8)], [(8, 2)]),
        ([subset(12, 8)], [(10, 0)]),
        ([subset(15), subset(5)], [(8, 0), (2, 0)]),
        ([subset(5, 5), subset(3, 5)], [(5, 1), (3, 1)]),
    ],
)
def test_too_many_addresses(
    subsets: list[EndpointSubset], kept: list[tuple[int, int]] | None
) -> None:
    cut = truncated(subsets, limit=10)
    sizes = cut and [(len(s.addresses), len(s.not_ready_addresses)) for s in cut]
    assert sizes == kept


def test_the_object() -> None:
    service = build.service("web", labels={"team": "shop"}, cluster_ip="None")
    made = wanted_endpoints(service, [up(2)], None, {"when": "now"})
    assert made
    assert made.metadata.name == "web"
    assert made.metadata.labels == {"team": "shop", "service.kubernetes.io/headless": ""}
    assert made.metadata.annotations == {"when": "now"}
    # A new time alone is no reason to write.
    assert wanted_endpoints(service, [up(2)], made, {"when": "later"}) is None
    changed = wanted_endpoints(service, [up(3)], made, {})
    assert changed
    assert changed.metadata.annotations == {"when": "now"}
