"""Pure: ports of the node that lead to a pod (the capability portMappings), and their nft rules.

What the reference plugin portmap does, in a table of each attachment's own: DEL needs no state, and
takes nothing of another pod that asked for the same port. Of two such pods the younger has it.
"""

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_network
from typing import NamedTuple

from podwire.cni.documents import Json, ip, number, objects, text, texts
from podwire.netlink.changes import Address, Interface, Network

_PROTOCOLS = ("tcp", "udp", "sctp")
_MARK = 0x800
"""The bit of a connection's mark that says: led by these rules. Those of Services lead to pods too,
and leave them the client's address."""


class PortMapping(NamedTuple):
    """A port of the node, on *host_address* or on all of its addresses, and one of the pod."""

    protocol: str
    host_port: int
    container_port: int
    host_address: Address | None = None


def parse_port_mappings(runtime: Json) -> tuple[PortMapping, ...]:
    """Return those in `runtimeConfig`, its members' names in lower case. Raises ValueError."""
    return tuple(_parse(item) for item in objects(runtime, "portmappings"))


def parse_host_addresses(document: Json) -> tuple[Network, ...]:
    """Return the member `hostAddresses` of a configuration. Raises ValueError."""
    try:
        return tuple(ip_network(each) for each in texts(document, "hostAddresses"))
    except ValueError as error:
        raise ValueError(f"'hostAddresses': {error}") from error


def port_rules(
    table: str,
    ports: Iterable[PortMapping],
    addresses: Iterable[Interface],
    own: Collection[Network] = (),
) -> str:
    """Return the nft script of the attachment's table; it replaces an earlier one.

    The ports are those of *own*, the node's addresses; without any, of all that are local to it. A
    service proxy may have made ClusterIPs local, too, and their ports are not the node's.

    What comes from the node's loopback, or from the pod's own subnet, gets the node's address:
    the answer would miss the node otherwise.
    """
    pods: dict[int, Interface] = {}
    for each in addresses:
        pods.setdefault(each.version, each)
    wanted = tuple(ports)
    leads = [rule for pod in pods.values() for rule in _leads(wanted, pod)]
    back = [
        f"{family} daddr {pod.ip} {family} saddr {{ {pod.network}, {loopback} }} "
        f"ct mark and {_MARK:#x} == {_MARK:#x} masquerade"
        for pod in pods.values()
        for family, loopback in (("ip", "127.0.0.0/8") if pod.version == 4 else ("ip6", "::1"),)
    ]
    local = [
        f"    {family} daddr {{ {', '.join(those)} }} jump ports"
        for family, version in (("ip", 4), ("ip6", 6))
        if (those := [str(each) for each in own if each.version == version])
    ]
    local = local or ["    fib daddr type local jump ports"]
    return "\n".join(
        (
            f"table inet {table}",
            f"delete table inet {table}",
            f"table inet {table} {{",
            "  chain ports {",
            *(f"    {rule}" for rule in leads),
            "  }",
            "  chain prerouting {",
            "    type nat hook prerouting priority -100; policy accept;",
            *local,
            "  }",
            "  chain output {",
            "    type nat hook output priority -100; policy accept;",
            *local,
            "  }",
            "  chain postrouting {",
            "    type nat hook postrouting priority srcnat; policy accept;",
            *(f"    {rule}" for rule in back),
            "  }",
            "}",
            "",
        )
    )


def _parse(item: Json) -> PortMapping:
    protocol = text(item, "protocol", "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise ValueError(f"'portMappings': protocol must be tcp, udp or sctp, not {protocol!r}")
    host, container = number(item, "hostport", 0), number(item, "containerport", 0)
    for kind, port in (("host", host), ("container", container)):
        if not 0 < port < 1 << 16:
            raise ValueError(f"'portMappings': Invalid {kind} port number: {port}")
    address = ip(item, "hostip")
    return PortMapping(
        protocol, host, container, None if address is None or address.is_unspecified else address
    )


def _leads(ports: Iterable[PortMapping], pod: Interface) -> Iterator[str]:
    family, target = ("ip", str(pod.ip)) if pod.version == 4 else ("ip6", f"[{pod.ip}]")
    for each in ports:
        if each.host_address is not None and each.host_address.version != pod.version:
            continue
        where = f"{family} daddr {each.host_address} " if each.host_address else ""
        yield (
            f"{where}meta nfproto {'ipv4' if pod.version == 4 else 'ipv6'} "
            f"{each.protocol} dport {each.host_port} "
            f"ct mark set ct mark or {_MARK:#x} dnat {family} to {target}:{each.container_port}"
        )
