"""The table: small changes, and changes that nobody can see."""

import copy
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from podwire.dns.cluster.published import PublishedService
from podwire.dns.cluster.records import Shelf, Table
from podwire.dns.cluster.watched import ServiceImport, WatchedPod, WatchedService, WatchedSlice
from podwire.dns.messages.message import Kind
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace

NOW = 1_700_000_000.9


def service(**spec: Any) -> WatchedService:
    given = {"clusterIPs": ["10.96.0.7"], "ports": [{"port": 80}], **spec}
    return convert(
        WatchedService, {"metadata": {"name": "web", "namespace": "shop"}, "spec": given}
    )


def slice_(*addresses: str, service: str = "web", **conditions: bool) -> WatchedSlice:
    return convert(
        WatchedSlice,
        {
            "metadata": {
                "name": "web-1",
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": service},
            },
            "endpoints": [{"addresses": [a], "conditions": conditions} for a in addresses],
            "ports": [{"port": 80}],
        },
    )


def pod(ip: str = "10.244.1.5", phase: str = "Running", *, ends: bool = False) -> WatchedPod:
    metadata = {"name": "web-0", "namespace": "shop"}
    if ends:
        metadata["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    return convert(WatchedPod, {"metadata": metadata, "status": {"podIP": ip, "phase": phase}})


def named(name: str, given: WatchedSlice) -> WatchedSlice:
    metadata = msgspec.structs.replace(given.metadata, name=name)
    return msgspec.structs.replace(given, metadata=metadata)


def known(table: Table) -> PublishedService | None:
    entry = table.entry("web.shop")
    return entry.service if entry else None


def contents(table: Table) -> dict[str, Any]:
    """Return a copy of all that the table holds, its counters apart."""
    found = {k: vars(v) if isinstance(v, Shelf) else v for k, v in vars(table).items()}
    counters = ("revision", "serial", "import_serial")
    return copy.deepcopy({k: v for k, v in found.items() if k not in counters})


def test_the_serial_is_the_time_of_the_last_change() -> None:
    table = Table()
    assert table.serial == 0
    table.change_namespace(None, convert(Namespace, {"metadata": {"name": "shop"}}))
    assert (table.serial, table.revision) == (0, 1)
    table.change_service(None, service(), now=NOW)
    assert (table.serial, table.revision) == (1_700_000_000, 2)


@pytest.mark.parametrize(
    ("old", "new", "is_seen"),
    [
        (slice_("10.0.0.1"), slice_("10.0.0.1"), False),
        (slice_("10.0.0.1"), slice_("10.0.0.1", "10.0.0.2"), True),
        (slice_("10.0.0.1"), slice_("10.0.0.1", ready=False), True),
        (slice_("10.0.0.1", ready=False), slice_("10.0.0.2", ready=False), False),
        (slice_("10.0.0.1"), slice_("10.0.0.1", ready=True, serving=True), False),
        (slice_("10.0.0.1"), slice_("10.0.0.1", service="other"), True),
        (slice_("10.0.0.1"), slice_("10.0.0.1", service=""), True),
    ],
)
def test_only_what_can_be_seen_is_a_change(
    old: WatchedSlice,
    new: WatchedSlice,
    is_seen: bool,  # noqa: FBT001 - a table's column
) -> None:
    table = Table()
    table.change_slice(None, old, now=NOW)
    before = table.revision
    table.change_slice(old, new, now=NOW)
    assert (table.revision > before) is is_seen


def test_what_goes_leaves_nothing_behind() -> None:
    table = Table()
    empty = contents(table)
    one, two, three = service(), slice_("10.0.0.1", "10.0.0.2"), pod()
    for _ in range(2):
        table.change_service(None, one, now=NOW)
        table.change_service(one, service(clusterIPs=["10.96.0.8", "fd00::8"]), now=NOW)
        table.change_slice(None, two, now=NOW)
        table.change_pod(None, three, now=NOW)
        assert list(table.services_at(ip_address("10.96.0.7"))) == []
        assert len(list(table.services_at(ip_address("fd00::8")))) == 1
        table.change_service(one, None, now=NOW)
        table.change_slice(two, None, now=NOW)
        table.change_pod(three, None, now=NOW)
        assert contents(table) == empty


def test_equal_slices_are_two() -> None:
    one, other = slice_("10.0.0.1"), named("web-2", slice_("10.0.0.1"))
    table = Table()
    table.change_slice(None, one, now=NOW)
    table.change_slice(None, other, now=NOW)
    assert len(table.slices_at(ip_address("10.0.0.1"))) == 2
    table.change_slice(one, None, now=NOW)
    assert len(table.slices_at(ip_address("10.0.0.1"))) == 1
    entry = table.entry("web.shop")
    assert entry is not None
    assert len(entry.slices) == 1


def test_a_slice_may_change_its_service() -> None:
    table = Table()
    table.change_slice(None, slice_("10.0.0.1"), now=NOW)
    table.change_slice(slice_("10.0.0.1"), slice_("10.0.0.1", service="other"), now=NOW)
    assert table.entry("web.shop") is None
    entry = table.entry("other.shop")
    assert entry is not None
    assert [one.service for one in entry.slices] == ["other.shop"]


def test_a_changed_slice_keeps_its_place() -> None:
    table = Table()
    table.change_slice(None, slice_("10.0.0.1"), now=NOW)
    table.change_slice(None, named("web-2", slice_("10.0.0.2")), now=NOW)
    table.change_slice(slice_("10.0.0.1"), slice_("10.0.0.3"), now=NOW)
    entry = table.entry("web.shop")
    assert entry is not None
    assert entry.endpoint_addresses(Kind.A) == (ip_address("10.0.0.3"), ip_address("10.0.0.2"))


def test_a_change_of_the_cluster_set_is_not_one_of_the_cluster() -> None:
    table = Table()
    made = convert(ServiceImport, {"metadata": {"name": "web", "namespace": "shop"}, "spec": {}})
    table.change_import(None, made, now=NOW)
    assert (table.serial, table.import_serial, table.revision) == (0, 1_700_000_000, 1)
    table.change_imported_slice(None, slice_("10.0.0.1"), now=NOW)
    assert table.revision == 1
    assert known(table) is None


def test_a_change_may_be_reported_twice_or_too_late() -> None:
    table = Table()
    table.change_service(None, service(), now=NOW)
    table.change_service(None, service(), now=NOW)
    table.change_service(service(), None, now=NOW)
    table.change_service(service(), None, now=NOW)
    assert known(table) is None
    assert table.revision == 2


@pytest.mark.parametrize(
    ("seen", "is_known"),
    [
        ([pod()], True),
        ([pod(phase="Pending")], True),
        ([pod(ends=True)], False),
        ([pod(), pod(ends=True)], True),
        ([pod(), pod(phase="Succeeded")], False),
        ([pod(""), pod()], True),
        ([pod(), None], False),
    ],
    ids=[
        "running",
        "pending",
        "first seen ending",
        "known, ending",
        "over",
        "late address",
        "gone",
    ],
)
def test_pods(seen: list[WatchedPod | None], is_known: bool) -> None:  # noqa: FBT001 - a table's column
    table = Table()
    old: WatchedPod | None = None
    for new in seen:
        table.change_pod(old, new, now=NOW)
        old = new
    assert table.has_pod("10.244.1.5", "shop") is is_known
    assert not table.has_pod("10.244.1.5", "other")


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ({"type": "ExternalName", "externalName": "www.Example.com"}, "www.Example.com."),
        ({"type": "ExternalName", "externalName": "www.example.com."}, "www.example.com."),
        ({"type": "ExternalName", "externalName": "192.0.2.1"}, ""),
        ({"type": "ExternalName", "externalName": "2001:db8::1"}, ""),
    ],
)
def test_external_names(spec: dict[str, Any], target: str) -> None:
    table = Table()
    table.change_service(None, service(**spec), now=NOW)
    published = known(table)
    assert published is not None
    assert (published.is_external, published.target, published.addresses) == (True, target, ())
