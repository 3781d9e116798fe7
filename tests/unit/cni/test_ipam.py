"""Which address a pod gets: host-local's rules."""

from ipaddress import ip_address
from itertools import islice
from typing import Any

import pytest

from podwire.cni.ipam import RangeSet, candidates, next_free, parse_host_local, requested_lease


def ranges(*written: str) -> RangeSet:
    """Return a set from words like "10.0.0.0/29" or "10.0.0.0/24 10.0.0.5-10.0.0.7"."""
    items: list[dict[str, str]] = []
    for each in written:
        subnet, _, bounds = each.partition(" ")
        first, _, last = bounds.partition("-")
        items.append({"subnet": subnet, "rangeStart": first, "rangeEnd": last})
    (only,) = parse_host_local({"ranges": [items]}).sets
    return only


@pytest.mark.parametrize(
    ("written", "after", "order"),
    [
        (["10.0.0.0/29"], None, ".2 .3 .4 .5 .6"),
        (["10.0.0.0/29"], "10.0.0.4", ".5 .6 .2 .3 .4"),
        (["10.0.0.0/29"], "10.0.0.6", ".2 .3 .4 .5 .6"),
        (["10.0.0.0/29"], "10.9.9.9", ".2 .3 .4 .5 .6"),
        (["10.0.0.0/24 10.0.0.5-10.0.0.7"], "10.0.0.5", ".6 .7 .5"),
        (["10.0.0.0/24 10.0.0.5-10.0.0.5"], "10.0.0.5", ".5"),
        (["10.0.0.0/29 10.0.0.0-10.0.0.7"], None, ".2 .3 .4 .5 .6"),
        (["10.0.0.0/24 10.0.0.255-10.0.0.255"], None, ""),
        (
            ["10.0.0.0/28 10.0.0.2-10.0.0.3", "10.0.0.16/28 10.0.0.20-10.0.0.21"],
            None,
            ".2 .3 .20 .21",
        ),
        (
            ["10.0.0.0/28 10.0.0.2-10.0.0.3", "10.0.0.16/28 10.0.0.20-10.0.0.21"],
            "10.0.0.20",
            ".21 .2 .3 .20",
        ),
    ],
)
def test_order(written: list[str], after: str | None, order: str) -> None:
    start = ip_address(after) if after else None
    found = [
        str(address).removeprefix("10.0.0") for address, _ in candidates(ranges(*written), start)
    ]
    assert found == order.split()


def test_ipv6_has_no_broadcast_address() -> None:
    found = [str(address) for address, _ in candidates(ranges("fd00::/126"), None)]
    assert found == ["fd00::2", "fd00::3"]


def test_large_ranges_are_not_walked() -> None:
    first = [str(address) for address, _ in islice(candidates(ranges("fd00::/64"), None), 2)]
    assert first == ["fd00::2", "fd00::3"]


@pytest.mark.parametrize(
    ("taken", "after", "address"),
    [
        ("", None, "10.0.0.2/29"),
        ("10.0.0.2", None, "10.0.0.3/29"),
        ("10.0.0.5 10.0.0.6", "10.0.0.4", "10.0.0.2/29"),
        ("10.0.0.2 10.0.0.3 10.0.0.5 10.0.0.6", "10.0.0.4", "10.0.0.4/29"),
        ("10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6", "10.0.0.4", None),
    ],
)
def test_next_free(taken: str, after: str | None, address: str | None) -> None:
    start = ip_address(after) if after else None
    lease = next_free(ranges("10.0.0.0/29"), taken.split(), start)
    assert (None if lease is None else str(lease.address)) == address
    assert lease is None or str(lease.gateway) == "10.0.0.1"


def test_small_ipv6_numbers_stay_ipv6() -> None:
    lease = next_free(ranges("::/120"), [], None)
    assert lease is not None
    assert str(lease.address) == "::2/120"


@pytest.mark.parametrize(
    ("wanted", "given"),
    [("10.0.0.4", "10.0.0.4/29"), ("10.9.0.4", None), ("10.9.0.4 10.0.0.5", "10.0.0.5/29")],
)
def test_requested(wanted: str, given: str | None) -> None:
    asked = [ip_address(each) for each in wanted.split()]
    lease = requested_lease(ranges("10.0.0.0/29"), asked, ["10.0.0.3"])
    assert (None if lease is None else str(lease.address)) == given


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("10.0.0.1", "requested ip 10.0.0.1 is subnet's gateway"),
        ("10.0.0.0", "requested IP address 10.0.0.0 is not available"),
        (
            "10.0.0.3",
            "requested IP address 10.0.0.3 is not available in range set 10.0.0.0-10.0.0.6",
        ),
    ],
)
def test_requested_in_vain(wanted: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        requested_lease(ranges("10.0.0.0/29 10.0.0.0-10.0.0.6"), [ip_address(wanted)], ["10.0.0.3"])


@pytest.mark.parametrize(
    ("ipam", "message"),
    [
        (dict[str, Any](), "no IP ranges specified"),
        ({"ranges": [list[Any]()]}, "empty range set"),
        ({"subnet": "10.0.0.0"}, "invalid CIDR address: 10.0.0.0"),
        ({"subnet": "10.0.0.0/33"}, "'subnet': invalid CIDR address: 10.0.0.0/33"),
        ({"subnet": "10.0.0.0/255.0.0.0"}, "'subnet': invalid CIDR address"),
        ({"subnet": "10.0.0.0/24", "gateway": "x"}, "'gateway' must be an IP address, not 'x'"),
        ({"subnet": "10.0.0.0/24", "gateway": "fd00::1"}, "another family than 10.0.0.0/24"),
        ({"subnet": "10.0.0.0/31"}, "Network 10.0.0.0/31 too small to allocate from"),
        ({"subnet": "10.0.0.9/24"}, "mask of length 24 the network address is 10.0.0.0"),
        ({"subnet": "10.0.0.0/24", "rangeStart": "10.1.0.1"}, "RangeStart 10.1.0.1 not in network"),
        ({"subnet": "10.0.0.0/24", "rangeEnd": "10.1.0.1"}, "RangeEnd 10.1.0.1 not in network"),
        (
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"},
            "RangeStart 10.0.0.9 is after RangeEnd 10.0.0.8",
        ),
        (
            {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]},
            "mixed address families",
        ),
        (
            {"subnet": "10.0.0.0/24", "ranges": [[{"subnet": "10.0.0.128/25"}]]},
            "range set 0 overlaps with 1",
        ),
        (
            {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/25"}]]},
            "overlap",
        ),
    ],
)
def test_refused(ipam: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        parse_host_local(ipam)
    assert message in str(raised.value)
