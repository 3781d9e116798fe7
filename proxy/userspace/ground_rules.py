"""Pure: what a node needs around the relay's sockets, as rules, routes and marks.

Three things. Packets for ClusterIPs, which are on no interface, are taken in as if they were the
node's own (AnyIP: a local route), and answer no ping, as where they are on no machine at all; nor
does a process that listens on all addresses of the node hear of them.
External and load-balancer addresses may be somebody's, even another node's: of them, no more than
the Services' ports is taken in, by a mark, and no connection that its owner has already. And the
answers to a connection that the relay has opened with its client's address come back to the relay:
they are recognised by its transparent socket (Linux, Documentation/networking/tproxy.rst) and
marked. A rule of policy routing has what is marked delivered here.
"""

import re
from collections import Counter
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
STRAY_CHAIN = "PODWIRE-STRAY"
LED_CHAIN, REFUSED_CHAIN = "PODWIRE-LED", "PODWIRE-REFUSED"

DELIVER = 0x2000
"""The mark of what must be delivered here, and of TCP connections that were led here by their port.
kube-proxy's own bits are 0x4000 and 0x8000."""
FROM_HERE = 0x1000
"""The mark of what the relay sends to this node itself with a client's address as its source."""

OWNER = 80
"""The routing protocol number of our routes: how they are found again. No routing daemon has it."""
DELIVERIES = 5280
"""The routing table by which everything is delivered here."""
PRIORITY = 80

_DELIVER = f"MARK --set-xmark {DELIVER:#x}/{DELIVER:#x}"
_LED = f"-m connmark --mark {DELIVER:#x}/{DELIVER:#x}"
_REFUSED_IN = ("INPUT", "FORWARD", "OUTPUT")
_ELEMENT = re.compile(r"\d \. \w+ \. \d")

ANYWHERE = IPv4Network("0.0.0.0/0")
DELIVERED = AddRoute(ANYWHERE, "lo", local=True, table=DELIVERIES, protocol=OWNER)
RULE = Rule(PRIORITY, table=DELIVERIES, mark=DELIVER, mask=DELIVER)


@dataclass(frozen=True, slots=True)
class Led:
    """What is to be taken in beyond the range of Services: *addresses* whole, ports of *served*.

    The ports of *refused* have no endpoint: who asks for them is to hear so. Of either, connections
    that their real owner has stay his, as with DNAT and pkg/proxy/iptables/proxier.go, ctstate NEW;
    datagrams are a Service's as soon as there is one, as with pkg/proxy/conntrack.
    """

    addresses: frozenset[IPv4Address] = frozenset()
    served: frozenset[Frontend] = frozenset()
    refused: frozenset[Frontend] = frozenset()


def nft(services: IPv4Network | None, *, marks: bool) -> str:
    """Return the rules as a script for `nft -f`; it replaces our own table and no other."""
    chains = ""
    if marks:
        deliver = f"meta mark set meta mark or {DELIVER:#x}"
        asked = "ip daddr . meta l4proto . th dport"
        # The listener of a led port is transparent too, and is found for whatever comes there.
        theirs = f"ct state established ct mark and {DELIVER:#x} == 0 {asked} @led"
        chains += f"""\
  set led {{ type ipv4_addr . inet_proto . inet_service; }}
  set refused {{ type ipv4_addr . inet_proto . inet_service; }}
  chain asked-for {{
    meta l4proto tcp ct state new {asked} @led ct mark set ct mark or {DELIVER:#x}
    ct direction original ct mark and {DELIVER:#x} == {DELIVER:#x} {deliver}
    meta l4proto udp ct direction original {asked} @led {deliver}
  }}
  chain answers {{
    type filter hook prerouting priority mangle; policy accept;
    jump asked-for
    {theirs} accept
    meta l4proto {{ tcp, udp }} socket transparent 1 {deliver}
  }}
  chain host-answers {{
    type route hook output priority mangle; policy accept;
    meta mark {FROM_HERE:#x} ct mark set {FROM_HERE:#x}
    ct direction reply ct mark {FROM_HERE:#x} {deliver}
    jump asked-for
  }}
"""
        for hook in _REFUSED_IN:
            chains += f"""\
  chain refused-{hook.lower()} {{
    type filter hook {hook.lower()} priority filter; policy accept;
    ct state new {asked} @refused reject
  }}
"""
    if services is not None:
        everywhere = f"ip daddr {services} ct state new socket wildcard 1 reject"
        chains += f"""\
  chain stray {{
    type filter hook input priority filter; policy accept;
    ip daddr {services} icmp type echo-request drop
    {everywhere if marks else ""}
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


def iptables(services: IPv4Network | None, *, marks: bool) -> str:
    """Return the same as a script for `iptables-restore --noflush`, where none of it is there."""
    lines: list[str] = []
    if marks:
        (before, answers), (out, host) = CHAINS.items()
        deliver = f"-j {_DELIVER}"
        led = f"-m conntrack --ctdir ORIGINAL {_LED} {deliver}"
        lines += [
            "*mangle",
            f":{answers} - [0:0]",
            f":{host} - [0:0]",
            f":{LED_CHAIN} - [0:0]",
            f"-A {before} -j {answers}",
            f"-A {out} -j {host}",
            f"-A {answers} -j {LED_CHAIN}",
            f"-A {answers} {led}",
            f"-A {answers} -m socket --transparent --nowildcard {deliver}",
            f"-A {host} -m mark --mark {FROM_HERE:#x} -j CONNMARK --set-mark {FROM_HERE:#x}",
            f"-A {host} -m conntrack --ctdir REPLY -m connmark --mark {FROM_HERE:#x} {deliver}",
            f"-A {host} -j {LED_CHAIN}",
            f"-A {host} {led}",
            "COMMIT",
            "*filter",
            f":{REFUSED_CHAIN} - [0:0]",
            *(f"-A {chain} -j {REFUSED_CHAIN}" for chain in _REFUSED_IN),
            "COMMIT",
        ]
    if services is not None:
        new = f"-A {STRAY_CHAIN} -d {services} -m conntrack --ctstate NEW -m socket"
        # The match passes over sockets on all addresses, unless it is told not to.
        everywhere = (f"{new} -j RETURN", f"{new} --nowildcard -j REJECT")
        lines += [
            "*filter",
            f":{STRAY_CHAIN} - [0:0]",
            f"-A INPUT -j {STRAY_CHAIN}",
            f"-A {STRAY_CHAIN} -d {services} -p icmp --icmp-type echo-request -j DROP",
            *(everywhere if marks else ()),
            "COMMIT",
        ]
    return "\n".join((*lines, ""))


def iptables_led(led: Led) -> str:
    """Return what `nft_led` does as a script for `iptables-restore --noflush`.

    But for SCTP, which is never served: its match may be missing in the kernel, and none of the
    script would be obeyed.
    """
    ends = {
        "TCP": f"-m conntrack --ctstate NEW -j CONNMARK --set-xmark {DELIVER:#x}/{DELIVER:#x}",
        "UDP": f"-m conntrack --ctdir ORIGINAL -j {_DELIVER}",
    }
    theirs = f"-m conntrack --ctstate ESTABLISHED {_LED.replace('--mark', '! --mark')} -j ACCEPT"
    return "\n".join(
        (
            "*mangle",
            f":{LED_CHAIN} - [0:0]",
            *(
                f"-A {LED_CHAIN} {_asked(frontend)} {end}"
                for frontend in sorted(led.served)
                for end in (ends[frontend.protocol], theirs)
            ),
            "COMMIT",
            "*filter",
            f":{REFUSED_CHAIN} - [0:0]",
            *(
                f"-A {REFUSED_CHAIN} {_asked(frontend)} -m conntrack --ctstate NEW -j REJECT"
                for frontend in sorted(led.refused)
                if frontend.protocol != "SCTP"
            ),
            "COMMIT",
            "",
        )
    )


def nft_shape(text: str) -> Counter[str]:
    """Return how many rules each chain has, and how many elements the sets: of scripts or a list.

    In other respects nft lists what it was told in words of its own.
    """
    found, chain = Counter(elements=len(_ELEMENT.findall(text))), ""
    for line in text.splitlines():
        match line.split():
            case ["chain", name, *_]:
                chain = name
            case ["}"]:
                chain = ""
            case [word, *_] if chain and word != "type":
                found[chain] += 1
            case _:
                pass
    return found


def iptables_shape(text: str) -> Counter[str]:
    """Return how many rules of ours each chain has, of scripts or of what iptables-save prints."""
    rules = (line.split() for line in text.splitlines() if "PODWIRE-" in line)
    return Counter(words[1] for words in rules if words[0] == "-A")


def iptables_cleanup() -> tuple[tuple[str, ...], ...]:
    """Return the commands that remove our chains; each fails where there is nothing to remove."""
    jumps = [("mangle", chain, ours) for chain, ours in CHAINS.items()]
    jumps += [("filter", chain, REFUSED_CHAIN) for chain in _REFUSED_IN]
    jumps.append(("filter", "INPUT", STRAY_CHAIN))
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


def _asked(frontend: Frontend) -> str:
    return f"-d {frontend.address} -p {frontend.protocol.lower()} --dport {frontend.port}"
