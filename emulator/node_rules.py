"""Pure: the packet filter of a node, for nft and, where there is no nft, for iptables.

One rule: what pods send out of the cluster leaves with the node's address. All that has to do with
Services is the proxy's.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network

TABLE = "podwire"


@dataclass(frozen=True, slots=True)
class NodeRules:
    """What the rules of one node speak of."""

    pod_subnet: IPv4Network
    cluster_subnet: IPv4Network
    underlay_interface: str


def nft(rules: NodeRules) -> str:
    """Return the rules as a script for `nft -f`; it replaces our own table and no other."""
    return f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{rules.underlay_interface}" ip saddr {rules.pod_subnet} \
ip daddr != {rules.cluster_subnet} masquerade
  }}
}}
"""


def iptables(rules: NodeRules) -> str:
    """Return the rules as a script for `iptables-restore`, which replaces table nat whole."""
    return f"""\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -o {rules.underlay_interface} -s {rules.pod_subnet} \
! -d {rules.cluster_subnet} -j MASQUERADE
COMMIT
"""
