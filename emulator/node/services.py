"""The service proxy of a node that is a container: the same as the pod's, in the node's process.

It is made anew, with what ConfigMap kube-system/kube-proxy then says, when the pod that shows it is
deleted: as where kube-proxy is a pod, but without a restart of the node. What the mode before has
programmed serves until the first sync of the next.
"""

import asyncio
import logging
from contextlib import AsyncExitStack

from podwire.emulator.node.kernel import NodeNetwork
from podwire.emulator.node.proxy_file import ProxyFile, on_node
from podwire.kube.client import Client
from podwire.kube.informer import Informer
from podwire.kube.objects import Pod
from podwire.kube.proxies import NAMESPACE
from podwire.proxy import modes, serving, surroundings, sysctls
from podwire.proxy.configuration import Configuration
from podwire.proxy.endpoints import Place
from podwire.proxy.node import NodeView
from podwire.proxy.whole import Proxy

log = logging.getLogger("podwire.node")


class NodeServices:
    """Serves Services on *network*; healthy once it does and *joined* is set.

    *for_proxy* speaks to the API server as kube-proxy, *for_node* as the node's kubelet.
    """

    def __init__(
        self,
        network: NodeNetwork,
        for_proxy: Client,
        for_node: Client,
        joined: asyncio.Event,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._network = network
        self._client = for_proxy
        self._joined = joined
        self._loop = loop
        self._again = asyncio.Event()
        settings = network.settings
        self._file = ProxyFile(for_node, settings, self._again.set)
        self._pod = Informer(
            for_node, Pod, namespace=NAMESPACE, fields=f"metadata.name=kube-proxy-{settings.name}"
        )
        self._pod.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Serve until cancelled. Raises MachineError for a mode that cannot work here."""
        settings = self._network.settings
        log.info("waiting for the API server at %s", settings.api)
        async with asyncio.TaskGroup() as tasks:
            for informer in (self._file, self._pod):
                tasks.create_task(informer.run())
            configuration: Configuration | None = None
            while True:
                await self._file.there()
                self._again.clear()
                configuration = self._file.take(configuration)
                await self._serve(on_node(configuration, settings.services))

    async def _serve(self, configuration: Configuration) -> None:
        """Serve as *configuration* says, until it is to be read again."""
        mode = modes.build(configuration, self._loop)
        sysctls.write_conntrack(configuration.conntrack)
        view, period = self._view(configuration), configuration.sync_period
        proxy = Proxy(mode, view, self._client, self._loop, period)
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = [
                    tasks.create_task(proxy.run(self._client)),
                    tasks.create_task(self._serve_pages(proxy, configuration)),
                ]
                await self._again.wait()
                for part in parts:
                    part.cancel()
        finally:
            await mode.close(cleanup=False)

    def _view(self, configuration: Configuration) -> NodeView:
        settings = self._network.settings
        return NodeView(
            Place(settings.name),
            settings.address,
            addresses=surroundings.look(settings.address).addresses,
            pods=(settings.pods,),
            # By the engine's bridge, which is in no namespace of ours: nothing of the node sees it.
            same_pod_network="switched",
            settings=configuration.settings,
        )

    async def _serve_pages(self, proxy: Proxy, configuration: Configuration) -> None:
        """Serve health and metrics as soon as there is health: a container is healthy by these."""
        await proxy.proxier.synced.wait()
        await self._joined.wait()
        settings = self._network.settings
        async with AsyncExitStack() as stack:
            for address, pages in (
                (configuration.healthz, proxy.pages.health()),
                (configuration.metrics, proxy.pages.metrics()),
            ):
                await serving.serve(stack, pages, address, settings.address)
            log.info("%s is ready, proxy mode %s", settings.name, proxy.proxier.mode.name)
            await asyncio.Event().wait()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is None:
            log.info("the pod %s was deleted: the proxy starts anew", old.metadata.name)
            self._again.set()
