"""Pure: the ports of a Service -> its chains, affinity sets and elements in the table kube-proxy.

The layout is that of kube-proxy 1.36 (pkg/proxy/nftables/proxier.go).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from podwire.proxy.endpoints import Backend
from podwire.proxy.nftables.names import endpoint_base, port_base
from podwire.proxy.nftables.objects import (
    Balance,
    Contents,
    Element,
    Goto,
    Lead,
    Mark,
    Place,
    Remember,
    Remembered,
    Rule,
    Spread,
)
from podwire.proxy.node import NodeView, Settings
from podwire.proxy.table import ServicePort, Target

CLUSTER_IPS = "cluster-ips"
NODEPORT_IPS = "nodeport-ips"
HAIRPIN = "hairpin-connections"
SERVICE_IPS = "service-ips"
SERVICE_NODEPORTS = "service-nodeports"
NO_ENDPOINT_SERVICES = "no-endpoint-services"
NO_ENDPOINT_NODEPORTS = "no-endpoint-nodeports"
FIREWALL_IPS = "firewall-ips"

REJECT_CHAIN = "reject-chain"


@dataclass(frozen=True, slots=True)
class Matches:
    """Matches that all Services share: is the source *local* (a pod's), is it *remote*.

    Both are empty when nothing tells pods from others.
    """

    local: str = ""
    remote: str = ""


def matches(node: NodeView) -> Matches:
    """Return how *node* tells traffic of pods from other traffic (detectLocalMode)."""
    settings = node.settings
    match settings.detect_local:
        case "ClusterCIDR":
            return _source(settings.cluster_cidr)
        case "NodeCIDR":
            return _source(node.pods[0] if node.pods else None)
        case "BridgeInterface":
            return _interface(settings.bridge_interface)
        case "InterfaceNamePrefix":
            prefix = settings.interface_prefix
            return _interface(f"{prefix}*" if prefix else "")


def set_mark(settings: Settings) -> str:
    """Return the statement that has a packet masqueraded when it leaves."""
    return f"meta mark set mark or {mark(settings)}"


def mark(settings: Settings) -> str:
    """Return the bit that says: masquerade."""
    return f"{1 << settings.masquerade_bit:#010x}"


def contents(ports: Iterable[ServicePort], node: NodeView) -> Contents:
    """Return what the Service with *ports* has in the table of *node*."""
    found = Contents()
    local = matches(node).local
    for port in ports:
        _add_port(found, port, node, local)
    return found


def _add_port(found: Contents, port: ServicePort, node: NodeView, local: str) -> None:
    base = port_base(port.name, port.protocol)
    service, only_local = f"service-{base}", f"local-{base}"
    external, firewall = f"external-{base}", f"firewall-{base}"
    outside = port.from_outside
    cluster = port.internal_policy == "Cluster" or outside
    here = port.internal_policy == "Local" or (outside and port.external_policy == "Local")
    used: dict[Backend, None] = {}
    for chain, wanted, backends in (
        (service, cluster, port.usable.cluster),
        (only_local, here, port.usable.local),
    ):
        if wanted and backends:
            found.chains[chain] = _choice(port, backends)
            used |= dict.fromkeys(backends)
    if port.affinity_seconds:
        _remember_clients(found, port, used)
    for backend in port.usable.local:
        if backend in used:
            address = backend.address
            place = Place(HAIRPIN, (address, address, port.protocol, backend.port))
            found.elements[place] = Element()
    internal = only_local if port.internal_policy == "Local" else service
    found.elements[Place(CLUSTER_IPS, (port.cluster_ip,))] = Element()
    _lead(found, port, port.cluster_ip, internal if port.internal.backends else "", port.internal)
    if not outside:
        return
    if used:
        found.chains[external] = _external(port, node.settings, local, service, only_local)
    entrance = external if used else ""
    for address in (*port.external_ips, *port.load_balancer_ips):
        _lead(found, port, address, entrance, port.external)
    if port.node_port:
        key = (port.protocol, port.node_port)
        if entrance:
            found.elements[Place(SERVICE_NODEPORTS, key)] = Element(f"goto {entrance}")
        if not port.external.backends:
            found.elements[Place(NO_ENDPOINT_NODEPORTS, key)] = _refusal(port, port.external)
    filtered = _source_filter(port, node)
    if filtered:
        found.chains[firewall] = (filtered,)
        for address in port.load_balancer_ips:
            place = Place(FIREWALL_IPS, (address, port.protocol, port.port))
            found.elements[place] = Element(f"goto {firewall}")


def _lead(
    found: Contents, port: ServicePort, address: IPv4Address, chain: str, target: Target
) -> None:
    """Have *address* lead to *chain*, and what is not led anywhere refused as *target* says.

    Both can be: under the policy Local the chain serves this node's own clients although there is
    no endpoint for others.
    """
    key = (address, port.protocol, port.port)
    if chain:
        found.elements[Place(SERVICE_IPS, key)] = Element(f"goto {chain}")
    if not target.backends:
        found.elements[Place(NO_ENDPOINT_SERVICES, key)] = _refusal(port, target)


def _refusal(port: ServicePort, target: Target) -> Element:
    verdict = "drop" if target.verdict == "DROP" else f"goto {REJECT_CHAIN}"
    return Element(verdict, str(port.name))


def _choice(port: ServicePort, backends: tuple[Backend, ...]) -> tuple[Rule, ...]:
    if not port.affinity_seconds:
        return (Balance(port.protocol, backends),)
    bases = [endpoint_base(port.name, port.protocol, backend) for backend in backends]
    return (
        *(Remembered(f"affinity-{base}", f"endpoint-{base}") for base in bases),
        Spread(tuple(f"endpoint-{base}" for base in bases)),
    )


def _remember_clients(found: Contents, port: ServicePort, used: Iterable[Backend]) -> None:
    for backend in used:
        base = endpoint_base(port.name, port.protocol, backend)
        found.affinity[f"affinity-{base}"] = port.affinity_seconds
        found.chains[f"endpoint-{base}"] = (
            Remember(f"affinity-{base}"),
            Lead(port.protocol, backend),
        )


def _external(
    port: ServicePort, settings: Settings, local: str, service: str, only_local: str
) -> tuple[Rule, ...]:
    """Return the rules for NodePort, external and load-balancer addresses.

    Under the policy Local this node's pods and processes are treated as if their packets had gone
    out to a load balancer and come back: any endpoint will do.
    """
    if port.external_policy == "Cluster":
        return (Mark(1 << settings.masquerade_bit), Goto(service))
    masquerade = set_mark(settings)
    rules: list[Rule] = []
    if port.short_circuit.backends:
        if local:
            rules.append(f'{local} goto {service} comment "short-circuit pod traffic"')
        rules += [
            f'fib saddr type local {masquerade} comment "masquerade local traffic"',
            f'fib saddr type local goto {service} comment "short-circuit local traffic"',
        ]
    if port.external.backends:
        rules.append(Goto(only_local))
    return tuple(rules)


def _source_filter(port: ServicePort, node: NodeView) -> str:
    """Return the rule that drops who may not use the load balancer's addresses, "" for none."""
    ranges = port.source_ranges
    if not ranges or not port.load_balancer_ips or any(r.prefixlen == 0 for r in ranges):
        return ""
    allowed = list(ranges)
    if any(address in r for r in ranges for address in node.own):
        # A node that holds the address itself takes it as its source.
        allowed += [IPv4Network(address) for address in port.load_balancer_ips]
    # Older releases of nft refuse ranges that overlap.
    words = ", ".join(_network(network) for network in collapse_addresses(allowed))
    return f"ip saddr != {{ {words} }} drop"


def _network(network: IPv4Network) -> str:
    return str(network.network_address if network.prefixlen == 32 else network)


def _source(network: IPv4Network | None) -> Matches:
    if network is None:
        return Matches()
    return Matches(f"ip saddr {network}", f"ip saddr != {network}")


def _interface(name: str) -> Matches:
    return Matches(f'iifname "{name}"', f'iifname != "{name}"') if name else Matches()
