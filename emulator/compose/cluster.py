"""The assembly: API server, controllers, discovery and kubelets, on one event loop.

The only place that constructs the parts; each is a client of the API server over its Unix socket.
"""

import asyncio
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable
from typing import Any, NoReturn

from podwire.emulator import coredns, kubeconfig
from podwire.emulator.addons import NAMESPACE, PROXY, descriptions
from podwire.emulator.apiserver.request import Network
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.compose import identity, leftovers, out
from podwire.emulator.compose.agent import ComposeAgent
from podwire.emulator.compose.corefile import CorefileOnDisk
from podwire.emulator.compose.kubelets import Kubelets
from podwire.emulator.compose.manifests import Manifests, applied_objects
from podwire.emulator.compose.settings import Settings
from podwire.emulator.compose.surroundings import Surroundings
from podwire.emulator.controllers import registry
from podwire.emulator.controllers.context import Controller
from podwire.emulator.controllers.services.kubernetes import ApiAddress
from podwire.emulator.discovery.discovery import Discovery
from podwire.emulator.discovery.labels import NODE, POD_CIDR, PREFIX, belongs
from podwire.emulator.engine.client import Engine
from podwire.emulator.kubelet.agent import PodAgent
from podwire.emulator.kubelet.recorder import CaptureAgent, as_child
from podwire.emulator.runtimes.docker_requests import HONOURED
from podwire.errors import EngineError, InternalError, MachineError, PodwireError, cause
from podwire.kube import credentials
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.config import from_document
from podwire.kube.credentials import ClusterCertificates
from podwire.kube.documents import Place
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.manifests import Manifest
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap

log = logging.getLogger(__name__)

Json = dict[str, Any]

_OWN = Place("podwire", 1, 1)


class Cluster:
    """One life of the control plane. It ends with the process: see `_leave`."""

    def __init__(
        self,
        engine: Engine,
        around: Surroundings,
        settings: Settings,
        kept: ClusterCertificates,
        store: Store,
        began: float,
    ) -> None:
        self._engine = engine
        self._around = around
        self._settings = settings
        self._kept = kept
        self._store = store
        self._began = began
        self._clock = SystemClock()
        self._failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> NoReturn:
        """Serve until a signal says stop, or a part fails."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        settings = self._settings
        for path in (settings.api_socket, settings.dns_socket):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # of one that was killed
        listener = (_listener(settings.port), identity.tls(self._kept))
        async with (
            asyncio.TaskGroup() as tasks,
            Client.unix(settings.api_socket, user="system:podwire") as client,
        ):
            informers = Informers(client)
            kubelets = Kubelets(
                self._engine, client, informers, self._clock, settings, self._around
            )
            informers.of(ConfigMap).subscribe(CorefileOnDisk(settings.corefile).look)
            discovery = self._discovery(client, informers, kubelets)
            agent = self._agent(discovery, kubelets)
            server = self._server(agent)
            async with server.serve([listener], settings.api_socket, dns_path=settings.dns_socket):
                document = self._kubeconfig()
                events = EventRecorder(client, self._clock, "podwire")
                files = Manifests(settings.manifests, from_document(document), events)
                pods = tasks.create_task(self._part("the kubelets", kubelets.run()))
                for name, work in (
                    ("the informers", informers.run()),
                    ("the controllers", registry.run(self._controllers(client, informers))),
                    ("the agent", agent.run()),
                    ("discovery", discovery.run()),
                    ("events", events.run()),
                    ("the manifests", self._apply(document, files)),
                ):
                    tasks.create_task(self._part(name, work), name=name)
                starting = self._announce(document, discovery, files)
                tasks.create_task(self._part("the start", starting, endless=False))
                stopping = tasks.create_task(stop.wait())
                ends: list[asyncio.Future[Any]] = [stopping, self._failed]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if self._failed.done():
                    _leave(self._failed.result())
                if not await self._nodes_run():
                    pods.cancel()
                    await asyncio.wait([pods])
                    await self._remove_pods()
                _leave(0)

    def _discovery(self, client: Client, informers: Informers, kubelets: Kubelets) -> Discovery:
        discovery = Discovery(self._engine, client, informers, self._clock, self._around.project)
        discovery.subscribe(kubelets.look)
        return discovery

    def _agent(self, discovery: Discovery, kubelets: Kubelets) -> ComposeAgent:
        return ComposeAgent(
            self._engine,
            discovery,
            PodAgent(kubelets.started, self._clock),
            CaptureAgent(as_child, self._settings.state / "capture.sock"),
            self._settings,
            self._clock,
        )

    def _server(self, agent: ComposeAgent) -> ApiServer:
        server = ApiServer(
            self._store,
            agent,
            self._clock,
            random.SystemRandom(),
            network=Network(services=self._settings.services),
            honoured=HONOURED,
            token_key=credentials.token_key(self._kept),
        )
        server.fill(self._settings.port)
        return server

    def _controllers(self, client: Client, informers: Informers) -> list[Controller]:
        settings = self._settings
        return registry.controllers(
            client,
            self._clock,
            random.Random(),
            informers=informers,
            root_ca=self._kept.authority.decode(),
            api=ApiAddress(str(settings.api_service), str(settings.address), settings.port),
        )

    def _kubeconfig(self) -> Json:
        return kubeconfig.document(
            self._settings.cluster,
            # The same port on the host and in here.
            server=f"https://127.0.0.1:{self._settings.port}",
            authority=self._kept.authority,
            certificate=self._kept.admin.certificate,
            key=self._kept.admin.key,
        )

    async def _part(self, name: str, work: Awaitable[None], *, endless: bool = True) -> None:
        """Do *work*; when it fails, or ends and is *endless*, so does the program."""
        try:
            await work
            if endless:
                raise InternalError(f"{name} ended by itself")
        except Exception as error:
            told = cause(error)
            if isinstance(told, PodwireError):
                log.error("%s: %s", name, told)
            else:
                log.exception("%s failed; this is podwire's own fault", name)
            if not self._failed.done():
                status = told.exit_status if isinstance(told, PodwireError) else 70
                self._failed.set_result(status)

    async def _apply(self, document: Json, files: Manifests) -> None:
        """Apply what every cluster has, then the manifests, which may say it in other words."""
        outcome = await asyncio.to_thread(
            applied_objects,
            [Manifest(obj, _OWN) for obj in self._descriptions()],
            from_document(document),
        )
        for problem in outcome.problems:
            raise InternalError(problem.message)
        await files.run()

    async def _announce(self, document: Json, discovery: Discovery, files: Manifests) -> None:
        """Say that the cluster is there, when it is: to people, and to the health check."""
        try:
            path = str(await asyncio.to_thread(out.write, self._settings.out, document))
        except MachineError as error:
            log.warning("%s", error)
            path = "none"
        await discovery.synced.wait()
        await files.applied.wait()
        self._settings.ready.touch()
        log.info(
            "cluster %s up in %.1f s: %d nodes, %d pods, %d services; kubeconfig %s",
            *(self._settings.cluster, time.monotonic() - self._began),
            *(self._store.count(kind) for kind in ("nodes", "pods", "services")),
            path,
        )

    def _descriptions(self) -> list[Json]:
        """Return the objects of kube-system; files in ConfigMaps are the user's once they exist."""
        settings = self._settings
        # No upstream: pods have no way out of the cluster, and Docker's DNS would answer with names
        # of Compose. A second of lame duck: `docker compose stop` waits for it.
        text = coredns.corefile(settings.domain, upstream="", lameduck=1)
        found = descriptions(network(settings), settings.proxy_mode, text)
        files = [
            ("ConfigMap", name)
            for name in (PROXY, coredns.NAME)
            if self._store.get("configmaps", Key(NAMESPACE, name)) is not None
        ]
        return [one for one in found if (one["kind"], one["metadata"]["name"]) not in files]

    async def _nodes_run(self) -> bool:
        """Tell whether a node of ours runs: then only we are stopped, and the pods stay."""
        # With a range of pods: a pod may say its node, too.
        labels = [PREFIX + NODE, PREFIX + POD_CIDR]
        wanted = {"label": labels, "status": ["running", "paused", "restarting"]}
        try:
            found = await self._engine.get("/containers/json", filters=wanted)
        except EngineError as error:
            log.warning("%s; the pods stay", error)
            return True
        ours = [one["Names"][0] for one in found if belongs(one["Labels"], self._around.project)]
        if ours:
            log.info("the pods that kubectl made stay: %s runs", ours[0].removeprefix("/"))
        return bool(ours)

    async def _remove_pods(self) -> None:
        try:
            files = self._settings.pod_files
            await leftovers.remove(self._engine, self._around.project, files, known_uids=())
        except EngineError as error:
            log.warning("not all containers of pods could be removed: %s", error)


def network(settings: Settings) -> dict[str, str]:
    """Return how the network is laid, for whoever explains a packet's way."""
    return {
        "domain": settings.domain,
        "dns": str(settings.dns_service),
        "pods": str(settings.pods),
        "services": str(settings.services),
        "backend": "vxlan",
        "bridge": "eth1",
        # Read by podwire.testing.target: pods may be uncaptured, have no built-in client, and no
        # port of a node leads to them.
        "captures": "nodes",
        "host-ports": "reserved",
        "hint": "docker compose --profile capture up -d shows them",
        "client": "image",
    }


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("0.0.0.0", port), backlog=128)
    except OSError as error:
        raise MachineError(
            f"the API server cannot listen on port {port}: {os.strerror(error.errno or 0)}\n"
            "  choose another: PODWIRE_API_PORT=6444 docker compose up"
        ) from error


def _leave(status: int) -> NoReturn:
    """End without unwinding: a kubelet that is cancelled ends its pods, and these shall stay.

    The journal has every change already.
    """
    logging.shutdown()
    os._exit(status)
