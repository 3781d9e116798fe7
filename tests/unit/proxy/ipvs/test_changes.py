from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from podwire.proxy.ipvs.changes import Change, between, drained
from podwire.proxy.ipvs.plan import VirtualServer
from tests.unit.proxy.ipvs.written import frontend, there, wanted


def said(changes: tuple[Change, ...]) -> list[str]:
    """Return *changes* in a word each: what, and about whom."""
    found: list[str] = []
    for change in changes:
        about = getattr(change, "backend", change.frontend)
        found.append(f"{type(change).__name__} {str(about).removesuffix('/TCP')}")
    return found


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("", "", []),
        ("", "10.96.0.1:80", ["AddServer 10.96.0.1:80"]),
        (
            "",
            "10.96.0.1:80 -> 10.244.1.9:80 10.244.1.10:80",
            # In the order of their texts, as kube-proxy adds them.
            ["AddServer 10.96.0.1:80", "AddDestination 10.244.1.10:80", "AddDestination 10.244.1.9:80"],
        ),
        ("10.96.0.1:80 -> 10.244.1.2:80", "10.96.0.1:80 -> 10.244.1.2:80", []),
        # Nobody is on it: it goes at once. With connections it drains.
        ("10.96.0.1:80 -> 10.244.1.2:80", "10.96.0.1:80", ["DeleteDestination 10.244.1.2:80"]),
        ("10.96.0.1:80 -> 10.244.1.2:80+1", "10.96.0.1:80", ["Drain 10.244.1.2:80"]),
        # What drains stays until it is looked at; over UDP and SCTP nothing drains.
        ("10.96.0.1:80 -> 10.244.1.2:80!+1", "10.96.0.1:80", []),
        ("10.96.0.1:80 -> 10.244.1.2:80!", "10.96.0.1:80", []),
        ("10.96.0.1:53/UDP -> 10.244.1.2:53+4", "10.96.0.1:53/UDP", ["DeleteDestination 10.244.1.2:53"]),
        ("10.96.0.1:9/SCTP -> 10.244.1.2:9+4", "10.96.0.1:9/SCTP", ["DeleteDestination 10.244.1.2:9"]),
        # It comes back while it drains.
        (
            "10.96.0.1:80 -> 10.244.1.2:80!+1",
            "10.96.0.1:80 -> 10.244.1.2:80",
            ["DeleteDestination 10.244.1.2:80", "AddDestination 10.244.1.2:80"],
        ),
        # A virtual server takes its destinations with it, whatever they have.
        ("10.96.0.1:80 -> 10.244.1.2:80+7", "", ["DeleteServer 10.96.0.1:80"]),
        ("172.30.0.1:80; 10.96.0.1:80", "", ["DeleteServer 10.96.0.1:80"]),
    ],
)  # fmt: skip
def test_between(before: str, after: str, changes: list[str]) -> None:
    excluded = (IPv4Network("172.30.0.0/16"),)
    assert said(between(there(before), wanted(after), excluded=excluded)) == changes


def test_another_scheduler_or_affinity_changes_the_server_only() -> None:
    before = there("10.96.0.1:80 -> 10.244.1.2:80")
    after = wanted("10.96.0.1:80 -> 10.244.1.2:80", VirtualServer("rr", 600))
    assert said(between(before, after)) == ["SetServer 10.96.0.1:80"]
    place = frontend("10.96.0.1:80")
    same = {place: replace(before[place], server=VirtualServer("rr", 600))}
    assert said(between(same, after)) == []


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        ("10.96.0.1:80 -> 10.244.1.2:80 10.244.1.3:80+1", []),
        ("10.96.0.1:80 -> 10.244.1.2:80!+1", []),
        ("10.96.0.1:80 -> 10.244.1.2:80! 10.244.1.3:80", ["DeleteDestination 10.244.1.2:80"]),
    ],
)
def test_once_a_minute_what_has_drained_goes(before: str, changes: list[str]) -> None:
    assert said(drained(there(before))) == changes
