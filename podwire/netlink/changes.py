"""Pure: changes to links, addresses, routes and neighbours, as values.

Links are named, never numbered: whoever sends a change looks the number up. Namespaces are named by
a label that the sender maps to an open file.

Values of this part are NamedTuples: the plugin starts once per pod, and a dataclass takes the
interpreter six times as long to define.
"""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Literal, NamedTuple

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


class AddBridge(NamedTuple):
    """A bridge, up, with a MAC of its own.

    A bridge whose MAC was never set takes that of a port, and all zeroes when its last port goes.
    """

    name: str
    mac: str
    mtu: int = 0


class AddVeth(NamedTuple):
    """A pair: *name* here, *peer* in *peer_namespace*. Both are down: an end cannot come up alone.

    An *mtu* of 0 leaves the kernel's default.
    """

    name: str
    mac: str
    peer: str
    peer_mac: str
    peer_namespace: str
    mtu: int = 0


class AddVxlan(NamedTuple):
    """A VXLAN device that learns nothing: its neighbours and forwarding entries are given."""

    name: str
    mac: str
    vni: int
    local: IPv4Address
    device: str
    port: int
    mtu: int


class AddDummy(NamedTuple):
    """A link that leads nowhere, down: its addresses are this machine's all the same."""

    name: str


class SetLink(NamedTuple):
    """Changes of a link that exists. None, and an *mtu* of 0, leave a property as it is."""

    name: str
    up: bool | None = None
    master: str | None = None
    mac: str | None = None
    mtu: int = 0
    namespace: str | None = None
    alias: str | None = None
    rename: str | None = None
    promiscuous: bool | None = None


class SetHairpin(NamedTuple):
    """Whether a bridge sends a frame back through the port on which it came."""

    name: str
    on: bool


class SetIsolated(NamedTuple):
    """Whether a bridge keeps frames of this port from its other isolated ports (Linux 4.18)."""

    name: str
    on: bool


class DeleteLink(NamedTuple):
    """Removes a link; of a veth, both ends."""

    name: str


class AddAddress(NamedTuple):
    """An address on a link. Repeating it changes nothing."""

    link: str
    address: Interface


class DeleteAddress(NamedTuple):
    """Takes an address off a link."""

    link: str
    address: Interface


class AddRoute(NamedTuple):
    """A route; one to the same destination with the same priority is replaced.

    *local* makes every address of *destination* one of this machine (AnyIP). *onlink* says that the
    gateway is reachable though no address of the link covers it. *mtu*, *advmss*, *priority* and
    *table* of 0 leave the kernel's default; *scope* None is worked out as `ip route` does. *source*
    is the address that this machine's own packets take when they have none; it must be local.
    *protocol* says who has made it (rtm_protocol); 0 stands for "static", an administrator.
    """

    destination: Network
    link: str
    gateway: Address | None = None
    onlink: bool = False
    local: bool = False
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int = 0
    scope: int | None = None
    source: Address | None = None
    protocol: int = 0


class DeleteRoute(NamedTuple):
    """Removes the route to *destination* through *link*, from *table* (0: main)."""

    destination: Network
    link: str
    table: int = 0


class AddNeighbour(NamedTuple):
    """A permanent neighbour: *address* is at *mac*, without asking by ARP."""

    link: str
    address: Address
    mac: str


class DeleteNeighbour(NamedTuple):
    """Forgets the neighbour *address*."""

    link: str
    address: Address


class AddForwarding(NamedTuple):
    """A permanent forwarding entry of a VXLAN device: frames for *mac* go to the host *to*."""

    link: str
    mac: str
    to: IPv4Address


class DeleteForwarding(NamedTuple):
    """Forgets that *mac* is behind the host *to*."""

    link: str
    mac: str
    to: IPv4Address


RuleAction = Literal["lookup", "blackhole", "unreachable"]


class Rule(NamedTuple):
    """A rule of policy routing (IPv4). The lowest *priority* is asked first.

    It is about packets that arrive on the link *arriving* (empty: any; what this machine sends
    itself arrives on `lo`), for *to*, of the IP *protocol* (0: any), with the bits *mark* set and
    no other of *mask* (0: any). A lookup in *table* that finds only a route of
    *suppress_prefix_length* bits or fewer counts as nothing found.
    """

    priority: int
    action: RuleAction = "lookup"
    table: int = 0
    arriving: str = ""
    to: IPv4Network | None = None
    protocol: int = 0
    suppress_prefix_length: int | None = None
    mark: int = 0
    mask: int = 0


class AddRule(NamedTuple):
    """A rule. The kernel refuses one that is there already (EEXIST)."""

    rule: Rule


class DeleteRule(NamedTuple):
    """Removes the first rule that is as *rule* says."""

    rule: Rule


Change = (
    AddBridge
    | AddVeth
    | AddVxlan
    | AddDummy
    | SetLink
    | SetHairpin
    | SetIsolated
    | DeleteLink
    | AddAddress
    | DeleteAddress
    | AddRoute
    | DeleteRoute
    | AddNeighbour
    | DeleteNeighbour
    | AddForwarding
    | DeleteForwarding
    | AddRule
    | DeleteRule
)


def describe(change: Change) -> str:
    """Return *change* in the words of the ip command, for errors."""
    match change:
        case AddBridge():
            return f"add bridge {change.name}"
        case AddVeth():
            return f"add veth {change.name} with peer {change.peer} in {change.peer_namespace}"
        case AddVxlan():
            return f"add vxlan {change.name} (id {change.vni}) on {change.device}"
        case AddDummy():
            return f"add dummy {change.name}"
        case SetLink():
            return f"set link {change.name}"
        case SetHairpin():
            return f"set hairpin of {change.name}"
        case SetIsolated():
            return f"set isolation of {change.name}"
        case DeleteLink():
            return f"delete link {change.name}"
        case AddAddress():
            return f"add address {change.address} to {change.link}"
        case DeleteAddress():
            return f"delete address {change.address} of {change.link}"
        case AddRoute():
            via = f" via {change.gateway}" if change.gateway else ""
            source = f" src {change.source}" if change.source else ""
            return f"add route {change.destination}{via} dev {change.link}{source}"
        case DeleteRoute():
            return f"delete route {change.destination} dev {change.link}"
        case AddNeighbour():
            return f"add neighbour {change.address} at {change.mac} dev {change.link}"
        case DeleteNeighbour():
            return f"delete neighbour {change.address} dev {change.link}"
        case AddForwarding():
            return f"add forwarding of {change.mac} to {change.to} dev {change.link}"
        case DeleteForwarding():
            return f"delete forwarding of {change.mac} to {change.to} dev {change.link}"
        case AddRule():
            return f"add rule {_rule(change.rule)}"
        case DeleteRule():
            return f"delete rule {_rule(change.rule)}"


def _rule(rule: Rule) -> str:
    words = [f"pref {rule.priority}"]
    if rule.to is not None:
        words.append(f"to {rule.to}")
    if rule.arriving:
        words.append(f"iif {rule.arriving}")
    if rule.mask:
        words.append(f"fwmark {rule.mark:#x}/{rule.mask:#x}")
    if rule.protocol:
        words.append(f"ipproto {rule.protocol}")
    words.append(f"lookup {rule.table}" if rule.action == "lookup" else rule.action)
    if rule.suppress_prefix_length is not None:
        words.append(f"suppress_prefixlength {rule.suppress_prefix_length}")
    return " ".join(words)
