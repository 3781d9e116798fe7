"""Pure: a node's interfaces and peers -> the changes that make a container a node.

The node takes the first address of its pods' network, which the engine has told pods is their
gateway. Towards other nodes it is wired as a node of the netns runtime: topology.py, and flannel.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from podwire.emulator.config import Backend
from podwire.emulator.node.packet_filter import SERVED
from podwire.emulator.node.roster import Peer, vtep_mac
from podwire.emulator.node.settings import NodeSettings
from podwire.emulator.topology import ANYWHERE, VNI, VXLAN, VXLAN_OVERHEAD, VXLAN_PORT
from podwire.errors import MachineError
from podwire.netlink.changes import (
    AddAddress,
    AddForwarding,
    AddNeighbour,
    AddRoute,
    AddRule,
    AddVxlan,
    Change,
    DeleteAddress,
    DeleteForwarding,
    DeleteLink,
    DeleteNeighbour,
    DeleteRoute,
    DeleteRule,
    Rule,
    SetLink,
)
from podwire.netlink.present import Link, LinkAddress, Neighbour, Route
from podwire.netlink.rtnetlink import TABLE_MAIN

_SERVED, _SERVICES, _PEER, _NOT_UNDERLAY, _KNOWN, _FENCE = 96, 97, 98, 99, 100, 101
# Without _PEER: those stay until the API server says who the peers are.
_OUR_PRIORITIES = (_SERVED, _SERVICES, _NOT_UNDERLAY, _KNOWN, _FENCE)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the kernel has in the node's namespace."""

    links: Sequence[Link] = ()
    addresses: Sequence[LinkAddress] = ()
    routes: Sequence[Route] = ()
    neighbours: Sequence[Neighbour] = ()
    forwarding: Sequence[Neighbour] = ()
    rules: Sequence[Rule] = ()

    def link(self, name: str) -> Link | None:
        """Return the link of that name, or None."""
        return next((link for link in self.links if link.name == name), None)

    def holders(self, network: IPv4Network) -> Iterator[tuple[Link, IPv4Interface]]:
        """Yield the links that have an address in *network*, each with the address."""
        links = {link.number: link for link in self.links}
        for each in self.addresses:
            if isinstance(each.address, IPv4Interface) and each.address.ip in network:
                yield links[each.link], each.address


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The two networks that the engine has attached; *mtu* is the underlay's."""

    underlay: str
    address: IPv4Interface
    router: IPv4Address
    mtu: int
    pods: str


def interfaces(settings: NodeSettings, survey: Survey) -> Interfaces:
    """Return which interface is which; raises MachineError if one is not there."""
    # Never by name: the engine numbers them as it likes.
    underlay = next(survey.holders(IPv4Network(settings.address)), None)
    if underlay is None:
        raise MachineError(
            f"{settings.name} has no interface with the address {settings.address}: give it to the"
            " node in the network of the nodes\n  write into the compose file:"
            f" networks: {{nodes: {{ipv4_address: {settings.address}}}}}"
        )
    pods = next((link for link, _ in survey.holders(settings.pods) if link.name != VXLAN), None)
    if pods is None:
        network = f"pods-{settings.name.removeprefix('node-')}"
        raise MachineError(
            f"{settings.name} has no interface in {settings.pods}: attach it to the network"
            f" {network}\n  write into the compose file, under {settings.name}:"
            f" networks: {{{network}: {{ipv4_address: {settings.pods[2]}}}}}"
        )
    link, address = underlay
    if link.name == pods.name:
        raise MachineError(
            f"{settings.name} has {settings.address} and {settings.pods} on the same interface\n"
            "  give nodes a network of their own beside the network of their pods"
        )
    return Interfaces(link.name, address, _router(link, address, survey), link.mtu, pods.name)


def node_changes(settings: NodeSettings, found: Interfaces, survey: Survey) -> tuple[Change, ...]:
    """Return what a node needs apart from rules and other nodes; it may be repeated."""
    gateway = IPv4Interface((settings.gateway, settings.pods.prefixlen))
    link = survey.link(found.pods)
    present = [a.address for a in survey.addresses if link is not None and a.link == link.number]
    # First: what is masqueraded has the first address, and pods must see their gateway.
    others = [address for address in present if address != gateway]
    first = () if present[:1] == [gateway] else tuple(DeleteAddress(found.pods, a) for a in present)
    return (
        SetLink("lo", up=True),
        *first,
        AddAddress(found.pods, gateway),
        *(AddAddress(found.pods, address) for address in others),
        AddRoute(settings.pods, found.pods, source=settings.gateway),
        # The engine may have put the default route on the pods' network, whose gateway we are.
        AddRoute(ANYWHERE, found.underlay, found.router),
    )


def rules(settings: NodeSettings, found: Interfaces, *, filtered: bool) -> tuple[Rule, ...]:
    """Return the rules of policy routing.

    Pods reach nothing but the networks that the node knows: a packet for elsewhere would leave by
    the default route, with a source that nobody can answer. On the network of the nodes, pods reach
    the nodes (`peer_changes`); others there, such as the engine's own machine and the API server's
    container, know no way back to pods, but a datagram needs none. The same holds for what arrives
    by VXLAN: any pod can forge that, as nodes take it from everybody. What belongs to a connection
    that the proxy has translated goes where it has to. And what is for the address of a Service,
    if the proxy has not translated it, gets as far as the packet filter for forwarded packets,
    where the proxy may refuse it; so both need *filtered*: that `packet_filter.nft` is loaded.
    """
    fenced = (found.pods, VXLAN)
    underlay = found.address.network
    passing = (
        Rule(_SERVED, table=TABLE_MAIN, mark=SERVED, mask=SERVED),
        Rule(_SERVICES, table=TABLE_MAIN, to=settings.services),
    )
    return (
        *(passing if filtered else ()),
        *(Rule(_NOT_UNDERLAY, "unreachable", arriving=name, to=underlay) for name in fenced),
        *(_known(_KNOWN, name) for name in fenced),
        *(Rule(_FENCE, "unreachable", arriving=name) for name in fenced),
    )


def rule_changes(wanted: Sequence[Rule], present: Collection[Rule]) -> tuple[Change, ...]:
    """Return how the rules become those *wanted*."""
    added = (AddRule(rule) for rule in wanted if rule not in present)
    ours = (rule for rule in present if rule.priority in _OUR_PRIORITIES and rule not in wanted)
    return (*added, *(DeleteRule(rule) for rule in ours))


def tunnel_changes(settings: NodeSettings, found: Interfaces, survey: Survey) -> tuple[Change, ...]:
    """Return what makes the VXLAN device; one that is right already is kept with its routes."""
    wanted = AddVxlan(
        name=VXLAN,
        mac=vtep_mac(settings.vtep),
        vni=VNI,
        local=settings.address,
        device=found.underlay,
        port=VXLAN_PORT,
        mtu=found.mtu - VXLAN_OVERHEAD,
    )
    # What cannot be read off a link that is there; a device with another alias is made anew.
    alias = f"podwire {settings.address} dev {found.underlay} id {VNI} port {VXLAN_PORT}"
    there = survey.link(VXLAN)
    made: tuple[Change, ...] = (wanted, SetLink(VXLAN, alias=alias))
    if there is not None:
        same = (there.kind, there.mac, there.mtu, there.alias)
        kept = same == ("vxlan", wanted.mac, wanted.mtu, alias)
        made = () if kept else (DeleteLink(VXLAN), *made)
    return (
        *made,
        SetLink(VXLAN, up=True),
        AddAddress(VXLAN, IPv4Interface((settings.vtep, 32))),
    )


def peer_changes(
    peers: Iterable[Peer],
    settings: NodeSettings,
    found: Interfaces,
    backend: Backend,
    survey: Survey,
) -> tuple[Change, ...]:
    """Return how the ways to other nodes become those to *peers*, and to no others.

    Pods reach the peers' own addresses as well, for NodePorts.
    """
    peers = tuple(peers)
    open_to_pods = {_known(_PEER, found.pods, IPv4Network(peer.address)): None for peer in peers}
    routes: list[AddRoute] = []
    neighbours: list[AddNeighbour] = []
    forwarding: list[AddForwarding] = []
    for peer in peers:
        if backend == "host-gw":
            routes.append(AddRoute(peer.pods, found.underlay, peer.address))
            continue
        routes.append(AddRoute(peer.pods, VXLAN, peer.vtep, onlink=True))
        neighbours.append(AddNeighbour(VXLAN, peer.vtep, peer.vtep_mac))
        forwarding.append(AddForwarding(VXLAN, peer.vtep_mac, peer.address))
    return (
        *(AddRule(rule) for rule in open_to_pods if rule not in survey.rules),
        *(
            DeleteRule(rule)
            for rule in survey.rules
            if rule.priority == _PEER and rule not in open_to_pods
        ),
        *_stale_routes({route.destination for route in routes}, settings, found, survey),
        *_stale_neighbours({each.address for each in neighbours}, survey),
        *_stale_forwarding({each.mac for each in forwarding}, survey),
        # The route last: a packet that takes it must find the rest.
        *neighbours,
        *forwarding,
        *routes,
    )


def _known(priority: int, arriving: str, to: IPv4Network | None = None) -> Rule:
    """Return the rule by which packets take any way of table main but the default route."""
    return Rule(priority, table=TABLE_MAIN, arriving=arriving, to=to, suppress_prefix_length=0)


def _router(underlay: Link, address: IPv4Interface, survey: Survey) -> IPv4Address:
    for route in survey.routes:
        if (
            route.destination == ANYWHERE
            and route.table == TABLE_MAIN
            and route.link == underlay.number
            and isinstance(route.gateway, IPv4Address)
        ):
            return route.gateway
    # The first address of the network, if the engine was not told otherwise.
    return address.network[1]


def _stale_routes(
    wanted: Collection[object], settings: NodeSettings, found: Interfaces, survey: Survey
) -> Iterator[DeleteRoute]:
    names = {link.number: link.name for link in survey.links}
    for route in survey.routes:
        name = names.get(route.link, "")
        if (
            isinstance(route.destination, IPv4Network)
            and route.table == TABLE_MAIN
            and route.gateway is not None
            and name in (VXLAN, found.underlay)
            and route.destination.subnet_of(settings.cluster)
            and route.destination not in wanted
        ):
            yield DeleteRoute(route.destination, name)


def _stale_neighbours(wanted: Collection[object], survey: Survey) -> Iterator[DeleteNeighbour]:
    tunnel = survey.link(VXLAN)
    for each in survey.neighbours:
        if tunnel is None or each.link != tunnel.number or not each.permanent:
            continue
        if isinstance(each.address, IPv4Address) and each.address not in wanted:
            yield DeleteNeighbour(VXLAN, each.address)


def _stale_forwarding(wanted: Collection[str], survey: Survey) -> Iterator[DeleteForwarding]:
    tunnel = survey.link(VXLAN)
    for each in survey.forwarding:
        if tunnel is None or each.link != tunnel.number or each.mac in wanted:
            continue
        if isinstance(each.address, IPv4Address):
            yield DeleteForwarding(VXLAN, each.mac, each.address)
