"""The control plane: API server, controllers and the kubelets of all nodes, on one event loop.

The only place that constructs the parts. Each part is a client of the API server over its Unix
socket, as it would be in a cluster of real machines.
"""

import asyncio
import json
import logging
import os
import random
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import uvloop

from podwire import linux
from podwire.emulator.addons import addons
from podwire.emulator.addressing import ClusterAddresses, addresses
from podwire.emulator.apiserver.request import Network
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.config import ClusterConfig
from podwire.emulator.controllers import registry
from podwire.emulator.controllers.kubernetes import ApiAddress
from podwire.emulator.doors import Doors
from podwire.emulator.kubelet.agent import ClusterAgent
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.hosts import Host, Hosts, node_files
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.recorder import CaptureAgent, forked
from podwire.emulator.kubelet.resolver import parse as parse_resolver
from podwire.emulator.publish import publish
from podwire.emulator.runtimes.netns import NetnsRuntime, NodePlace
from podwire.emulator.runtimes.process_table import ProcessTable
from podwire.emulator.sandbox import paths
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.sandbox.processes import Place, Program, StartError
from podwire.emulator.sandbox.progress import Progress
from podwire.emulator.topology import network_list
from podwire.kube import credentials
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.objects import ConfigMap, DaemonSet, Deployment, Object, Service

log = logging.getLogger(__name__)

API_PORT = 6443


def control_plane(
    config: ClusterConfig,
    light: socket.socket,
    heavy: socket.socket,
    doors: Doors,
    progress: Progress,
) -> None:
    """Run the control plane until it is killed; *light* and *heavy* lead to the fork servers."""
    linux.set_process_name("podwire-control")
    # A pod takes seven or eight.
    linux.allow_many_descriptors()
    logging.basicConfig(
        level=os.environ.get("PODWIRE_LOG", "WARNING").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    uvloop.run(_run(config, Forks(light, heavy), doors, progress))


async def _run(config: ClusterConfig, forks: Forks, doors: Doors, progress: Progress) -> None:
    known = addresses(config)
    clock = SystemClock()
    forks.start()
    kept = credentials.decode(paths.CREDENTIALS.read_bytes())
    paths.CREDENTIALS.unlink()
    async with (
        asyncio.TaskGroup() as tasks,
        Client.unix(paths.API_SOCKET, user="system:podwire") as client,
    ):
        informers = Informers(client)
        kubelets = [
            _kubelet(config, known, number, forks, client, informers, clock)
            for number in range(len(config.nodes))
        ]
        hosts = Hosts(forks, _hosts(config, known))
        recorders = CaptureAgent(forked(forks), paths.CAPTURE_SOCKET)
        agent = ClusterAgent(kubelets, hosts, recorders, clock, ProcessTable())
        server = ApiServer(
            Store(),
            agent,
            clock,
            random.SystemRandom(),
            network=Network(services=config.service_subnet),
            token_key=credentials.token_key(kept),
        )
        server.fill(API_PORT)
        async with _serving(server, kept, doors.api, known.control_plane.ip):
            progress.step("API server answers")
            tasks.create_task(informers.run(), name="informers")
            for controller in registry.controllers(
                client,
                clock,
                random.Random(),
                informers=informers,
                root_ca=kept.authority.decode(),
                api=ApiAddress(str(known.api_service), str(known.control_plane.ip), API_PORT),
            ):
                tasks.create_task(controller.run(), name=type(controller).__name__)
            for kubelet in kubelets:
                tasks.create_task(kubelet.run(), name=f"kubelet {kubelet.context.name}")
            tasks.create_task(_external(forks), name="external")
            tasks.create_task(agent.run(), name="usage")
            tasks.create_task(
                publish(doors.published, lambda node: known.node(node).underlay.ip, _outside),
                name="published ports",
            )
            for obj in addons(_network(config, known)):
                await client.create_raw(_KINDS[obj["kind"]], "kube-system", obj)
            progress.ready(
                {
                    "server": "https://{}:{}".format(*doors.api.getsockname()),
                    "ca": kept.authority.decode(),
                    "certificate": kept.admin.certificate.decode(),
                    "key": kept.admin.key.decode(),
                }
            )
            await asyncio.Event().wait()


def _network(config: ClusterConfig, known: ClusterAddresses) -> dict[str, str]:
    return {
        "domain": config.dns_domain,
        "dns": str(known.dns_service),
        "pods": str(config.pod_subnet),
        "services": str(config.service_subnet),
        "external": str(known.external.ip),
        "backend": config.backend,
    }


_KINDS: dict[str, type[Object]] = {
    "ConfigMap": ConfigMap,
    "DaemonSet": DaemonSet,
    "Deployment": Deployment,
    "Service": Service,
}


@asynccontextmanager
async def _serving(
    server: ApiServer,
    kept: credentials.ClusterCertificates,
    api: socket.socket,
    control_plane_address: IPv4Address,
) -> AsyncGenerator[None]:
    context = _tls(kept)
    inside = linux.socket_in(paths.NETNS / "router", socket.AF_INET, socket.SOCK_STREAM)
    inside.bind((str(control_plane_address), API_PORT))
    inside.listen(128)
    async with server.serve([(api, context), (inside, context)], paths.API_SOCKET):
        yield


def _tls(kept: credentials.ClusterCertificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=kept.authority.decode())
    # The ssl module reads keys from files only; this one lives on the sandbox's tmpfs for a moment.
    file = paths.BASE / "server.pem"
    file.touch(mode=0o600)
    file.write_bytes(kept.server.certificate + kept.server.key)
    context.load_cert_chain(file)
    file.unlink()
    return context


def _kubelet(
    config: ClusterConfig,
    known: ClusterAddresses,
    number: int,
    forks: Forks,
    client: Client,
    informers: Informers,
    clock: SystemClock,
) -> Kubelet:
    node, address = config.nodes[number], known.nodes[number]
    resolver = _node_resolver(known)
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


def _node_resolver(known: ClusterAddresses) -> str:
    # Nothing listens there: names outside the cluster fail at once instead of after a time-out.
    return f"nameserver {known.router.ip}\n"


def _hosts(config: ClusterConfig, known: ClusterAddresses) -> Sequence[Host]:
    resolver = _node_resolver(known)
    nodes = [
        Host(
            node.name,
            "node",
            paths.NETNS / node.name,
            node_files(node.name, paths.CNI_CONFIG, resolver),
        )
        for node in config.nodes
    ]
    others = [
        Host("external", "external", paths.NETNS / "external"),
        Host("router", "router", paths.NETNS / "router"),
    ]
    return [*nodes, *others]


async def _external(forks: Forks) -> None:
    """Keep the servers of `external` running: the internet of this world."""
    net = os.open(paths.NETNS / "external", os.O_RDONLY | os.O_CLOEXEC)
    uts, ipc = await forks.namespaces("external")
    place = Place(net=net, uts=uts, ipc=ipc)
    while True:
        try:
            process = await forks.fork(Program(("external",), builtin="external"), place)
            await process.wait()
            process.close()
        except StartError as error:
            log.warning("the servers of external: %s", error)
        await asyncio.sleep(1)


def _outside() -> socket.socket:
    return linux.socket_in(paths.NETNS / "external", socket.AF_INET, socket.SOCK_STREAM)
