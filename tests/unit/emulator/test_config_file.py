from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from podwire.emulator.config import ClusterConfig, PortMapping, checked_name, numbered_nodes
from podwire.emulator.config_file import parse
from podwire.errors import ConfigError

HEAD = "kind: Cluster\napiVersion: podwire.dev/v1alpha1\n"


def test_an_empty_file_is_the_default_cluster() -> None:
    assert parse(HEAD) == ClusterConfig()
    assert [node.name for node in ClusterConfig().nodes] == ["node-1", "node-2", "node-3"]


def test_the_example_is_read_whole() -> None:
    path = Path(__file__).parents[3] / "examples" / "cluster.yaml"
    config = parse(path.read_text(), "examples/cluster.yaml")
    assert config.name == "example"
    assert [dict(node.labels) for node in config.nodes] == [
        {"topology.kubernetes.io/zone": "zone-a"},
        {"topology.kubernetes.io/zone": "zone-b"},
    ]


def test_a_file_of_kind() -> None:
    config = parse(
        """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: blue
nodes:
- role: control-plane
- role: worker
  extraPortMappings: [{containerPort: 30080, hostPort: 8080}, {containerPort: 53, protocol: TCP, hostPort: -1}]
- role: worker
  name: big
networking:
  podSubnet: 10.10.0.0/16
  serviceSubnet: 10.20.0.0/16
  apiServerAddress: 127.0.0.2
  apiServerPort: 6443
  disableDefaultCNI: false
  dnsSearch: [corp.example, _tcp.example., .]
  backend: host-gw
images:
  shop/cart: python3 -m http.server '80 80'
"""
    )
    assert config.images == {"shop/cart": ("python3", "-m", "http.server", "80 80")}
    assert config.name == "blue"
    assert config.dns_search == ("corp.example", "_tcp.example.", ".")
    assert [node.name for node in config.nodes] == ["node-1", "big"]
    assert config.nodes[0].extra_port_mappings == (
        PortMapping(30080, 8080),
        PortMapping(53, 0),
    )
    assert (config.pod_subnet, config.service_subnet) == (
        IPv4Network("10.10.0.0/16"), IPv4Network("10.20.0.0/16"))  # fmt: skip
    assert (config.api_server_address, config.api_server_port, config.backend) == (
        IPv4Address("127.0.0.2"), 6443, "host-gw")  # fmt: skip


def test_a_lone_control_plane_is_one_node_as_in_kind() -> None:
    assert parse(HEAD + "nodes: [{role: control-plane}]").nodes == numbered_nodes(1)


def test_kinds_usual_place_for_port_mappings() -> None:
    nodes = parse(
        HEAD + "nodes: [{role: control-plane, extraPortMappings: [{containerPort: 30080, "
        "hostPort: 8080}]}, {role: worker}, {role: worker}]"
    ).nodes
    mapping = PortMapping(30080, 8080)
    assert [node.extra_port_mappings for node in nodes] == [(mapping,), ()]


@pytest.mark.parametrize(
    ("networking", "underlay"),
    [
        ("{}", "192.168.1.0/24"),
        ("{podSubnet: 192.168.0.0/16}", "172.30.1.0/24"),
        ("{podSubnet: 192.168.0.0/16, serviceSubnet: 172.16.0.0/12}", "10.89.0.0/24"),
        ("{podSubnet: 192.168.0.0/16, underlay: 10.7.0.0/24}", "10.7.0.0/24"),
    ],
)
def test_the_nodes_network_makes_room_for_that_of_pods(networking: str, underlay: str) -> None:
    assert str(parse(HEAD + f"networking: {networking}").underlay) == underlay


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodez: []", "c:3:1: unknown field nodez\n  known here: kind, apiVersion, name"),
        ("featureGates: {A: true}", "c:3:1: featureGates cannot be honoured"),
        ("nodes:\n- role: boss", "c:4:3: nodes[0].role: 'boss' is not one of worker or control"),
        ("nodes:\n- image: x", "c:4:3: nodes[0].image cannot be honoured: nodes are network"),
        ("images: {a: ''}", "c:3:10: images.a: it says no command"),
        ("images: {'': b}", "c:3:10: images.: it says no name"),
        ("images: {a: }", "c:3:10: images.a: it says no command"),
        ("images: {a: [true]}", "c:3:10: images.a: text is expected, not a list"),
        ("nodes: []", "c:3:1: nodes: at least one is needed"),
        ("nodes: 3", "c:3:1: nodes: a list is expected, not 3"),
        ("nodes: [7]", "c:3:9: a mapping is expected here, not 7"),
        ("nodes: [{labels: {a: 1}}]", "c:3:19: nodes[0].labels.a: text is expected, not 1"),
        ("nodes: [{name: A}]", "c:3:10: nodes[0].name: 'A' is no DNS label"),
        ("nodes: [{name: x}, {name: x}]", "c:3:1: nodes: two are named 'x'"),
        (
            "nodes: [{role: control-plane}, {role: control-plane}]",
            "c:3:33: a second control-plane node cannot be honoured",
        ),
        (
            "nodes: [{role: control-plane, labels: {a: b}}, {}]",
            "c:3:31: nodes[0].labels cannot be honoured: the control plane is no node",
        ),
        (
            "nodes: [{extraPortMappings: [{containerPort: 53, protocol: UDP}]}]",
            "c:3:50: nodes[0].extraPortMappings[0].protocol: 'UDP' is not one of TCP",
        ),
        ("networking:\n  kubeProxyMode: ebpf", "c:4:3: networking.kubeProxyMode: 'ebpf' is not one of userspace, nftables, iptables or ipvs"),
        ("networking:\n  disableDefaultCNI: true", "c:4:3: networking.disableDefaultCNI cannot be"),
        ("networking:\n  ipFamily: dual", "c:4:3: networking.ipFamily: 'dual' is not one of ipv4"),
        ("networking:\n  podSubnet: 10.0.0.1/16", "c:4:3: networking.podSubnet: 10.0.0.1/16 has host bits"),
        ("networking:\n  podSubnet: 10.96.0.0/16", "c:4:3: networking.serviceSubnet 10.96.0.0/12 overlaps podSubnet"),
        ("networking:\n  podSubnet: 10.244.0.0/23", "c:4:3: networking.podSubnet 10.244.0.0/23 has no /24"),
        ("networking:\n  apiServerPort: yes", "c:4:3: networking.apiServerPort: a whole number is expected, not true"),
        ("networking:\n  apiServerPort: 70000", "c:4:3: networking.apiServerPort: 70000 is no port"),
        ("networking:\n  dnsDomain: a..b", "c:4:3: networking.dnsDomain: 'a..b' is no domain"),
        ("networking:\n  dnsSearch: [a.example, b..c]", "c:4:3: networking.dnsSearch: 'b..c' is no domain name"),
        ("networking:\n  dnsSearch: a.example", "c:4:3: networking.dnsSearch"),
        ("name: Blue", "c:3:1: name: 'Blue' cannot name a cluster"),
        ("nodes:\n- extraPortMappings:\n  - hostPort: 80", "c:5:5: nodes[0].extraPortMappings[0].containerPort: a port is needed"),
        ("nodes:\n- extraPortMappings:\n  - {containerPort: 80, hostPort: 70000}", "c:5:25: nodes[0].extraPortMappings[0].hostPort: 70000 is no port"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(HEAD + text, "c")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one document of kind Cluster is expected, not 0"),
        ("kind: Cluster\n", "c:1:1: apiVersion: '' is not one of podwire.dev"),
        ("kind: Pod\napiVersion: v1\n", "c:1:1: kind: 'Pod' is not one of Cluster"),
        ("metadata: {}\nkind: Pod\napiVersion: v1\n", "c:2:1: kind: 'Pod' is not one of Cluster"),
        ("a: b: c", "c:1:5: broken YAML"),
    ],
)
def test_what_is_no_cluster(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "c")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a/b", "x" * 41, "a\n"])
def test_names_that_name_no_cluster(name: str) -> None:
    with pytest.raises(ConfigError):
        checked_name(name)
