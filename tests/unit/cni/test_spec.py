"""The words of the specification: call parameters, errors, results of each version."""

from collections.abc import Mapping
from typing import Any

import pytest

from podwire.cni.spec import (
    Attachment,
    CniError,
    Dns,
    parse_call,
    parse_resolv_conf,
    parse_result,
    print_result,
    version_document,
)

ADD = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0"}


def test_call() -> None:
    call = parse_call({**ADD, "CNI_ARGS": "A=1;B=x y;", "CNI_PATH": "/opt/cni/bin::/usr/lib/cni"})
    assert call.command == "ADD"
    assert call.attachment == Attachment("c1", "eth0")
    assert call.namespace == "/n"
    assert dict(call.arguments) == {"A": "1", "B": "x y"}
    assert call.plugin_path == ("/opt/cni/bin", "/usr/lib/cni")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"CNI_COMMAND": ""}, "required env variables [CNI_COMMAND] missing"),
        ({"CNI_COMMAND": "FROB"}, "unknown CNI_COMMAND: FROB"),
        ({"CNI_COMMAND": "add"}, "unknown CNI_COMMAND: add"),
        ({"CNI_NETNS": "", "CNI_IFNAME": ""}, "[CNI_IFNAME,CNI_NETNS] missing"),
        ({"CNI_CONTAINERID": "a/b"}, "invalid characters in containerID"),
        ({"CNI_CONTAINERID": "abc\n"}, "invalid characters in containerID"),
        ({"CNI_CONTAINERID": "-x"}, "invalid characters in containerID"),
        ({"CNI_IFNAME": "sixteen-letters-"}, "interface name is too long"),
        ({"CNI_IFNAME": "äöüäöüäö"}, "interface name is too long"),
        ({"CNI_IFNAME": ".."}, "interface name is . or .."),
        ({"CNI_IFNAME": "a:b"}, "contains / or : or whitespace"),
        ({"CNI_ARGS": "FOO"}, 'ARGS: invalid pair "FOO"'),
        ({"CNI_ARGS": "A=1;B=1=2"}, 'ARGS: invalid pair "B=1=2"'),
    ],
)
def test_bad_call(change: Mapping[str, str], words: str) -> None:
    with pytest.raises(CniError) as raised:
        parse_call({**ADD, **change})
    assert raised.value.code == 4
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("command", "lacks", "fine"),
    [
        ("DEL", "CNI_NETNS", True),
        ("CHECK", "CNI_NETNS", False),
        ("DEL", "CNI_IFNAME", False),
        ("STATUS", "CNI_CONTAINERID", True),
        ("GC", "CNI_IFNAME", True),
        ("VERSION", "CNI_CONTAINERID", True),
    ],
)
def test_needed_variables(command: str, lacks: str, fine: bool) -> None:  # noqa: FBT001
    environ = {**ADD, "CNI_COMMAND": command, lacks: ""}
    if fine:
        assert parse_call(environ).command == command
    else:
        with pytest.raises(CniError, match=lacks):
            parse_call(environ)


def test_error_document() -> None:
    assert CniError(7, "no", "because").document("1.0.0") == {
        "cniVersion": "1.0.0",
        "code": 7,
        "msg": "no",
        "details": "because",
    }
    assert "details" not in CniError(7, "no").document("1.0.0")


RESULT: dict[str, Any] = {
    "interfaces": [
        {"name": "cni0", "mac": "0a:58:0a:f4:01:01"},
        {"name": "eth0", "mac": "0a:58:0a:f4:01:05", "sandbox": "/n"},
    ],
    "ips": [{"address": "10.244.1.5/24", "gateway": "10.244.1.1", "interface": 1}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.244.1.1"}, {"dst": "10.0.0.0/8"}],
    "dns": {"nameservers": ["10.96.0.10"], "search": ["a.b"], "domain": "b", "options": ["x"]},
}


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_result_survives(version: str) -> None:
    printed = print_result(parse_result(RESULT), version)
    ips: list[dict[str, object]] = RESULT["ips"]
    family = {"version": "4"} if version.startswith("0.") else {}
    assert printed == {**RESULT, "cniVersion": version, "ips": [{**family, **ips[0]}]}


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
        {"routes": [7]},
        {"dns": {"nameservers": [1]}},
    ],
)
def test_bad_result(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_result(document)


def test_nulls_are_absent() -> None:
    document = {"interfaces": None, "ips": None, "routes": None, "dns": None}
    assert print_result(parse_result(document), "1.0.0") == {"cniVersion": "1.0.0", "dns": {}}


def test_version_document() -> None:
    assert version_document("0.4.0")["cniVersion"] == "0.4.0"
    assert version_document("")["cniVersion"] == "1.1.0"


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
