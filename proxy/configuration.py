"""Pure: KubeProxyConfiguration as YAML -> what a proxy is to do.

The file is kube-proxy's own (kubeproxy.config.k8s.io/v1alpha1). A field that is unknown or cannot
be honoured is an error with line and column, except those that change nothing that can be seen
(`_WITHOUT_EFFECT`): a file from a real cluster loads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal, cast

from podwire.errors import ConfigError
from podwire.kube import durations
from podwire.kube.documents import read
from podwire.kube.fields import Fields
from podwire.proxy.node import DetectLocal, Settings

ModeName = Literal["userspace", "nftables", "iptables", "ipvs"]
MODES: tuple[ModeName, ...] = ("userspace", "nftables", "iptables", "ipvs")

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh")
HEALTHZ_PORT, METRICS_PORT = 10256, 10249


@dataclass(frozen=True, slots=True)
class Address:
    """Where to serve pages. *host* is None for the node's own addresses (0.0.0.0 in the file).

    A wildcard is never bound: the node would answer on every ClusterIP.
    """

    host: IPv4Address | None
    port: int


@dataclass(frozen=True, slots=True)
class Ipvs:
    """What the mode ipvs alone looks at; times in seconds, 0 leaves the kernel's."""

    scheduler: str = "rr"
    exclude_cidrs: tuple[IPv4Network, ...] = ()
    strict_arp: bool = False
    tcp_timeout: float = 0.0
    tcp_fin_timeout: float = 0.0
    udp_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """What KubeProxyConfiguration says. *sync_period* is in seconds.

    *conntrack* are the sysctls net.netfilter.* that are asked for, by name.
    """

    mode: ModeName = "userspace"
    settings: Settings = field(default_factory=Settings)
    hostname_override: str = ""
    healthz: Address | None = Address(None, HEALTHZ_PORT)
    metrics: Address | None = Address(IPv4Address("127.0.0.1"), METRICS_PORT)
    sync_period: float = 30.0
    ipvs: Ipvs = field(default_factory=Ipvs)
    conntrack: Mapping[str, str] = field(default_factory=dict[str, str])


_WITHOUT_EFFECT = (
    "featureGates", "clientConnection", "logging", "bindAddress", "bindAddressHardFail",
    "enableProfiling", "showHiddenMetricsForVersion", "oomScoreAdj", "configSyncPeriod",
    "portRange", "windowsRunAsService",
)  # fmt: skip
_REFUSED = {"winkernel": "this is Linux"}


def parse(text: str, source: str = "config.conf") -> Configuration:
    """Return what *text* says; raises ConfigError with file, line and column."""
    documents = read(text, source)
    if len(documents) != 1:
        raise ConfigError(
            f"{source}: one KubeProxyConfiguration is expected, not {len(documents)} documents"
        )
    return _configuration(Fields(documents[0], ()))


def _configuration(fields: Fields) -> Configuration:
    fields.only(
        "apiVersion", "kind", "mode", "iptables", "ipvs", "nftables", "userspace", "conntrack",
        "clusterCIDR", "detectLocalMode", "detectLocal", "nodePortAddresses", "hostnameOverride",
        "healthzBindAddress", "metricsBindAddress", *_WITHOUT_EFFECT,
        refused=_REFUSED,
    )  # fmt: skip
    fields.one_of("apiVersion", API_VERSION, (API_VERSION,))
    fields.one_of("kind", "KubeProxyConfiguration", ("KubeProxyConfiguration",))
    mode = cast("ModeName", fields.one_of("mode", "", ("", *MODES)) or "userspace")
    of_mode = fields.child(mode)
    default = Configuration()
    return Configuration(
        mode=mode,
        settings=_settings(fields, mode),
        hostname_override=fields.text("hostnameOverride", ""),
        healthz=_address(fields, "healthzBindAddress", default.healthz, HEALTHZ_PORT),
        metrics=_address(fields, "metricsBindAddress", default.metrics, METRICS_PORT),
        sync_period=_seconds(of_mode, "syncPeriod") or default.sync_period,
        ipvs=_ipvs(fields.child("ipvs")),
        conntrack=_conntrack(fields.child("conntrack"), mode),
    )


def _settings(fields: Fields, mode: ModeName) -> Settings:
    for name, known in (
        ("iptables", ("masqueradeBit", "masqueradeAll", "localhostNodePorts")),
        ("nftables", ("masqueradeBit", "masqueradeAll")),
        ("userspace", ("keepSource", "masqueradeAll")),
    ):
        child = fields.child(name)
        if child is not None:
            child.only(*known, "syncPeriod", "minSyncPeriod")
            # Changes are applied at once here; but a wrong value is said.
            _seconds(child, "minSyncPeriod")
            _seconds(child, "syncPeriod")
    detect = fields.one_of(
        "detectLocalMode",
        "",
        ("", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"),
    )
    local = fields.child("detectLocal")
    if local is not None:
        local.only("bridgeInterface", "interfaceNamePrefix")
    # ipvs masquerades by iptables, and takes from that section how.
    shared = fields.child("iptables") if mode == "ipvs" else fields.child(mode)
    bit = shared.whole("masqueradeBit", 14) if shared is not None else 14
    if not 0 <= bit <= 31 and shared is not None:
        raise shared.error("masqueradeBit", f"{bit} is no bit of a mark (0 to 31)")
    iptables = fields.child("iptables")
    return Settings(
        cluster_cidr=_cluster_cidr(fields),
        node_port_addresses=_node_port_addresses(fields),
        keep_source=_keep_source(fields),
        masquerade_all=shared is not None and shared.yes("masqueradeAll"),
        masquerade_bit=bit,
        localhost_node_ports=not (
            iptables is not None
            and iptables.has("localhostNodePorts")
            and not iptables.yes("localhostNodePorts")
        ),
        detect_local=cast("DetectLocal", detect or "ClusterCIDR"),
        bridge_interface=local.text("bridgeInterface", "") if local is not None else "",
        interface_prefix=local.text("interfaceNamePrefix", "") if local is not None else "",
    )


def _keep_source(fields: Fields) -> bool:
    child = fields.child("userspace")
    return not (child is not None and child.has("keepSource") and not child.yes("keepSource"))


def _cluster_cidr(fields: Fields) -> IPv4Network | None:
    texts = [text.strip() for text in fields.text("clusterCIDR", "").split(",")]
    try:
        return next((_network(text) for text in texts if text and ":" not in text), None)
    except ValueError as error:
        raise fields.error("clusterCIDR", f"clusterCIDR: {error}") from error


def _node_port_addresses(
    fields: Fields,
) -> tuple[IPv4Network, ...] | Literal["primary"] | None:
    texts = fields.list_of_texts("nodePortAddresses")
    if texts == ("primary",):
        return "primary"
    networks: list[IPv4Network] = []
    for text in texts:
        if ":" in text:
            continue
        try:
            networks.append(_network(text))
        except ValueError as error:
            raise fields.error("nodePortAddresses", f"nodePortAddresses: {error}") from error
    if texts and not networks:
        # A list without a CIDR of a family takes all addresses of it.
        return (IPv4Network("0.0.0.0/0"),)
    return tuple(networks) or None


def _ipvs(fields: Fields | None) -> Ipvs:
    if fields is None:
        return Ipvs()
    fields.only(
        "scheduler", "excludeCIDRs", "strictARP", "tcpTimeout", "tcpFinTimeout", "udpTimeout",
        "syncPeriod", "minSyncPeriod",
    )  # fmt: skip
    try:
        excluded = tuple(_network(t) for t in fields.list_of_texts("excludeCIDRs"))
    except ValueError as error:
        raise fields.error("excludeCIDRs", f"ipvs.excludeCIDRs: {error}") from error
    return Ipvs(
        scheduler=fields.one_of("scheduler", "", ("", *SCHEDULERS)) or "rr",
        exclude_cidrs=excluded,
        strict_arp=fields.yes("strictARP"),
        tcp_timeout=_seconds(fields, "tcpTimeout"),
        tcp_fin_timeout=_seconds(fields, "tcpFinTimeout"),
        udp_timeout=_seconds(fields, "udpTimeout"),
    )


_TIMEOUTS = {
    "tcpEstablishedTimeout": ("nf_conntrack_tcp_timeout_established", 24 * 3600.0),
    "tcpCloseWaitTimeout": ("nf_conntrack_tcp_timeout_close_wait", 3600.0),
    "udpTimeout": ("nf_conntrack_udp_timeout", 0.0),
    "udpStreamTimeout": ("nf_conntrack_udp_timeout_stream", 0.0),
}
"""The sysctl of each field, and kube-proxy's default in seconds; 0 leaves the kernel's."""


def _conntrack(fields: Fields | None, mode: ModeName) -> Mapping[str, str]:
    if fields is not None:
        # maxPerCore and min set nf_conntrack_max, which is the machine's and not a node's here.
        fields.only("maxPerCore", "min", "tcpBeLiberal", *_TIMEOUTS)
    wanted: dict[str, str] = {}
    for key, (sysctl, default) in _TIMEOUTS.items():
        # What the relay carries does not depend on the table: there only what is said counts.
        usual = 0.0 if mode == "userspace" else default
        seconds = int(_seconds(fields, key, usual))
        if seconds:
            wanted[sysctl] = str(seconds)
    if fields is not None and fields.yes("tcpBeLiberal"):
        wanted["nf_conntrack_tcp_be_liberal"] = "1"
    return wanted


def _network(text: str) -> IPv4Network:
    if "/" not in text:
        raise ValueError(f"{text!r} is no CIDR (write it like 10.0.0.0/8)")
    return IPv4Network(text)


def _seconds(fields: Fields | None, key: str, default: float = 0.0) -> float:
    return fields.parsed(key, default, durations.seconds) if fields is not None else default


def _address(fields: Fields, key: str, default: Address | None, port: int) -> Address | None:
    text = fields.text(key, "")
    if not text:
        return default
    host, colon, number = text.rpartition(":")
    if not colon:
        host, number = text, str(port)
    if not number.isdigit() or int(number) > 65535:
        raise fields.error(key, f"{key}: {text!r} is not ADDRESS:PORT")
    try:
        address = IPv4Address(host or "0.0.0.0")
    except ValueError as error:
        raise fields.error(key, f"{key}: {error}") from error
    return Address(None if address == IPv4Address(0) else address, int(number))
