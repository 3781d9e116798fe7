"""Pure: the packet filter of a node, for nft and, where there is no nft, for iptables.

Three rules. What pods send out of the cluster leaves with the node's address. What arrives from the
underlay for a ClusterIP is dropped: the node would accept it, because every ClusterIP is a local
address (AnyIP). And no ClusterIP answers a ping, as in a cluster where it is on no machine at all.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network

TABLE = "podwire"


@dataclass(frozen=True, slots=True)
class NodeRules:
    """What the rules of one node speak of."""

    pod_subnet: IPv4Network
    cluster_subnet: IPv4Network
    service_subnet: IPv4Network
    underlay_interface: str


def nft(rules: NodeRules) -> str:
    """Return the rules as a script for `nft -f`; it replaces our own table and no other."""
    return f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{rules.underlay_interface}" ip daddr {rules.service_subnet} drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    ip daddr {rules.service_subnet} icmp type echo-request drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{rules.underlay_interface}" ip saddr {rules.pod_subnet} \
ip daddr != {rules.cluster_subnet} masquerade
  }}
}}
"""


def iptables(rules: NodeRules) -> str:
    """Return the rules as a script for `iptables-restore`, which replaces both tables whole."""
    return f"""\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i {rules.underlay_interface} -d {rules.service_subnet} -j DROP
-A INPUT -d {rules.service_subnet} -p icmp --icmp-type echo-request -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o {rules.underlay_interface} -s {rules.pod_subnet} \
! -d {rules.cluster_subnet} -j MASQUERADE
COMMIT
"""
