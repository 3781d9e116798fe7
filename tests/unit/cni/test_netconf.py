"""Network configurations as runtimes send them."""

import json
from pathlib import Path
from typing import Any

import pytest

from podwire.cni.ipam import HostLocal
from podwire.cni.netconf import (
    Delegate,
    NetConf,
    parse,
    parse_release,
    parse_request,
    parse_valid_attachments,
)
from podwire.cni.results import Dns
from podwire.cni.spec import Attachment, Call, CniError, parse_call

CALLS = Path(__file__).parents[2] / "data" / "cni" / "runtime-calls.json"
CALL = Call("ADD", Attachment("c1", "eth0"), "/n")


def conf(call: Call = CALL, **members: Any) -> NetConf:
    document = {"cniVersion": "1.0.0", "name": "net", **members}
    return parse(parse_request(json.dumps(document).encode()), call)


def recorded() -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = json.loads(CALLS.read_text())
    return calls


@pytest.mark.parametrize(
    "call", recorded(), ids=lambda c: f"{c['runtime']} {c['environ']['CNI_COMMAND']}"
)
def test_calls_of_real_runtimes(call: dict[str, Any]) -> None:
    """What podman, containerd, ctr, buildah and libcni sent is understood."""
    parsed = parse_call(call["environ"])
    assert parsed.command == call["environ"]["CNI_COMMAND"]
    if parsed.command == "VERSION":
        return
    request = parse_request(call["stdin"].encode())
    assert parse_release(request).name == request.name
    understood = parse(request, parsed)
    assert understood.version == json.loads(call["stdin"])["cniVersion"]
    wanted = dict(p.split("=", 1) for p in call["environ"]["CNI_ARGS"].split(";") if p)
    runtime: dict[str, Any] = json.loads(call["stdin"]).get("runtimeConfig") or {}
    assert understood.mac == (runtime.get("mac") or wanted.get("MAC", ""))


def test_defaults() -> None:
    assert conf() == NetConf(name="net", version="1.0.0", bridge="cni0")


def test_bridge_options() -> None:
    assert conf(
        bridge="br7",
        isDefaultGateway=True,
        ipMasq=True,
        hairpinMode=True,
        portIsolation=True,
        mtu=1400,
        forceAddress=True,
    ) == NetConf(
        name="net",
        version="1.0.0",
        bridge="br7",
        is_gateway=True,
        is_default_gateway=True,
        force_address=True,
        masquerade=True,
        hairpin=True,
        isolated=True,
        mtu=1400,
    )


@pytest.mark.parametrize(
    ("runtime", "args", "arguments", "mac"),
    [
        (
            {"mac": "C2:11:22:33:44:55"},
            {"mac": "02:00:00:00:00:02"},
            "02:00:00:00:00:03",
            "c2:11:22:33:44:55",
        ),
        ({}, {"mac": "02:00:00:00:00:02"}, "02:00:00:00:00:03", "02:00:00:00:00:02"),
        ({}, {}, "02-00-00-00-00-03", "02:00:00:00:00:03"),
        ({}, {}, "", ""),
    ],
)
def test_who_chooses_the_mac(
    runtime: dict[str, str], args: dict[str, str], arguments: str, mac: str
) -> None:
    call = CALL._replace(arguments={"MAC": arguments} if arguments else {})
    assert conf(call, runtimeConfig=runtime, args={"cni": args}).mac == mac


@pytest.mark.parametrize(
    ("members", "requested"),
    [
        ({"runtimeConfig": {"ips": ["10.1.0.7/24", "10.1.0.8"]}}, ["10.1.0.7", "10.1.0.8"]),
        ({"runtimeConfig": {"IPs": ["10.1.0.7"]}}, ["10.1.0.7"]),
        ({"args": {"cni": {"ips": ["10.1.0.9"]}}}, ["10.1.0.9"]),
        ({}, ["10.1.0.5"]),
    ],
)
def test_requested_addresses(members: dict[str, Any], requested: list[str]) -> None:
    call = CALL._replace(arguments={"IP": "10.1.0.5"})
    ipam = conf(call, ipam={"type": "host-local", "subnet": "10.1.0.0/24"}, **members).ipam
    assert isinstance(ipam, HostLocal)
    assert [str(each) for each in ipam.requested] == requested


def test_ranges_of_the_runtime_come_first() -> None:
    runtime = {"ipRanges": [[{"subnet": "10.2.0.0/24", "rangeStart": "10.2.0.50"}]]}
    ipam = conf(runtimeConfig=runtime, ipam={"type": "host-local", "subnet": "10.1.0.0/24"}).ipam
    assert isinstance(ipam, HostLocal)
    assert [str(ranges[0]) for ranges in ipam.sets] == [
        "10.2.0.50-10.2.0.254",
        "10.1.0.1-10.1.0.254",
    ]


@pytest.mark.parametrize("name", ["Servers", "servers"])
def test_dns_of_the_runtime(name: str) -> None:
    given = conf(runtimeConfig={"dns": {name: ["10.0.0.1"], "Options": None}})
    assert given.dns == Dns(nameservers=("10.0.0.1",))


def test_capabilities_of_other_plugins_are_named() -> None:
    runtime: dict[str, Any] = {"portMappings": None, "bandwidth": {"ingressRate": 1}}
    assert conf(runtimeConfig=runtime).unused == ("bandwidth",)


@pytest.mark.parametrize(
    ("members", "code", "word"),
    [
        ({"mtu": 67}, 7, "mtu"),
        ({"mtu": True}, 7, "mtu"),
        ({"vlan": 5000}, 7, "VLAN"),
        ({"vlan": 100}, 2, "vlan"),
        ({"portIsolation": 1}, 7, "portIsolation"),
        ({"bridge": "a b"}, 7, "bridge"),
        ({"bridge": "br%d"}, 7, "bridge"),
        ({"bridge": "b\0x"}, 7, "bridge"),
        ({"bridge": "b:x"}, 7, "bridge"),
        ({"hairpinMode": True, "promiscMode": True}, 7, "promiscMode"),
        ({"runtimeConfig": []}, 7, "runtimeConfig"),
        ({"runtimeConfig": {"mac": "01:00:00:00:00:00"}}, 7, "mac"),
        ({"runtimeConfig": {"mac": "nonsense"}}, 7, "mac"),
        ({"runtimeConfig": {"mac": "00:00:00:00:00:00"}}, 7, "mac"),
        ({"runtimeConfig": {"portMappings": 5}}, 7, "portmappings"),
        ({"runtimeConfig": {"portMappings": [{"hostPort": 0, "containerPort": 80}]}}, 7, "host"),
        ({"hostAddresses": ["10.0.0.1/8"]}, 7, "hostAddresses"),
        ({"type": "x", "ipam": {"type": "x"}}, 7, "'x' is no IPAM plugin"),
        ({"cniVersion": "0.2.0"}, 7, "0.2.0 has no result without 'ipam'"),
        (
            {
                "cniVersion": "0.1.0",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]],
                },
            },
            7,
            "0.1.0 has one address of each family only",
        ),
        ({"ipam": {"subnet": "10.0.0.0/24"}}, 7, "type"),
        ({"ipam": {"type": "host-local", "ranges": [dict[str, Any]()]}}, 7, "ranges"),
    ],
)
def test_refused(members: dict[str, Any], code: int, word: str) -> None:
    with pytest.raises(CniError) as raised:
        conf(**members)
    assert raised.value.code == code
    assert word in raised.value.message


@pytest.mark.parametrize(
    ("document", "where", "ipam"),
    [
        ({}, "/var/lib/cni/networks", None),
        ({"ipam": {"type": "host-local", "dataDir": "/d\0"}}, "/var/lib/cni/networks", None),
        ({"type": "x", "ipam": {"type": "x"}}, "/var/lib/cni/networks", None),
        ({"ipam": {"type": "a\0b"}}, "/var/lib/cni/networks", None),
        ({"ipam": {"type": "\ud800"}}, "/var/lib/cni/networks", None),
        ({"ipam": 7, "mtu": -1}, "/var/lib/cni/networks", None),
        ({"ipam": {"type": "host-local", "subnet": "x", "dataDir": "/d"}}, "/d", None),
        ({"ipam": {"type": "dhcp"}}, "/var/lib/cni/networks", Delegate("dhcp")),
    ],
)
def test_release_reads_leniently(
    document: dict[str, Any], where: str, ipam: Delegate | None
) -> None:
    data = json.dumps({"cniVersion": "1.0.0", "name": "net", **document}).encode()
    release = parse_release(parse_request(data))
    assert (release.data_dir, release.ipam) == (where, ipam)


@pytest.mark.parametrize(
    ("member", "valid"),
    [
        ({}, set[Attachment]()),
        ({"cni.dev/valid-attachments": None}, set[Attachment]()),
        (
            {"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]},
            {Attachment("a", "eth0")},
        ),
        (
            {"cni.dev/attachments": [{"containerID": "a", "ifname": "eth0"}]},
            {Attachment("a", "eth0")},
        ),
    ],
)
def test_valid_attachments(member: dict[str, Any], valid: set[Attachment]) -> None:
    data = json.dumps({"cniVersion": "1.1.0", "name": "net", **member}).encode()
    assert parse_valid_attachments(parse_request(data)) == valid
