from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Protocol, Target, Verdict
from podwire.proxy.userspace.changes import Changes, between, leading, let_in
from podwire.proxy.userspace.routes import Frontend, Kind, Route

A, B = (Backend(IPv4Address(f"10.244.1.{n}"), 80) for n in (1, 2))
POD_RANGE = IPv4Network("10.244.1.0/24")
OFFICE = IPv4Network("203.0.113.0/24")


def frontend(protocol: Protocol = "TCP", port: int = 80) -> Frontend:
    return Frontend(IPv4Address("10.96.0.80"), port, protocol)


def target(where: Verdict | tuple[Backend, ...]) -> Target:
    return Target(where) if isinstance(where, str) else Target("FORWARD", where)


def route(
    inside: Verdict | tuple[Backend, ...],
    outside: Verdict | tuple[Backend, ...] | None = None,
    *,
    sources: tuple[IPv4Network, ...] = (),
    lasting: tuple[Backend, ...] = (A, B),
) -> Route:
    return Route(
        PortName("default", "web"),
        "NodePort",
        target(inside),
        target(inside if outside is None else outside),
        frozenset(lasting),
        sources=sources,
    )


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (None, route((A,)), "open"),
        (None, route("REJECT"), ""),
        (None, route("DROP"), "open"),
        (route((A,)), route((A,)), ""),
        (route((A,)), route((A, B)), "adjust"),
        (route((A,)), route("DROP"), "adjust"),
        (route((A,)), route((A,), "DROP"), "adjust"),
        (route((A,)), route("REJECT"), "close"),
        (route((A,)), None, "close"),
        (route("REJECT"), route((A,)), "open"),
        (route("REJECT"), None, ""),
        (route("DROP"), route("REJECT"), "close"),
    ],
)
def test_what_a_frontend_needs(old: Route | None, new: Route | None, what: str) -> None:
    key = frontend()
    changes = between({key: old} if old else {}, {key: new} if new else {})
    assert changes == Changes(
        open={key: new} if what == "open" and new else {},
        adjust={key: new} if what == "adjust" and new else {},
        close=(key,) if what == "close" else (),
    )
    assert bool(changes) is bool(what)


def test_a_port_of_sctp_never_gets_a_listener() -> None:
    """Userspace speaks TCP and UDP; without a listener the kernel refuses."""
    key = frontend("SCTP")
    for old, new in (({}, {key: route((A,))}), ({key: route((A,))}, {key: route((B,))})):
        assert between(old, new) == Changes()
    assert between({key: route((A,))}, {}) == Changes()


@pytest.mark.parametrize(
    ("protocol", "lasting_before", "lasting_after", "cut"),
    [
        ("UDP", (A, B), (A,), (B,)),
        ("UDP", (A,), (A, B), ()),
        ("UDP", (A, B), (A, B), ()),
        ("TCP", (A, B), (A,), ()),
    ],
    ids=["endpoint gone", "endpoint come", "not ready but serving", "TCP is never cut"],
)
def test_flows_that_are_cut(
    protocol: Protocol,
    lasting_before: tuple[Backend, ...],
    lasting_after: tuple[Backend, ...],
    cut: tuple[Backend, ...],
) -> None:
    key = frontend(protocol)
    changes = between(
        {key: route((A, B), lasting=lasting_before)}, {key: route((A,), lasting=lasting_after)}
    )
    assert changes.cut == tuple((key, backend) for backend in cut)


@pytest.mark.parametrize(
    ("wish", "heard"),
    [
        (route((A,)), None),
        (route("DROP"), ()),
        (route((A,), "DROP"), (POD_RANGE,)),
        (route((A,), sources=(OFFICE,)), (OFFICE,)),
        (route((A,), "DROP", sources=(OFFICE,)), ()),
        (
            route((A,), "DROP", sources=(OFFICE, IPv4Network("10.244.1.7/32"))),
            (IPv4Network("10.244.1.7/32"),),
        ),
        (route((A,), "DROP", sources=(IPv4Network("10.0.0.0/8"),)), (POD_RANGE,)),
    ],
    ids=[
        "everyone",
        "nobody",
        "policy Local without local endpoint",
        "source ranges",
        "both, apart",
        "both, range in pods",
        "both, pods in range",
    ],
)
def test_who_is_heard(wish: Route, heard: tuple[IPv4Network, ...] | None) -> None:
    assert let_in(wish, (POD_RANGE,)) == heard


@pytest.mark.parametrize(
    ("kind", "address", "where", "expected"),
    [
        ("ClusterIP", "10.96.0.80", (A,), None),
        ("ClusterIP", "10.112.0.80", (A,), "whole"),
        ("ClusterIP", "10.112.0.80", "REJECT", "whole"),
        ("NodePort", "192.168.1.10", (A,), None),
        ("ExternalIP", "192.168.1.11", (A,), "port"),
        ("ExternalIP", "192.168.1.11", "DROP", "port"),
        ("ExternalIP", "192.168.1.11", "REJECT", "refused"),
        ("ExternalIP", "10.96.0.80", "REJECT", None),
        ("LoadBalancer", "203.0.113.10", (A,), "port"),
    ],
)
def test_how_packets_come_to_be_this_nodes(
    kind: Kind, address: str, where: Verdict | tuple[Backend, ...], expected: str | None
) -> None:
    """Of an address that may be somebody's, another node's even, the port alone is taken in."""
    at = Frontend(IPv4Address(address), 80, "TCP")
    wanted = replace(route(where), kind=kind)
    assert leading(at, wanted, IPv4Network("10.96.0.0/12")) == expected
    assert leading(at, None, IPv4Network("10.96.0.0/12")) is None


def test_what_is_not_relayed_is_refused_at_external_addresses() -> None:
    assert leading(frontend("SCTP"), replace(route((A,)), kind="ExternalIP"), None) == "refused"
