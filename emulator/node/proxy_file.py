"""kube-proxy's file for a node that is a container: ConfigMap kube-system/kube-proxy, as kubeadm's.

Where kube-proxy is a pod, its kubelet mounts the ConfigMap. Here the node reads it from the API
server, and keeps what it has used last: a file with a mistake must not end what serves.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from podwire.emulator.node.settings import NodeSettings
from podwire.errors import ConfigError
from podwire.kube.client import Client
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap
from podwire.kube.proxies import CONFIG_KEY, CONFIG_MAP, NAMESPACE
from podwire.proxy.configuration import Configuration, parse
from podwire.proxy.node import Settings

log = logging.getLogger(__name__)

WHERE = f"ConfigMap {NAMESPACE}/{CONFIG_MAP}"
_SOURCE = f"{WHERE}, {CONFIG_KEY}"
_QUIET = 2.0
"""Seconds to wait for the ConfigMap before saying so: an API server that starts takes one."""


class ProxyFile:
    """Follows the ConfigMap. *replaced* is called when another has taken the place of the one used.

    That is so when the cluster is a new one. An edit is no reason: kube-proxy reads its file once.
    """

    def __init__(
        self, client: Client, settings: NodeSettings, replaced: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._replaced = replaced
        self._kept = Path(settings.state, CONFIG_KEY)
        self._informer = Informer(
            client, ConfigMap, namespace=NAMESPACE, fields=f"metadata.name={CONFIG_MAP}"
        )
        self._informer.subscribe(self._changed)
        self._there = asyncio.Event()
        self._used: ConfigMap | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._informer.run()

    async def there(self) -> None:
        """Wait for the ConfigMap."""
        try:
            async with asyncio.timeout(_QUIET):
                await self._there.wait()
        except TimeoutError:
            log.info("waiting for %s, which says how Services are served", WHERE)
            await self._there.wait()

    def take(self, before: Configuration | None) -> Configuration:
        """Return what the ConfigMap says now; if it is broken, say so and return *before*.

        Without that what this node has used last, before a restart, or else the default.
        """
        self._used = self._informer.get(Key(NAMESPACE, CONFIG_MAP))
        text = self._used.data.get(CONFIG_KEY) if self._used is not None else None
        try:
            if text is None:
                raise ConfigError(f"{WHERE} has no {CONFIG_KEY}")
            found = parse(text, _SOURCE)
        except ConfigError as error:
            kept = before or self._last() or by_default(self._settings)
            log.error("%s\n  the mode stays %s", error, kept.mode)
            return kept
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            self._kept.write_text(text, "utf-8")
        except OSError as error:
            log.warning("cannot keep what %s says: %s", WHERE, error)
        return found

    def _last(self) -> Configuration | None:
        """Return what was used before a restart, None if that is not known."""
        try:
            return parse(self._kept.read_text("utf-8"), str(self._kept))
        except (OSError, UnicodeDecodeError, ConfigError):
            return None

    def _changed(self, _: ConfigMap | None, new: ConfigMap | None) -> None:
        if new is None:
            self._there.clear()
            return
        self._there.set()
        used, name = self._used, self._settings.name
        if used is None or used.data == new.data:
            return
        if used.metadata.uid != new.metadata.uid:
            self._replaced()
            return
        log.info(
            "%s has changed. To use it: kubectl -n %s delete pod kube-proxy-%s, or docker compose"
            " restart %s",
            *(WHERE, NAMESPACE, name, name),
        )


def by_default(settings: NodeSettings) -> Configuration:
    """Return what holds when nothing else is known."""
    return Configuration(settings.mode, Settings(cluster_cidr=settings.cluster))


def on_node(configuration: Configuration, services: IPv4Network) -> Configuration:
    """Return *configuration* with the range of ClusterIPs, of which the file says nothing."""
    return replace(configuration, settings=replace(configuration.settings, service_cidr=services))
