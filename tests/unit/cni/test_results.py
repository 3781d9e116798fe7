"""What ADD answers, in every version."""

from typing import Any

import pytest

from podwire.cni.results import Dns, parse_resolv_conf, parse_result, print_result

RESULT: dict[str, Any] = {
    "interfaces": [
        {"name": "cni0", "mac": "0a:58:0a:f4:01:01"},
        {"name": "eth0", "mac": "0a:58:0a:f4:01:05", "sandbox": "/n"},
    ],
    "ips": [{"address": "10.244.1.5/24", "gateway": "10.244.1.1", "interface": 1}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.244.1.1"}, {"dst": "10.0.0.0/8"}],
    "dns": {"nameservers": ["10.96.0.10"], "search": ["a.b"], "domain": "b", "options": ["x"]},
}


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_result_survives(version: str) -> None:
    printed = print_result(parse_result(RESULT), version)
    ips: list[dict[str, object]] = RESULT["ips"]
    family = {"version": "4"} if version.startswith("0.") else {}
    assert printed == {**RESULT, "cniVersion": version, "ips": [{**family, **ips[0]}]}


OLD: dict[str, Any] = {
    "ip4": {
        "ip": "10.244.1.5/24",
        "gateway": "10.244.1.1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.244.1.1"}],
    },
    "ip6": {"ip": "fd00::5/64"},
    "dns": {"nameservers": ["10.96.0.10"]},
}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_old_result_survives(version: str) -> None:
    assert print_result(parse_result(OLD), version) == {"cniVersion": version, **OLD}


def test_old_versions_have_one_address_of_each_family() -> None:
    ips = [{"address": "10.0.0.2/24"}, {"address": "10.1.0.2/24"}, {"address": "fd00::2/64"}]
    assert print_result(parse_result({"ips": ips}), "0.2.0") == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.2/24"},
        "ip6": {"ip": "fd00::2/64"},
        "dns": {},
    }


def test_members_of_newer_versions() -> None:
    result = parse_result(
        {"routes": [{"dst": "10.0.0.0/8", "mtu": 1400, "priority": 5, "table": 7, "scope": 253}]}
    )
    assert print_result(result, "1.1.0")["routes"] == [
        {"dst": "10.0.0.0/8", "mtu": 1400, "priority": 5, "table": 7, "scope": 253}
    ]
    assert print_result(result, "1.0.0")["routes"] == [{"dst": "10.0.0.0/8"}]


@pytest.mark.parametrize(
    "document",
    [
        {"ips": [{"address": "nonsense"}]},
        {"ips": [{"address": "10.0.0.1/24", "interface": "1"}]},
        {"ips": "x"},
        {"ips": [{"address": "10.0.0.1"}]},
        {"ips": [{"address": "10.0.0.1/255.0.0.0"}]},
        {"ips": [{"address": "10.0.0.1/24", "gateway": "x"}]},
        {"interfaces": [{"name": "e\0"}]},
        {"interfaces": [{"name": "e\ud800"}]},
        {"ip4": {"ip": "nonsense"}},
        {"ip4": 7},
        {"routes": [7]},
        {"routes": [dict[str, object]()]},
        {"routes": [{"dst": "10.0.0.1"}]},
        {"routes": [{"dst": "10.0.0.0/8", "gw": "fd00::1"}]},
        {"routes": [{"dst": "10.0.0.0/8", "mtu": -1}]},
        {"routes": [{"dst": "10.0.0.0/8", "table": 1 << 32}]},
        {"routes": [{"dst": "10.0.0.0/8", "scope": 256}]},
        {"dns": {"nameservers": [1]}},
    ],
)
def test_bad_result(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_result(document)


def test_nulls_are_absent() -> None:
    document = {"interfaces": None, "ips": None, "routes": None, "dns": None}
    assert print_result(parse_result(document), "1.0.0") == {"cniVersion": "1.0.0", "dns": {}}


def test_resolv_conf() -> None:
    content = """\
# comment
nameserver 10.0.0.1
nameserver 10.0.0.2 # more
domain example.org
search a.example b.example
search c.example
options ndots:5 edns0
"""
    assert parse_resolv_conf(content) == Dns(
        ("10.0.0.1", "10.0.0.2"), "example.org", ("c.example",), ("ndots:5", "edns0")
    )
