"""Pure: what a node needs around the relay's sockets, as rules, routes and marks.

Three things. Packets for ClusterIPs, which are on no interface, are taken in as if they were the
node's own (AnyIP: a local route), and answer no ping, as where they are on no machine at all.
External and load-balancer addresses may be somebody's, even another node's: of them, no more than
the Services' ports is taken in, by a mark. And the answers to a connection that the relay has
opened with its client's address come back to the relay: they are recognised by its transparent
socket (Linux, Documentation/networking/tproxy.rst) and marked. A rule of policy routing has what is
marked delivered here.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from podwire.netlink.changes import AddRoute, AddRule, Change, DeleteRoute, DeleteRule, Rule
from podwire.netlink.present import Route
from podwire.netlink.rtnetlink import TABLE_LOCAL
from podwire.proxy.userspace.routes import Frontend

TABLE = "podwire-userspace"
"""The nft table, which is ours alone."""

CHAINS = {"PREROUTING": "PODWIRE-ANSWERS", "OUTPUT": "PODWIRE-HOST-ANSWERS"}
"""Where there is no nft: our chains in iptables' table mangle, by the chain that jumps there."""
NO_PING_CHAIN = "PODWIRE-NO-PING"
LED_CHAIN, REFUSED_CHAIN = "PODWIRE-LED", "PODWIRE-REFUSED"

DELIVER = 0x2000
"""The mark of what must be delivered here. kube-proxy's own bits are 0x4000 and 0x8000."""
FROM_HERE = 0x1000
"""The mark of what the relay sends to this node itself with a client's address as its source."""

OWNER = 80
"""The routing protocol number of our routes: how they are found again. No routing daemon has it."""
DELIVERIES = 5280
"""The routing table by which everything is delivered here."""
PRIORITY = 80

_DELIVER = f"MARK --set-xmark {DELIVER:#x}/{DELIVER:#x}"
_REFUSED_IN = ("FORWARD", "OUTPUT")

ANYWHERE = IPv4Network("0.0.0.0/0")
DELIVERED = AddRoute(ANYWHERE, "lo", local=True, table=DELIVERIES, protocol=OWNER)
RULE = Rule(PRIORITY, table=DELIVERIES, mark=DELIVER, mask=DELIVER)


@dataclass(frozen=True, slots=True)
class Led:
    """What is to be taken in beyond the range of Services: *addresses* whole, ports of *served*.

    The ports of *refused* have no endpoint: who asks for them is to hear so, but connections that
    their real owner has stay his (pkg/proxy/iptables/proxier.go, ctstate NEW).
    """

    addresses: frozenset[IPv4Address] = frozenset()
    served: frozenset[Frontend] = frozenset()
    refused: frozenset[Frontend] = frozenset()


def nft(no_ping: IPv4Network | None, *, marks: bool) -> str:
    """Return the rules as a script for `nft -f`; it replaces our own table and no other."""
    chains = ""
    if marks:
        deliver = f"meta mark set meta mark or {DELIVER:#x}"
        asked = "ip daddr . meta l4proto . th dport"
        chains += f"""\
  set led {{ type ipv4_addr . inet_proto . inet_service; }}
  set refused {{ type ipv4_addr . inet_proto . inet_service; }}
  chain answers {{
    type filter hook prerouting priority mangle; policy accept;
    meta l4proto {{ tcp, udp }} socket transparent 1 {deliver}
    {asked} @led {deliver}
  }}
  chain host-answers {{
    type route hook output priority mangle; policy accept;
    meta mark {FROM_HERE:#x} ct mark set {FROM_HERE:#x}
    ct direction reply ct mark {FROM_HERE:#x} {deliver}
    {asked} @led {deliver}
  }}
  chain refused-forward {{
    type filter hook forward priority filter; policy accept;
    ct state new {asked} @refused reject
  }}
  chain refused-output {{
    type filter hook output priority filter; policy accept;
    ct state new {asked} @refused reject
  }}
"""
    if no_ping is not None:
        chains += f"""\
  chain no-ping {{
    type filter hook input priority filter; policy accept;
    ip daddr {no_ping} icmp type echo-request drop
  }}
"""
    return f"{nft_cleanup()}table inet {TABLE} {{\n{chains}}}\n"


def nft_led(led: Led) -> str:
    """Return the script that has the ports of *led* taken in or refused, and no others."""
    lines: list[str] = []
    for name, frontends in (("led", led.served), ("refused", led.refused)):
        lines.append(f"flush set inet {TABLE} {name}")
        elements = ", ".join(
            f"{f.address} . {f.protocol.lower()} . {f.port}" for f in sorted(frontends)
        )
        if elements:
            lines.append(f"add element inet {TABLE} {name} {{ {elements} }}")
    return "\n".join((*lines, ""))


def nft_cleanup() -> str:
    """Return the script that removes our table, whether it is there or not."""
    return f"table inet {TABLE}\ndelete table inet {TABLE}\n"


def iptables(no_ping: IPv4Network | None, *, marks: bool) -> str:
    """Return the same as a script for `iptables-restore --noflush`, where none of it is there."""
    lines: list[str] = []
    if marks:
        (before, answers), (out, host) = CHAINS.items()
        deliver = f"-j {_DELIVER}"
        lines += [
            "*mangle",
            f":{answers} - [0:0]",
            f":{host} - [0:0]",
            f":{LED_CHAIN} - [0:0]",
            f"-A {before} -j {answers}",
            f"-A {out} -j {host}",
            f"-A {answers} -m socket --transparent --nowildcard {deliver}",
            f"-A {host} -m mark --mark {FROM_HERE:#x} -j CONNMARK --set-mark {FROM_HERE:#x}",
            f"-A {host} -m conntrack --ctdir REPLY -m connmark --mark {FROM_HERE:#x} {deliver}",
            *(f"-A {chain} -j {LED_CHAIN}" for chain in CHAINS.values()),
            "COMMIT",
            "*filter",
            f":{REFUSED_CHAIN} - [0:0]",
            *(f"-A {chain} -j {REFUSED_CHAIN}" for chain in _REFUSED_IN),
            "COMMIT",
        ]
    if no_ping is not None:
        lines += [
            "*filter",
            f":{NO_PING_CHAIN} - [0:0]",
            f"-A INPUT -j {NO_PING_CHAIN}",
            f"-A {NO_PING_CHAIN} -d {no_ping} -p icmp --icmp-type echo-request -j DROP",
            "COMMIT",
        ]
    return "\n".join((*lines, ""))


def iptables_led(led: Led) -> str:
    """Return what `nft_led` does as a script for `iptables-restore --noflush`."""
    lines: list[str] = []
    for table, chain, frontends, end in (
        ("mangle", LED_CHAIN, led.served, f"-j {_DELIVER}"),
        ("filter", REFUSED_CHAIN, led.refused, "-m conntrack --ctstate NEW -j REJECT"),
    ):
        lines += [f"*{table}", f":{chain} - [0:0]"]
        lines += [
            f"-A {chain} -d {f.address} -p {f.protocol.lower()} --dport {f.port} {end}"
            for f in sorted(frontends)
        ]
        lines.append("COMMIT")
    return "\n".join((*lines, ""))


def iptables_cleanup() -> tuple[tuple[str, ...], ...]:
    """Return the commands that remove our chains; each fails where there is nothing to remove."""
    jumps = [("mangle", chain, ours) for chain, ours in CHAINS.items()]
    jumps += [("filter", chain, REFUSED_CHAIN) for chain in _REFUSED_IN]
    jumps.append(("filter", "INPUT", NO_PING_CHAIN))
    chains = dict.fromkeys((table, ours) for table, _, ours in jumps)
    chains["mangle", LED_CHAIN] = None
    return (
        *(("-w", "-t", table, "-D", chain, "-j", ours) for table, chain, ours in jumps),
        *(("-w", "-t", table, flag, ours) for table, ours in chains for flag in ("-F", "-X")),
    )


def routes(
    services: IPv4Network | None, others: Iterable[IPv4Address], node: IPv4Address
) -> frozenset[AddRoute]:
    """Return the local routes for the range of Service addresses and for *others*.

    A process of the node that asks one of them has the node's address as its source.
    """
    wanted = {IPv4Network(address) for address in others if not services or address not in services}
    if services is not None:
        wanted.add(services)
    return frozenset(
        AddRoute(network, "lo", local=True, source=node, protocol=OWNER) for network in wanted
    )


def route_changes(wanted: Collection[AddRoute], present: Iterable[Route]) -> tuple[Change, ...]:
    """Return what makes our local routes those *wanted*, new ones first."""
    ours = {r.destination for r in present if r.protocol == OWNER and r.table == TABLE_LOCAL}
    keep = {route.destination for route in wanted}
    return (
        *sorted(wanted),
        *(DeleteRoute(network, "lo", TABLE_LOCAL) for network in ours if network not in keep),
    )


def delivery_changes(present: Collection[Rule], *, marks: bool) -> tuple[Change, ...]:
    """Return what has marked packets delivered here, or no more."""
    there = RULE in present
    if marks:
        return (DELIVERED,) if there else (DELIVERED, AddRule(RULE))
    return (DeleteRule(RULE),) if there else ()
