"""The nodes of a sandbox: their kubelets, the hosts on which commands run, and the agent of all."""

import json
from collections.abc import Sequence

from podwire.emulator.addressing import ClusterAddresses
from podwire.emulator.config import ClusterConfig
from podwire.emulator.kubelet.agent import ClusterAgent
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.hosts import Host, Hosts, node_files
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.recorder import CaptureAgent, forked
from podwire.emulator.kubelet.resolver import Resolver
from podwire.emulator.kubelet.resolver import parse as parse_resolver
from podwire.emulator.runtimes.netns import NetnsRuntime, NodePlace
from podwire.emulator.runtimes.process_table import ProcessTable
from podwire.emulator.sandbox import paths
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.topology import network_list
from podwire.kube.client import Client
from podwire.kube.clock import Clock
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers


class Nodes:
    """What *config* says, each with its runtime; nothing runs before its `run`."""

    def __init__(
        self,
        config: ClusterConfig,
        known: ClusterAddresses,
        forks: Forks,
        client: Client,
        informers: Informers,
        clock: Clock,
    ) -> None:
        self.kubelets = [
            _kubelet(config, known, number, forks, client, informers, clock)
            for number in range(len(config.nodes))
        ]
        hosts = Hosts(forks, _hosts(config, known))
        recorders = CaptureAgent(forked(forks), paths.CAPTURE_SOCKET)
        self.agent = ClusterAgent(self.kubelets, hosts, recorders, clock, ProcessTable())


def _kubelet(
    config: ClusterConfig,
    known: ClusterAddresses,
    number: int,
    forks: Forks,
    client: Client,
    informers: Informers,
    clock: Clock,
) -> Kubelet:
    node, address = config.nodes[number], known.nodes[number]
    resolver = _node_resolver(config, known)
    state = paths.CNI_STATE / node.name
    conflist = network_list(config, node.name, str(state))
    directory = paths.CNI_CONFIG / node.name
    directory.mkdir(parents=True)
    file = directory / "10-podwire.conflist"
    file.write_text(json.dumps(conflist, indent=2) + "\n")
    netns = paths.NETNS / node.name
    runtime = NetnsRuntime(NodePlace(node.name, address.underlay.ip, netns, file), forks)
    context = NodeContext(
        node.name,
        address.underlay.ip,
        netns=netns,
        pods=paths.PODS,
        runtime=runtime,
        client=client,
        informers=informers,
        recorder=EventRecorder(client, clock, "kubelet", node.name),
        clock=clock,
        resolver=parse_resolver(resolver),
        cluster_dns=str(known.dns_service),
        domain=config.dns_domain,
    )
    return Kubelet(context, informers, str(address.pod_subnet), node.labels)


def _node_resolver(config: ClusterConfig, known: ClusterAddresses) -> str:
    if config.resolv_conf:
        return config.resolv_conf
    # Nothing listens there: names outside the cluster fail at once instead of after a time-out.
    return Resolver((str(known.router.ip),), config.dns_search).text()


def _hosts(config: ClusterConfig, known: ClusterAddresses) -> Sequence[Host]:
    resolver = _node_resolver(config, known)
    nodes = [
        Host(
            node.name,
            "node",
            paths.NETNS / node.name,
            node_files(node.name, str(address.underlay.ip), paths.CNI_CONFIG, resolver),
        )
        for node, address in zip(config.nodes, known.nodes, strict=True)
    ]
    others = [
        Host("external", "external", paths.NETNS / "external"),
        Host("router", "router", paths.NETNS / "router"),
    ]
    return [*nodes, *others]
