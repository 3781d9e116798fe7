"""What everything on one node shares: the runtime, copies of objects, the clock, the images."""

import base64
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from podwire import __version__
from podwire.emulator.images.source import Images
from podwire.emulator.kubelet.catalogue_images import CatalogueImages
from podwire.emulator.kubelet.environment import decoded, service_variables
from podwire.emulator.kubelet.host_names import hosts_file, hosts_file_of_node, kernel_name_of
from podwire.emulator.kubelet.resolver import Resolver
from podwire.emulator.runtimes.runtime import Runtime
from podwire.kube.client import Client
from podwire.kube.clock import Clock, rfc3339
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.node_ready import is_down
from podwire.kube.objects import ConfigMap, Node, Pod, Secret, Service, ServiceAccount


class NodeContext:
    """One node's surroundings; nothing here decides anything."""

    def __init__(
        self,
        name: str,
        address: IPv4Address,
        *,
        netns: Path,
        pods: Path,
        runtime: Runtime,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        clock: Clock,
        resolver: Resolver,
        cluster_dns: str,
        domain: str,
        images: Images | None = None,
        runtime_version: str = f"podwire://{__version__}",
        honoured: Collection[str] = (),
    ) -> None:
        """Take what the node has.

        *netns* is a file, or the Unix socket of who lends the node's sockets. *images* are those of
        the catalogue unless given, and *honoured* the fields of a securityContext that *runtime*
        does as they say.
        """
        self.name = name
        self.address = address
        self.netns = netns
        self.runtime = runtime
        self.client = client
        self.clock = clock
        self.resolver = resolver
        self.cluster_dns = cluster_dns
        self.domain = domain
        self.images = images or CatalogueImages(informers)
        self.runtime_version = runtime_version
        self.honoured = frozenset(honoured)
        self.pods = informers.of(Pod)
        self._nodes = informers.of(Node)
        self._pods_directory = pods
        self._recorder = recorder
        self._services = informers.of(Service)
        self._config_maps = informers.of(ConfigMap)
        self._secrets = informers.of(Secret)
        self._accounts = informers.of(ServiceAccount)

    @property
    def node(self) -> Node | None:
        """Return the node's object, or None where it is not known yet."""
        return self._nodes.get(Key("", self.name))

    @property
    def is_down(self) -> bool:
        """Tell whether the node's object says that it does not run, though we do."""
        return is_down(self.node)

    @property
    def allocatable(self) -> Mapping[str, str]:
        """Return what the node has for pods, by resource."""
        return self.node.status.allocatable if self.node is not None else {}

    async def informed(self) -> None:
        """Wait until what containers are made from is known: at our own start it may not be."""
        for informer in (self._services, self._config_maps, self._secrets, self._accounts):
            await informer.synced.wait()

    def directory_of(self, uid: str) -> Path:
        """Return where the files of a pod are."""
        return self._pods_directory / uid

    async def record_events(self) -> None:
        """Write events until cancelled."""
        await self._recorder.run()

    def event(
        self, pod: Pod, type_: str, reason: str, message: str, *, field_path: str = ""
    ) -> None:
        """Record an event about *pod*, or about the part of it at *field_path*."""
        self._recorder.event(pod, type_, reason, message, field_path=field_path)

    def node_event(self, type_: str, reason: str, message: str) -> None:
        """Record an event about the node."""
        if self.node is not None:
            self._recorder.event(self.node, type_, reason, message)

    def now(self) -> str:
        """Return the time as statuses hold it."""
        return rfc3339(self.clock.now())

    def now_nano(self) -> str:
        """Return the time as log lines hold it: RFC 3339 with nine decimals."""
        moment = self.clock.now()
        return f"{rfc3339(moment)[:-1]}.{int(moment % 1 * 1e9):09d}Z"

    def hostname(self, pod: Pod) -> str:
        """Return what `hostname` says in a pod; raises HostNameError."""
        return self.name if pod.spec.host_network else kernel_name_of(pod, self.domain)

    def hosts_file(self, pod: Pod, address: str) -> str:
        """Return the /etc/hosts of a pod that has *address*."""
        if pod.spec.host_network:
            return hosts_file_of_node(pod, self.name, str(self.address))
        return hosts_file(pod, address, self.domain)

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """Return a ConfigMap, or None."""
        return self._config_maps.get(Key(namespace, name))

    def secret(self, namespace: str, name: str) -> Secret | None:
        """Return a Secret, or None."""
        return self._secrets.get(Key(namespace, name))

    def service_account(self, namespace: str, name: str) -> ServiceAccount | None:
        """Return a ServiceAccount, or None."""
        return self._accounts.get(Key(namespace, name))

    def secret_values(self, namespace: str, name: str) -> dict[str, str] | None:
        """Return a Secret's decoded values, or None."""
        return decoded(self.secret(namespace, name), base64.b64decode)

    def service_variables(self, pod: Pod) -> dict[str, str]:
        """Return the variables that name Services in *pod*."""
        return service_variables(
            self._services.all(), pod.metadata.namespace, links=pod.spec.enable_service_links
        )
