"""The cluster's network as values: what is in each namespace."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from podwire.cni.netconf import NetConf, parse, parse_request
from podwire.cni.spec import Attachment, Call
from podwire.emulator.config import Backend, ClusterConfig, NodeConfig, numbered_nodes
from podwire.emulator.topology import Topology, network_list, pod_mtu, topology
from podwire.netlink.changes import AddBridge, AddVeth, AddVxlan, describe

LONG = "a-worker-with-a-name-longer-than-an-interface"


def cluster(backend: Backend = "vxlan", nodes: int = 3) -> Topology:
    return topology(ClusterConfig(backend=backend, nodes=numbered_nodes(nodes)))


def words(changes: Sequence[object]) -> list[str]:
    return [describe(change) for change in changes]  # type: ignore[arg-type]


def test_namespaces() -> None:
    assert [n.name for n in cluster().namespaces] == [
        "router",
        "external",
        "node-1",
        "node-2",
        "node-3",
    ]


def test_router() -> None:
    router = cluster(nodes=2).namespace("router")
    assert words(router.links) == [
        "add bridge underlay",
        "add veth vethnode-1 with peer eth0 in node-1",
        "add veth vethnode-2 with peer eth0 in node-2",
        "add veth vethexternal with peer eth0 in external",
    ]
    assert words(router.addresses) == [
        "add address 192.168.1.1/24 to underlay",
        "add address 192.168.1.2/24 to underlay",
        "add address 203.0.113.1/24 to vethexternal",
    ]
    masters = {port.name: port.master for port in router.ports}
    assert masters["vethnode-2"] == "underlay"
    assert masters["vethexternal"] is None
    # Without a default route, what nobody has is unreachable; with it, it would vanish.
    assert router.routes == ()
    assert dict(router.sysctls)["net/ipv4/ip_forward"] == "1"
    # It refuses every question for a name outside, and each at once.
    assert dict(router.sysctls)["net/ipv4/icmp_ratelimit"] == "0"


def test_external() -> None:
    external = cluster().namespace("external")
    assert words(external.addresses) == ["add address 203.0.113.10/24 to eth0"]
    assert words(external.routes) == ["add route 0.0.0.0/0 via 203.0.113.1 dev eth0"]
    assert dict(external.sysctls)["net/ipv4/ip_forward"] == "0"


def test_node_with_vxlan() -> None:
    node = cluster().namespace("node-2")
    assert words(node.links) == ["add bridge cni0", "add vxlan flannel.1 (id 1) on eth0"]
    assert words(node.addresses) == [
        "add address 192.168.1.11/24 to eth0",
        "add address 10.244.2.1/24 to cni0",
        "add address 10.244.2.0/32 to flannel.1",
    ]
    assert words(node.routes) == [
        "add route 0.0.0.0/0 via 192.168.1.1 dev eth0",
        "add route 10.244.1.0/24 via 10.244.1.0 dev flannel.1",
        "add route 10.244.3.0/24 via 10.244.3.0 dev flannel.1",
    ]
    assert [route.onlink for route in node.routes] == [False, True, True]
    # Of Services a node knows nothing: that is the proxy's.
    assert not any(route.local for route in node.routes)
    assert words(node.neighbours) == [
        "add neighbour 10.244.1.0 at 0e:58:0a:f4:01:00 dev flannel.1",
        "add neighbour 10.244.3.0 at 0e:58:0a:f4:03:00 dev flannel.1",
    ]
    assert words(node.forwarding) == [
        "add forwarding of 0e:58:0a:f4:01:00 to 192.168.1.10 dev flannel.1",
        "add forwarding of 0e:58:0a:f4:03:00 to 192.168.1.12 dev flannel.1",
    ]
    (tunnel,) = (link for link in node.links if isinstance(link, AddVxlan))
    assert (tunnel.vni, tunnel.port, tunnel.mtu, str(tunnel.local)) == (
        1,
        8472,
        1450,
        "192.168.1.11",
    )


def test_node_with_plain_routes() -> None:
    node = cluster("host-gw").namespace("node-2")
    assert words(node.links) == ["add bridge cni0"]
    assert words(node.routes)[1:] == [
        "add route 10.244.1.0/24 via 192.168.1.10 dev eth0",
        "add route 10.244.3.0/24 via 192.168.1.12 dev eth0",
    ]
    assert node.neighbours == ()
    assert node.forwarding == ()
    assert pod_mtu(ClusterConfig(backend="host-gw")) == 1500


def test_a_node_answers_arp_for_its_pods() -> None:
    """Their ports of the bridge are isolated, so nobody else hears who asks."""
    sysctls = dict(cluster().namespace("node-1").link_sysctls)
    assert sysctls["net/ipv4/conf/cni0/proxy_arp_pvlan"] == "1"
    assert sysctls["net/ipv4/neigh/cni0/proxy_delay"] == "0"
    assert not any("arp_pvlan" in name for name, _ in cluster().namespace("node-1").sysctls)


def test_a_node_answers_no_arp_for_cluster_addresses() -> None:
    sysctls = dict(cluster().namespace("node-1").sysctls)
    assert sysctls["net/ipv4/conf/all/arp_ignore"] == "1"
    assert sysctls["net/ipv4/conf/all/arp_announce"] == "2"


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
@pytest.mark.parametrize("nodes", [1, 2, 200])
def test_whole(backend: Backend, nodes: int) -> None:
    """Names fit the kernel, MACs are distinct, wires end somewhere, each port exists."""
    network = cluster(backend, nodes)
    namespaces = {n.name for n in network.namespaces}
    macs: list[str] = []
    interfaces = {(n.name, "lo") for n in network.namespaces}
    for namespace in network.namespaces:
        for link in namespace.links:
            macs.append(link.mac)
            interfaces.add((namespace.name, link.name))
            assert len(link.name) <= 15
            if isinstance(link, AddVeth):
                assert link.peer_namespace in namespaces
                macs.append(link.peer_mac)
                interfaces.add((link.peer_namespace, link.peer))
    assert len(set(macs)) == len(macs)
    for namespace in network.namespaces:
        used = {p.name for p in namespace.ports} | {a.link for a in namespace.addresses}
        used |= {r.link for r in namespace.routes} | {n.link for n in namespace.neighbours}
        assert {(namespace.name, name) for name in used} <= interfaces


def test_long_node_names() -> None:
    network = topology(ClusterConfig(nodes=(NodeConfig(LONG),)))
    assert network.namespace(LONG).name == LONG
    wires = [link for link in network.namespace("router").links if isinstance(link, AddVeth)]
    assert (wires[0].name, wires[0].peer_namespace) == ("vethnode-1", LONG)


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_network_list_is_what_the_plugin_takes(backend: Backend) -> None:
    """The plugin finds the bridge as the topology made it: same name, MAC, MTU and gateway."""
    config = ClusterConfig(backend=backend)
    document: dict[str, Any] = dict(network_list(config, "node-2", "/run/addresses/node-2"))
    (plugin,) = document["plugins"]
    stdin = {**plugin, "name": document["name"], "cniVersion": document["cniVersion"]}
    conf: NetConf = parse(
        parse_request(json.dumps(stdin).encode()), Call("ADD", Attachment("c", "eth0"))
    )
    (bridge,) = (
        link for link in topology(config).namespace("node-2").links if isinstance(link, AddBridge)
    )
    assert (conf.bridge, conf.mtu) == (bridge.name, bridge.mtu)
    assert conf.is_default_gateway
    assert conf.isolated
    assert not conf.masquerade
    assert "10.244.2.1" in repr(conf.ipam)
    assert plugin["capabilities"] == {"portMappings": True}
    node = topology(config).namespace("node-2")
    own = {str(address.address.ip) for address in node.addresses}
    assert {str(each) for each in conf.host_addresses} == {f"{ip}/32" for ip in own} | {
        "127.0.0.0/8"
    }


def test_rules() -> None:
    rules = cluster().namespace("node-1").rules
    assert rules is not None
    script = rules.nft()
    assert "delete table inet podwire\n" in script
    assert 'oifname "eth0" ip saddr 10.244.1.0/24 ip daddr != 10.244.0.0/16 masquerade' in script
    other = rules.iptables()
    assert "-A POSTROUTING -o eth0 -s 10.244.1.0/24 ! -d 10.244.0.0/16 -j MASQUERADE" in other


def test_the_router_keeps_the_outside_from_cluster_ips() -> None:
    rules = cluster().namespace("router").rules
    assert rules is not None
    assert 'iifname "vethexternal" ip daddr 10.96.0.0/12 drop' in rules.nft()
    assert "-A FORWARD -i vethexternal -d 10.96.0.0/12 -j DROP" in rules.iptables()
