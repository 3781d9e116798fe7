"""Pure: the packet filters of nodes and of the router, for nft and, where there is none, iptables.

One rule each. What pods send out of the cluster leaves with their node's address; all that has to
do with Services is the proxy's. And what comes from outside for a ClusterIP ends at the router, as
at the edge of anybody's network: a node would serve it.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Protocol

TABLE = "podwire"


class Rules(Protocol):
    """The packet filter of one namespace."""

    def nft(self) -> str:
        """Return the rules as a script for `nft -f`; it replaces our own table and no other."""
        ...

    def iptables(self) -> str:
        """Return the rules as a script for `iptables-restore`, which replaces one table whole."""
        ...


@dataclass(frozen=True, slots=True)
class NodeRules:
    """What the rules of one node speak of."""

    pod_subnet: IPv4Network
    cluster_subnet: IPv4Network
    underlay_interface: str

    def nft(self) -> str:
        """Return the rules in a table of our own."""
        return _table(f"""\
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{self.underlay_interface}" ip saddr {self.pod_subnet} \
ip daddr != {self.cluster_subnet} masquerade
  }}""")

    def iptables(self) -> str:
        """Return the rules in table nat."""
        return f"""\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o {self.underlay_interface} -s {self.pod_subnet} \
! -d {self.cluster_subnet} -j MASQUERADE
COMMIT
"""


@dataclass(frozen=True, slots=True)
class RouterRules:
    """What the rules of the router speak of."""

    service_subnet: IPv4Network
    outside_interface: str

    def nft(self) -> str:
        """Return the rules in a table of our own."""
        return _table(f"""\
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{self.outside_interface}" ip daddr {self.service_subnet} drop
  }}""")

    def iptables(self) -> str:
        """Return the rules in table filter."""
        return f"""\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -i {self.outside_interface} -d {self.service_subnet} -j DROP
COMMIT
"""


def _table(chains: str) -> str:
    # Named first, as one cannot delete what is not there.
    return f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{chains}\n}}\n"
