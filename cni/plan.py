"""Pure: what must be there for one pod: bridge, veth pair, addresses, routes, and their names.

Every name follows from network and attachment, so that DEL finds what ADD made without a note.
"""

from collections.abc import Iterable
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_network
from typing import NamedTuple

from podwire.cni.netconf import NetConf
from podwire.cni.results import Dns, Result, ResultAddress, ResultInterface, ResultRoute
from podwire.cni.spec import Attachment, Call
from podwire.netlink.changes import (
    AddAddress,
    AddBridge,
    Address,
    AddRoute,
    AddVeth,
    Change,
    Interface,
    Network,
    SetHairpin,
    SetIsolated,
    SetLink,
)

MASQUERADE_PREFIX, PORTS_PREFIX = "podwire_masquerade_", "podwire_ports_"
# The kernel keeps 255 bytes of a link's alias.
_ALIAS_LIMIT = 255


class Bridge(NamedTuple):
    """The node's bridge, and the gateways it must own."""

    name: str
    mac: str
    mtu: int
    addresses: tuple[Interface, ...]
    force_address: bool
    promiscuous: bool


class Plan(NamedTuple):
    """All of one attachment. *ports* and *masquerade* are the names of its nft tables, or empty."""

    attachment: Attachment
    namespace: str
    bridge: Bridge
    host_interface: str
    host_mac: str
    pod_mac: str
    mtu: int
    hairpin: bool
    isolated: bool
    alias: str
    addresses: tuple[ResultAddress, ...]
    routes: tuple[ResultRoute, ...]
    masquerade: str
    ports: str


def plan(conf: NetConf, call: Call, ipam: Result) -> Plan:
    """Return what must be there for *call*, with the addresses and routes that IPAM gave."""
    addresses = tuple(_with_gateway(each, conf) for each in ipam.addresses)
    gateways = tuple(
        _interface(each.gateway, each.address.network.prefixlen)
        for each in addresses
        if conf.is_gateway and each.gateway is not None
    )
    owner = call.attachment
    mark = _digest(conf.name, owner)
    first = addresses[0].address.ip if addresses else None
    return Plan(
        attachment=owner,
        namespace=call.namespace,
        bridge=Bridge(
            name=conf.bridge,
            mac=mac_of(gateways[0].ip if gateways else None, conf.bridge),
            mtu=conf.mtu,
            addresses=gateways,
            force_address=conf.force_address,
            promiscuous=conf.promiscuous,
        ),
        host_interface=host_interface(conf.name, owner),
        host_mac=mac_of(first, mark, prefix="fe:58"),
        pod_mac=conf.mac or mac_of(first, mark),
        mtu=conf.mtu,
        # A pod may ask for its own port of the node. With br_netfilter the bridge itself turns that
        # round, if it may.
        hairpin=conf.hairpin or (bool(conf.ports) and not conf.promiscuous),
        isolated=conf.isolated,
        alias=alias(conf.name, owner),
        addresses=addresses,
        routes=_routes(conf, addresses, ipam.routes),
        masquerade=masquerade_table(conf.name, owner) if conf.masquerade and addresses else "",
        ports=ports_table(conf.name, owner) if conf.ports and addresses else "",
    )


def host_interface(network: str, owner: Attachment) -> str:
    """Return the name of the veth's end on the node: 15 characters, the kernel's limit."""
    return "pw" + _digest(network, owner)[:13]


def masquerade_table(network: str, owner: Attachment) -> str:
    """Return the name of the nft table of one attachment: one table each, so DEL needs no state."""
    return _table(MASQUERADE_PREFIX, network, owner)


def ports_table(network: str, owner: Attachment) -> str:
    """Return the name of the nft table that leads ports of the node to one attachment."""
    return _table(PORTS_PREFIX, network, owner)


def tables(network: str, owner: Attachment) -> tuple[str, str]:
    """Return the names of all nft tables that one attachment may have."""
    return masquerade_table(network, owner), ports_table(network, owner)


def table_prefixes(network: str) -> tuple[str, str]:
    """Return how the names of all tables of *network* begin, of either kind."""
    return _table_prefix(MASQUERADE_PREFIX, network), _table_prefix(PORTS_PREFIX, network)


def alias(network: str, owner: Attachment) -> str:
    """Return the label of the veth's end on the node: whose it is, for people and for GC."""
    full = f"{alias_prefix(network)}{owner.container_id} {owner.interface}"
    short = f"{alias_prefix(network)}{_digest(network, owner)}"
    return next((each for each in (full, short) if len(each.encode()) <= _ALIAS_LIMIT), "")


def alias_prefix(network: str) -> str:
    """Return how the labels of all interfaces of *network* begin."""
    return f"podwire {network} "


def mac_of(address: Address | None, seed: str, *, prefix: str = "0a:58") -> str:
    """Return a MAC that spells an IPv4 address, or one drawn from *seed* if there is none.

    0a:58:0a:f4:01:05 is 10.244.1.5. An address that is given again keeps its MAC so, and the ARP
    entries that others still hold stay true.
    """
    if isinstance(address, IPv4Address):
        return f"{prefix}:{address.packed.hex(':')}"
    # Another second byte, so that it cannot meet one that spells an address.
    return f"{prefix[:2]}:5a:{sha256(f'{seed} {address}'.encode()).digest()[:4].hex(':')}"


def bridge_changes(bridge: Bridge) -> tuple[Change, ...]:
    """Return what makes the bridge, where it is missing."""
    return (AddBridge(bridge.name, bridge.mac, bridge.mtu),)


def veth(wanted: Plan) -> AddVeth:
    """Return what makes the pair, with the pod's end already in the pod."""
    return AddVeth(
        name=wanted.host_interface,
        mac=wanted.host_mac,
        peer=wanted.attachment.interface,
        peer_mac=wanted.pod_mac,
        peer_namespace=wanted.namespace,
        mtu=wanted.mtu,
    )


def pod_changes(wanted: Plan) -> tuple[Change, ...]:
    """Return what is done inside the pod once the pair is there."""
    link = wanted.attachment.interface
    return (
        SetLink("lo", up=True),
        *(AddAddress(link, each.address) for each in wanted.addresses),
        SetLink(link, up=True),
        *(_route_change(route, link) for route in wanted.routes),
    )


def host_changes(wanted: Plan) -> tuple[Change, ...]:
    """Return what is done on the node once the pair is there."""
    name = wanted.host_interface
    changes: list[Change] = [
        SetLink(name, up=True, master=wanted.bridge.name, alias=wanted.alias or None)
    ]
    if wanted.hairpin:
        changes.append(SetHairpin(name, on=True))
    if wanted.isolated:
        changes.append(SetIsolated(name, on=True))
    return tuple(changes)


def masquerade_rules(wanted: Plan) -> str:
    """Return the nft script of the attachment's table; it replaces an earlier one.

    What leaves the pod's subnet gets the node's address; multicast keeps its source, because an
    answer to it would not come back through this node.
    """
    name = wanted.masquerade
    rules = [
        f"{family} saddr {each.address.ip} "
        f"{family} daddr != {{ {each.address.network}, {multicast} }} masquerade"
        for each in wanted.addresses
        for family, multicast in (
            ("ip", "224.0.0.0/4") if each.address.version == 4 else ("ip6", "ff00::/8"),
        )
    ]
    return "\n".join(
        (
            f"table inet {name}",
            f"delete table inet {name}",
            f"table inet {name} {{",
            "  chain postrouting {",
            "    type nat hook postrouting priority srcnat; policy accept;",
            *(f"    {rule}" for rule in rules),
            "  }",
            "}",
            "",
        )
    )


def result(wanted: Plan, conf: NetConf, ipam: Result) -> Result:
    """Return what ADD answers: bridge, end on the node, end in the pod, in this order."""
    pod = 2
    return Result(
        interfaces=(
            ResultInterface(wanted.bridge.name, wanted.bridge.mac, wanted.bridge.mtu),
            ResultInterface(wanted.host_interface, wanted.host_mac, wanted.mtu),
            ResultInterface(
                wanted.attachment.interface, wanted.pod_mac, wanted.mtu, wanted.namespace
            ),
        ),
        addresses=tuple(each._replace(interface=pod) for each in wanted.addresses),
        routes=wanted.routes,
        dns=conf.dns if conf.dns != Dns() else ipam.dns,
    )


def _table(kind: str, network: str, owner: Attachment) -> str:
    return _table_prefix(kind, network) + _digest(network, owner)[:13]


def _table_prefix(kind: str, network: str) -> str:
    return f"{kind}{sha256(network.encode()).hexdigest()[:8]}_"


def _digest(network: str, owner: Attachment) -> str:
    # A slash can be in none of the three.
    return sha256(f"{network}/{owner.container_id}/{owner.interface}".encode()).hexdigest()


def _with_gateway(given: ResultAddress, conf: NetConf) -> ResultAddress:
    if given.gateway is not None or not conf.is_gateway:
        return given
    return given._replace(gateway=given.address.network.network_address + 1)


def _interface(address: Address, prefix: int) -> Interface:
    if isinstance(address, IPv4Address):
        return IPv4Interface((address, prefix))
    return IPv6Interface((address, prefix))


def _routes(
    conf: NetConf, addresses: Iterable[ResultAddress], given: tuple[ResultRoute, ...]
) -> tuple[ResultRoute, ...]:
    gateways: dict[int, Address] = {}
    for each in addresses:
        if each.gateway is not None:
            gateways.setdefault(each.address.version, each.gateway)
    routes = list(given)
    if conf.is_default_gateway:
        for version, gateway in gateways.items():
            default = _default(version)
            if not any(r.destination == default and r.gateway for r in given):
                routes = [r for r in routes if r.destination != default]
                routes.append(ResultRoute(default, gateway))
    return tuple(
        route
        if route.gateway is not None or route.scope == 253
        else route._replace(gateway=gateways.get(route.destination.version))
        for route in routes
    )


def _default(version: int) -> Network:
    return ip_network("0.0.0.0/0" if version == 4 else "::/0")


def _route_change(route: ResultRoute, link: str) -> AddRoute:
    return AddRoute(
        destination=route.destination,
        link=link,
        gateway=route.gateway,
        mtu=route.mtu,
        advmss=route.advmss,
        priority=route.priority,
        table=route.table,
        scope=route.scope,
    )
