"""Pure: what a node is told by its environment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar, cast, get_args

from podwire.emulator.config import SERVICE_SUBNET, Backend
from podwire.errors import ConfigError
from podwire.kube import syntax
from podwire.proxy.configuration import MODES, ModeName

T = TypeVar("T")

API = "/run/podwire/api.sock"
STATE = "/var/lib/podwire"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node: *pods* is its own part of *cluster*, the range of all pods.

    *api* is the path of the API server's Unix socket, *state* the folder for what outlives a
    restart of the container, *mode* how Services are served when the cluster does not say it.
    """

    name: str
    address: IPv4Address
    pods: IPv4Network
    cluster: IPv4Network
    services: IPv4Network
    api: str = API
    backend: Backend = "vxlan"
    mode: ModeName = "userspace"
    state: str = STATE

    @property
    def gateway(self) -> IPv4Address:
        """The address that the node has for its pods: their default gateway."""
        return self.pods[1]

    @property
    def vtep(self) -> IPv4Address:
        """The address of the node's VXLAN device, as flannel chooses it."""
        return self.pods.network_address


def parse(environ: Mapping[str, str]) -> NodeSettings:
    """Return the settings in *environ*; raises ConfigError naming the variable."""
    services = environ.get("PODWIRE_SERVICE_SUBNET") or str(SERVICE_SUBNET)
    environ = {**environ, "PODWIRE_SERVICE_SUBNET": services}
    settings = NodeSettings(
        name=_read(environ, "PODWIRE_NODE", "node-a", _name),
        address=_read(environ, "PODWIRE_NODE_ADDRESS", "10.201.0.11", IPv4Address),
        pods=_read(environ, "PODWIRE_NODE_PODS", "10.244.1.0/24", IPv4Network),
        cluster=_read(environ, "PODWIRE_PODS_SUBNET", "10.244.0.0/16", IPv4Network),
        services=_read(environ, "PODWIRE_SERVICE_SUBNET", str(SERVICE_SUBNET), IPv4Network),
        api=environ.get("PODWIRE_API") or API,
        backend=_backend(environ.get("PODWIRE_BACKEND") or "vxlan"),
        mode=_mode(environ.get("PODWIRE_PROXY_MODE") or "userspace"),
        state=environ.get("PODWIRE_STATE") or STATE,
    )
    _check_ranges(settings)
    return settings


def _read(
    environ: Mapping[str, str], variable: str, example: str, convert: Callable[[str], T]
) -> T:
    text = environ.get(variable, "")
    if not text:
        raise ConfigError(f"{variable} is missing\n  set it, for example: {variable}={example}")
    try:
        return convert(text)
    except ValueError as error:
        raise ConfigError(
            f"{variable}={text}: {error}\n  set it, for example: {variable}={example}"
        ) from error


def _name(text: str) -> str:
    # As discovery reads podwire.dev/node: it is the node's host name, too, and so one label.
    problems = syntax.label(text)
    if problems:
        raise ValueError("; ".join(problems))
    return text


def _backend(text: str) -> Backend:
    if text not in get_args(Backend):
        raise ConfigError(
            f"PODWIRE_BACKEND={text}: there is no such backend\n  use vxlan or host-gw"
        )
    return cast(Backend, text)


def _mode(text: str) -> ModeName:
    if text not in MODES:
        raise ConfigError(
            f"PODWIRE_PROXY_MODE={text}: there is no such mode\n  use one of {', '.join(MODES)}"
        )
    return text


def _check_ranges(settings: NodeSettings) -> None:
    if settings.pods.prefixlen > 30:
        raise ConfigError(
            f"PODWIRE_NODE_PODS={settings.pods} has no room for a gateway and pods\n"
            "  use a range of a /30 or more, usually a /24"
        )
    if not settings.pods.subnet_of(settings.cluster):
        raise ConfigError(
            f"PODWIRE_NODE_PODS={settings.pods} is not in PODWIRE_PODS_SUBNET={settings.cluster}\n"
            "  the second is the range of the pods of all nodes"
        )
    for variable, network in (
        ("PODWIRE_NODE_ADDRESS", IPv4Network(settings.address)),
        ("PODWIRE_SERVICE_SUBNET", settings.services),
    ):
        if network.overlaps(settings.cluster):
            raise ConfigError(
                f"{variable} overlaps PODWIRE_PODS_SUBNET={settings.cluster}\n"
                "  nodes, pods and Services need ranges of their own"
            )
    if settings.address in settings.services:
        raise ConfigError(
            f"PODWIRE_NODE_ADDRESS={settings.address} is in PODWIRE_SERVICE_SUBNET="
            f"{settings.services}\n  nodes, pods and Services need ranges of their own"
        )
