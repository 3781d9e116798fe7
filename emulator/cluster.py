"""The control plane: API server, controllers and the kubelets of all nodes, on one event loop.

Here and in kubelet/nodes.py all parts are constructed. Each is a client of the API server over its
Unix socket, as it would be in a cluster of real machines.

The API server is loaded first and answers; `podwire up` writes its kubeconfig and applies what it
was given while the parts that obey are loaded.
"""

import asyncio
import functools
import gc
import importlib
import logging
import os
import random
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import uvloop

from podwire import linux
from podwire.emulator.addons import addons
from podwire.emulator.addressing import ClusterAddresses, addresses
from podwire.emulator.apiserver import http
from podwire.emulator.apiserver.request import Network
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.config import ClusterConfig
from podwire.emulator.doors import Doors
from podwire.emulator.kubelet.late_agent import LateAgent
from podwire.emulator.sandbox import paths
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.sandbox.processes import Place, Program, StartError
from podwire.emulator.sandbox.progress import Progress
from podwire.kube import credentials
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.informers import Informers
from podwire.kube.objects import ConfigMap, DaemonSet, Deployment, Object, Service, ServiceAccount

if TYPE_CHECKING:
    from podwire.emulator.kubelet.nodes import Nodes

log = logging.getLogger(__name__)

API_PORT = 6443

# What is loaded when the API server answers already; in small steps, for it goes on answering.
_AFTERWARDS = (
    "podwire.emulator.runtimes.netns",
    "podwire.emulator.kubelet.context",
    "podwire.emulator.kubelet.container",
    "podwire.emulator.kubelet.kubelet",
    "podwire.emulator.kubelet.recorder",
    "podwire.emulator.kubelet.nodes",
    "podwire.emulator.controllers.services.endpointslices",
    "podwire.emulator.controllers.workloads.daemonsets",
    "podwire.emulator.controllers.registry",
    "podwire.emulator.publish",
)


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

        @functools.cache
        def nodes() -> "Nodes":
            from podwire.emulator.kubelet.nodes import Nodes  # noqa: PLC0415 - see the docstring

            return Nodes(config, known, forks, client, informers, clock)

        server = ApiServer(
            Store(),
            LateAgent(lambda: nodes().agent),
            clock,
            random.SystemRandom(),
            network=Network(services=config.service_subnet),
            token_key=credentials.token_key(kept),
        )
        server.fill(API_PORT)
        async with _serving(server, kept, doors.api, known.control_plane.ip):
            progress.step("API server answers")
            for obj in addons(_network(config, known), config.proxy_mode, config.images):
                await client.create_raw(_KINDS[obj["kind"]], "kube-system", obj)
            progress.ready(
                {
                    "server": "https://{}:{}".format(*doors.api.getsockname()),
                    "ca": kept.authority.decode(),
                    "certificate": kept.admin.certificate.decode(),
                    "key": kept.admin.key.decode(),
                }
            )
            await _load(_AFTERWARDS)
            http.load_streams()
            from podwire.emulator.controllers import registry  # noqa: PLC0415 - see the docstring
            from podwire.emulator.controllers.services.kubernetes import ApiAddress  # noqa: PLC0415
            from podwire.emulator.publish import publish  # noqa: PLC0415

            _collect_garbage_from_now_on()
            # All subscribe before an informer runs: the first whole copies are for everybody.
            kubelets, agent = nodes().kubelets, nodes().agent
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
            await asyncio.Event().wait()


async def _load(modules: Iterable[str]) -> None:
    for module in modules:
        importlib.import_module(module)
        await asyncio.sleep(0)


def _collect_garbage_from_now_on() -> None:
    gc.freeze()
    # Rarer than by default: with 200 pods that is a tenth of the control plane's time.
    gc.set_threshold(10_000, 20, 10)
    gc.enable()


def _network(config: ClusterConfig, known: ClusterAddresses) -> dict[str, str]:
    return {
        "domain": config.dns_domain,
        "dns": str(known.dns_service),
        "pods": str(config.pod_subnet),
        "services": str(config.service_subnet),
        "external": str(known.external.ip),
        "backend": config.backend,
        # The nodes' own, as far as it is about names: pods inherit that.
        "resolv.conf": config.resolv_conf or f"search {' '.join(config.dns_search)}\n",
    }


_KINDS: dict[str, type[Object]] = {
    "ConfigMap": ConfigMap,
    "DaemonSet": DaemonSet,
    "Deployment": Deployment,
    "Service": Service,
    "ServiceAccount": ServiceAccount,
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
