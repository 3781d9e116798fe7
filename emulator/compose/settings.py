"""Pure: the environment of the service `api` to Settings; what is wrong in it is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar, cast, get_args

from podwire.emulator import config
from podwire.errors import ConfigError

T = TypeVar("T")

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_MODES = get_args(config.ProxyMode)
_ADDRESS = IPv4Address("10.201.0.2")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the control plane must know of its surroundings."""

    cluster: str = "compose"
    # Names the containers that are ours; empty: what compose called the project we belong to.
    project: str = ""
    # What pause containers are made of; empty: of what we are made.
    image: str = ""
    # Our own address on the network of the nodes, and the port, the same inside and published.
    address: IPv4Address = _ADDRESS
    port: int = 6443
    pods: IPv4Network = config.POD_SUBNET
    services: IPv4Network = config.SERVICE_SUBNET
    domain: str = "cluster.local"
    # What ConfigMap kube-system/kube-proxy says at first.
    proxy_mode: config.ProxyMode = "userspace"
    engine: Path = Path("/var/run/docker.sock")
    # Shared with the nodes: the API server's socket, and theirs.
    run: Path = Path("/run/podwire")
    # Shared with coredns: the API server's socket for who may only read, and not everything.
    readers: Path = Path("/run/podwire-readers")
    # Shared with the profile `capture`: who reaches its socket can capture all of the host.
    captures: Path = Path("/run/podwire-captures")
    # Outlives a restart of the container, but not the container.
    state: Path = Path("/var/lib/podwire")
    # The files of pods that we make; the engine mounts them into containers.
    pod_files: Path = Path("/run/podwire-pods")
    # Ours and the user's.
    manifests: tuple[Path, ...] = (
        Path("/etc/podwire/manifests"),
        Path("/etc/podwire/more-manifests"),
    )
    # The project's folder on the host: kubeconfig and captures.
    out: Path = Path("/out")
    ready: Path = Path("/tmp/ready")
    log: str = "INFO"

    @property
    def api_service(self) -> IPv4Address:
        """Return the ClusterIP of the Service `kubernetes`."""
        return self.services[1]

    @property
    def dns_service(self) -> IPv4Address:
        """Return the ClusterIP of the Service `kube-dns`."""
        return self.services[10]

    @property
    def api_socket(self) -> Path:
        """Return where components reach the API server: as whoever they say they are."""
        return self.run / "api.sock"

    @property
    def dns_socket(self) -> Path:
        """Return where the DNS server reaches the API server, and is nobody else."""
        return self.readers / "api.sock"

    @property
    def corefile(self) -> Path:
        """Return where the DNS server finds its Corefile."""
        return self.readers / "Corefile"

    @property
    def captures_socket(self) -> Path:
        """Return the lender of the pods' interfaces; the profile `capture` serves it."""
        return self.captures / "captures.sock"

    def node_socket(self, node: str) -> Path:
        """Return the lender of sockets of a node's network namespace."""
        return self.run / "nodes" / f"{node}.sock"


def from_environ(environ: Mapping[str, str]) -> Settings:
    """Return the settings; raises ConfigError that names the variable. Empty ones are absent."""
    default = Settings()

    def value(name: str, otherwise: T, read: Callable[[str], T], wanted: str) -> T:
        text = environ.get(name, "").strip()
        if not text:
            return otherwise
        try:
            return read(text)
        except ValueError as error:
            raise ConfigError(f"{name}={text}: {error or 'wrong'}\n  give {wanted}") from error

    def path(name: str, otherwise: Path) -> Path:
        return value(name, otherwise, _absolute, "an absolute path")

    services = value("PODWIRE_SERVICE_SUBNET", default.services, _services, "such as 10.96.0.0/12")
    pods = value("PODWIRE_PODS_SUBNET", default.pods, IPv4Network, "such as 10.244.0.0/16")
    if services.overlaps(pods):
        raise ConfigError(
            f"PODWIRE_SERVICE_SUBNET={services} and PODWIRE_PODS_SUBNET={pods} overlap\n"
            "  give the pods another range; PODWIRE_PODS of a compose file is its first two numbers"
        )
    return Settings(
        cluster=config.checked_name(environ.get("PODWIRE_CLUSTER", "") or default.cluster),
        project=environ.get("PODWIRE_PROJECT", ""),
        image=environ.get("PODWIRE_IMAGE", ""),
        address=value(
            "PODWIRE_ADDRESS",
            default.address,
            IPv4Address,
            "this container's own address on the network of the nodes, such as 10.201.0.2",
        ),
        port=value("PODWIRE_API_PORT", default.port, _port, "a number from 1 to 65535"),
        pods=pods,
        services=services,
        proxy_mode=value(
            "PODWIRE_PROXY_MODE", default.proxy_mode, _mode, f"one of {', '.join(_MODES)}"
        ),
        domain=value("PODWIRE_DOMAIN", default.domain, _domain, "such as cluster.local"),
        engine=path("PODWIRE_DOCKER_SOCKET", default.engine),
        run=path("PODWIRE_RUN", default.run),
        readers=path("PODWIRE_READERS", default.readers),
        captures=path("PODWIRE_CAPTURES", default.captures),
        state=path("PODWIRE_STATE", default.state),
        pod_files=path("PODWIRE_POD_FILES", default.pod_files),
        out=path("PODWIRE_OUT", default.out),
        ready=path("PODWIRE_READY", default.ready),
        log=value("PODWIRE_LOG", default.log, _level, f"one of {', '.join(_LEVELS)}"),
    )


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number < 65536:
        raise ValueError("not a port")
    return number


def _mode(text: str) -> config.ProxyMode:
    if text not in _MODES:
        raise ValueError("no such mode")
    return cast("config.ProxyMode", text)


def _services(text: str) -> IPv4Network:
    subnet = IPv4Network(text)
    if subnet.num_addresses < 16:
        raise ValueError("too small: the eleventh address is that of kube-dns")
    return subnet


def _domain(text: str) -> str:
    if not all(config.is_label(label) for label in text.split(".")):
        raise ValueError("not a DNS name")
    return text


def _level(text: str) -> str:
    if text.upper() not in _LEVELS:
        raise ValueError("no such level")
    return text.upper()


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError("not absolute")
    return path
