from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.runtimes.attachments import environment, find_plugin, first_ipv4, request
from podwire.emulator.runtimes.capabilities import DEFAULT, NUMBERS, kept, never
from podwire.emulator.runtimes.netns import is_there, read_host_root
from podwire.emulator.runtimes.runtime import PodPort, PodRequest, PodSandbox, RuntimeFailure

POD = PodRequest("shop", "web", "uid-1", "web", host_network=False)
SANDBOX = PodSandbox(POD, "f00d", IPv4Address("10.244.1.2"), netns="/run/netns/cni-f00d")
PLUGIN = {"type": "podwire", "mtu": 1450}
NETWORK = {"cniVersion": "1.0.0", "name": "podwire", "plugins": [PLUGIN]}
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.244.1.2/24"}]}


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        ({}, {"type": "podwire", "mtu": 1450, "name": "podwire", "cniVersion": "1.0.0"}),
        (
            RESULT,
            {
                "type": "podwire",
                "mtu": 1450,
                "name": "podwire",
                "cniVersion": "1.0.0",
                "prevResult": RESULT,
            },
        ),
    ],
)
def test_what_stands_on_a_plugins_input(previous: dict[str, Any], expected: dict[str, Any]) -> None:
    assert request(NETWORK, PLUGIN, previous) == expected


@pytest.mark.parametrize(
    ("capabilities", "config"),
    [
        ({}, {}),
        ({"capabilities": {"bandwidth": True}}, {}),
        (
            {"capabilities": {"portMappings": True}},
            {
                "portMappings": [
                    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                    {
                        "hostPort": 53,
                        "containerPort": 1053,
                        "protocol": "udp",
                        "hostIP": "192.168.1.10",
                    },
                ]
            },
        ),
    ],
)
def test_ports_of_the_node_are_for_the_plugin_that_leads_them(
    capabilities: dict[str, Any], config: dict[str, Any]
) -> None:
    ports = [PodPort("TCP", 8080, 80), PodPort("UDP", 53, 1053, "192.168.1.10")]
    written = request(NETWORK, PLUGIN | capabilities, {}, ports)
    assert written.get("runtimeConfig", {}) == config


def test_a_plugins_parameters() -> None:
    assert environment("ADD", SANDBOX) == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "f00d",
        "CNI_NETNS": "/run/netns/cni-f00d",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;"
        "K8S_POD_INFRA_CONTAINER_ID=f00d;K8S_POD_UID=uid-1",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }


def test_plugins_are_looked_for_in_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
        (directory / "bridge").touch()
    (two / "portmap").touch()
    (two / "folder").mkdir()
    places = [str(one), str(two)]
    assert find_plugin("bridge", places) == str(one / "bridge")
    assert find_plugin("portmap", places) == str(two / "portmap")
    for kind in ("none", "folder", "", "../one/bridge"):
        with pytest.raises(RuntimeFailure, match="failed to find plugin"):
            find_plugin(kind, places)


@pytest.mark.parametrize(
    ("ips", "address"),
    [
        (["10.244.1.2/24"], "10.244.1.2"),
        (["fd00::2/64", "10.244.1.3/24"], "10.244.1.3"),
    ],
)
def test_the_pods_address_is_the_first_ipv4_one(ips: list[str], address: str) -> None:
    assert first_ipv4({"ips": [{"address": ip} for ip in ips]}) == IPv4Address(address)


@pytest.mark.parametrize("ips", [[], ["fd00::2/64"]])
def test_without_an_ipv4_address_there_is_no_pod(ips: list[str]) -> None:
    with pytest.raises(RuntimeFailure, match="no IPv4 address"):
        first_ipv4({"ips": [{"address": ip} for ip in ips]})


def test_the_hosts_top_level(tmp_path: Path) -> None:
    for name in ("usr", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "file").touch()
    found = read_host_root(tmp_path)
    assert (found.directories, found.links) == (("etc", "usr"), {"bin": "usr/bin"})
    assert is_there(str(tmp_path / "usr"))
    assert not is_there(str(tmp_path / "none"))
    assert not is_there(str(tmp_path / "bin"))


CAPABILITIES: list[tuple[list[str], list[str], frozenset[str]]] = [
    ([], [], DEFAULT),
    (["NET_ADMIN"], [], DEFAULT | {"NET_ADMIN"}),
    (["CAP_NET_ADMIN"], ["net_raw"], (DEFAULT | {"NET_ADMIN"}) - {"NET_RAW"}),
    ([], ["ALL"], frozenset()),
    (["NET_BIND_SERVICE"], ["ALL"], frozenset({"NET_BIND_SERVICE"})),
    (["ALL"], [], frozenset(NUMBERS)),
    (["SYS_ADMIN"], [], DEFAULT),
]


@pytest.mark.parametrize(("add", "drop", "names"), CAPABILITIES)
def test_capabilities(add: list[str], drop: list[str], names: frozenset[str]) -> None:
    assert kept(add, drop) == tuple(sorted(NUMBERS[name] for name in names))


def test_capabilities_that_no_container_gets() -> None:
    assert never(["SYS_ADMIN", "CAP_NET_ADMIN", "ALL", "MKNOD"]) == ("SYS_ADMIN", "MKNOD")
