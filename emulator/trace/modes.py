"""Pure data: what each mode of the proxy does with a packet, as kube-proxy's own modes do.

The judge's own copy of these rules: it does not ask the accused. From pkg/proxy/{iptables,ipvs,
nftables}/proxier.go, KEP-1880, 2086, 3866; `userspace` is Podwire's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from podwire.emulator.trace.wiring import ProxySettings

_LOOPBACK = IPv4Network("127.0.0.0/8")

Via = Literal["ClusterIP", "NodePort", "external IP", "load balancer IP"]

Stray = Literal["refused", "dropped", "lost"]
"""What meets a packet that no Service wants; one that is lost follows the node's default route."""

PodNetwork = Literal["routed", "bridge-nf", "switched", ""]
"""How packets between two pods of a node go: through its routing, through its packet filter, past
both; or nobody said."""

MODE_ANNOTATION = "podwire.dev/proxy-mode"
SOURCE_ANNOTATION = "podwire.dev/source"
POD_NETWORK_ANNOTATION = "podwire.dev/pod-network"


@dataclass(frozen=True, slots=True)
class Mode:
    """The data of a mode.

    One that *translates* gives a connection another destination (DNAT), and maybe another source
    (SNAT); any other is a relay, which opens a connection of its own. *wrong_port* is what meets a
    port that a ClusterIP has not, *unused* an address of the Services' range that no Service has.
    *short_circuits*: for pods and processes of the node external policy Local counts as Cluster.
    *falls_back*: so it does for all, and the internal one, too, where the node has no endpoint.
    *refuses_own*: an external address without endpoints is refused to processes of the node, too.
    """

    name: str
    translates: bool
    node_ports: Literal["primary", "all", "all and loopback"] = "primary"
    wrong_port: Stray = "refused"
    unused: Stray = "refused"
    short_circuits: bool = True
    falls_back: bool = False
    refuses_own: bool = True

    @property
    def rules(self) -> str:
        """Return what in the node does the work, in words."""
        return f"{self.name} rules" if self.translates else "proxy"


USERSPACE = Mode("userspace", translates=False)
NFTABLES = Mode("nftables", translates=True, unused="dropped")
IPTABLES = Mode(
    "iptables",
    translates=True,
    node_ports="all and loopback",
    wrong_port="lost",
    unused="lost",
    refuses_own=False,  # its chain for external addresses hangs on INPUT and FORWARD only
)
# One virtual server for an address has one set of endpoints, whoever asks.
IPVS = Mode(
    "ipvs",
    translates=True,
    node_ports="all",
    unused="lost",
    short_circuits=False,
    falls_back=True,
)
# The kernel lacks IPVS: the same decisions, carried out by the relay.
IPVS_USERSPACE = replace(IPVS, name="ipvs (userspace)", translates=False, unused="refused")

# Not kube-proxy's: the CNI plugin's rules for a port of the node that leads to one pod.
HOST_PORT = Mode("hostPort", translates=True)

MODES: Mapping[str, Mode] = {
    mode.name: mode for mode in (USERSPACE, NFTABLES, IPTABLES, IPVS, IPVS_USERSPACE)
}


@dataclass(frozen=True, slots=True)
class NodeProxy:
    """The proxy of one node, as its Node says. *keeps* is of a relay: it may ask as its client."""

    mode: Mode = USERSPACE
    keeps: bool = False
    pod_network: PodNetwork = ""

    @staticmethod
    def of(annotations: Mapping[str, str]) -> "NodeProxy":
        """Return what the annotations of a Node say; of a Node without them, a plain relay."""
        networks: dict[str, PodNetwork] = {
            "routed": "routed", "bridge-nf": "bridge-nf", "switched": "switched",
        }  # fmt: skip
        return NodeProxy(
            mode=MODES.get(annotations.get(MODE_ANNOTATION, ""), USERSPACE),
            keeps=annotations.get(SOURCE_ANNOTATION) == "kept",
            pod_network=networks.get(annotations.get(POD_NETWORK_ANNOTATION, ""), ""),
        )

    @property
    def sees_same_node(self) -> bool:
        """Return whether answers from pod to pod of the node come back to who passed them on."""
        return self.pod_network == "routed" or (
            self.mode.translates and self.pod_network == "bridge-nf"
        )


def serves_node_ports(
    mode: Mode, settings: ProxySettings, address: IPv4Address, *, primary: bool
) -> bool:
    """Return whether NodePorts are served on *address*, one of a node's own or of 127.0.0.0/8."""
    ranges = settings.node_ports
    if ranges is None:
        if address.is_loopback:
            return mode.node_ports == "all and loopback" and settings.localhost_node_ports
        return primary or mode.node_ports != "primary"
    if ranges == "primary":
        return primary
    named = not ranges or any(address in network for network in ranges)
    if not address.is_loopback:
        return named
    if mode.node_ports == "all and loopback":
        return named and settings.localhost_node_ports
    # The relay listens there only if a range is about nothing else.
    inside = any(address in n and n.prefixlen >= _LOOPBACK.prefixlen for n in ranges)
    return mode.name == USERSPACE.name and inside


Client = Literal["pod here", "process", "outside"]
"""Who asks, seen from the node whose proxy decides: one of its pods, one of its own processes, or
anybody else: another node, whose pods come masqueraded, or a host out of the cluster."""

Toward = Literal["pod here", "process here", "itself", "away"]
"""Where a backend is for that proxy and that client; to be led to *itself* is a hairpin."""


def keeps_source(
    proxy: NodeProxy,
    settings: ProxySettings,
    client: Client,
    via: Via,
    policy: str,
    *,
    to: Toward,
) -> bool:
    """Return whether a backend sees the client's own address.

    *policy* is the traffic policy that counted for outsiders.
    """
    if to == "process here" and client != "process" and proxy.mode.translates:
        return True  # what is delivered on the node never comes to where SNAT is done
    if client == "process" or to == "itself":
        return False
    if via == "ClusterIP" and (client != "pod here" or settings.masquerade_all):
        return False
    if via != "ClusterIP" and policy != "Local":
        return False
    if client == "pod here" and to == "pod here" and not proxy.sees_same_node:
        return False
    # A relay gets the answers only if they pass it: the client or the backend is on its node.
    return proxy.mode.translates or (proxy.keeps and (client == "pod here" or to != "away"))
