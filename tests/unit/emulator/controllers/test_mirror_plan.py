from typing import Any

import pytest

from podwire.emulator.controllers.services.mirror_plan import (
    is_mirrored,
    left_out,
    mirror_metadata,
    mirrored,
)
from podwire.kube.codec import convert
from podwire.kube.objects import Endpoints, ServiceSpec
from podwire.testing import build

SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"


def endpoints(*subsets: dict[str, Any], **metadata: Any) -> Endpoints:
    return convert(Endpoints, {"metadata": {"name": "db", **metadata}, "subsets": list(subsets)})


def addresses(count: int, network: str = "203.0") -> list[dict[str, str]]:
    return [{"ip": f"{network}.{n // 250}.{n % 250 + 1}"} for n in range(count)]


@pytest.mark.parametrize(
    ("metadata", "spec", "expected"),
    [
        ({}, ServiceSpec(), True),
        ({"labels": {SKIP: "true"}}, ServiceSpec(), False),
        ({"labels": {SKIP: "false"}}, ServiceSpec(), True),
        ({"annotations": {LEADER: "{}"}}, ServiceSpec(), False),
        ({}, ServiceSpec(selector={"app": "db"}), False),
        ({}, ServiceSpec(type="ExternalName", external_name="example.org"), False),
        ({}, None, False),
    ],
)
def test_who_is_mirrored(
    *, metadata: dict[str, Any], spec: ServiceSpec | None, expected: bool
) -> None:
    service = None if spec is None else build.service("db", spec=spec)
    assert is_mirrored(endpoints(**metadata), service) == expected


def test_a_mirror_has_a_slice_for_each_family_and_set_of_ports() -> None:
    both = [{"ip": "203.0.113.1"}, {"ip": "2001:db8::1"}]
    found = mirrored(
        endpoints(
            {
                "addresses": both,
                "notReadyAddresses": [{"ip": "203.0.113.2"}],
                "ports": [{"port": 80}],
            },
            {"addresses": [{"ip": "203.0.113.3"}], "ports": [{"port": 81}]},
        )
    )
    shown = {
        (group.family, group.ports[0].port): [(e.addresses[0], e.conditions.ready) for e in members]
        for group, members in found.items()
    }
    assert shown == {
        ("IPv4", 80): [("203.0.113.1", True), ("203.0.113.2", False)],
        ("IPv6", 80): [("2001:db8::1", True)],
        ("IPv4", 81): [("203.0.113.3", True)],
    }


@pytest.mark.parametrize(
    ("subsets", "expected"),
    [
        ([{"addresses": addresses(1000)}], []),
        # The limit is for each subset; those that are not ready give way.
        ([{"addresses": addresses(1000)}, {"addresses": addresses(1000, "198.51")}], []),
        (
            [{"addresses": addresses(998), "notReadyAddresses": addresses(5, "198.51")}],
            [
                "TooManyAddressesToMirror: A max of 1000 addresses can be mirrored to "
                "EndpointSlices per Endpoints subset. 3 addresses were skipped"
            ],
        ),
        (
            [{"addresses": [{"ip": "203.0.113.1"}, {"ip": "database"}]}],
            ["InvalidIPAddress: Skipped 1 invalid IP addresses when mirroring to EndpointSlices"],
        ),
    ],
)
def test_what_is_left_out_is_told(subsets: list[dict[str, Any]], expected: list[str]) -> None:
    told = [f"{reason}: {message}" for reason, message in left_out(endpoints(*subsets))]
    assert told == expected


def test_what_a_mirror_is_called() -> None:
    metadata = mirror_metadata(
        endpoints(
            labels={"team": "shop"},
            annotations={
                "a": "b",
                "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
        )
    )
    assert metadata.labels == {
        "team": "shop",
        "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert metadata.annotations == {"a": "b"}
    assert metadata.owner_references[0].kind == "Endpoints"
