"""Pure: the packet filter of a node that is a container, for nft; Services are the proxy's.

What pods send to other machines, to reach a NodePort or an endpoint that is no pod, leaves with the
node's address, as in the netns runtime (emulator/node_rules.py) and as flannel has it. And what
belongs to a connection that kube-proxy has translated is marked: it may pass the fence around pods
(plan.py), such as the answer to a client on the network of the nodes whose address was kept.

What is for the address of a Service and belongs to no connection of that kind ends here, after the
proxy has had its chance to refuse it (0): by the route it would go to the engine's machine.

The sysctl route_localnet is on (docker-compose.yml): neighbours still cannot reach what listens on
127.0.0.1 (CVE-2020-8558).

No pod is told of a shorter way to a pod of the same node: that way a Service would not work. (The
sysctl send_redirects is each interface's own, and a container cannot write it.)
"""

from collections.abc import Sequence

from podwire.emulator.node.settings import NodeSettings

TABLE = "podwire"

SERVED = 0x800
"""The mark. kube-proxy's own bits are 0x4000 and 0x8000, those of its userspace mode below them."""


def nft(settings: NodeSettings, underlay: str, fenced: Sequence[str]) -> str:
    """Return the rules as a script for `nft -f`; it replaces our own table and no other.

    *fenced* are the interfaces behind which pods are.
    """
    cluster = settings.cluster
    # After the translation of destinations (-100), where the first packet has become one of those.
    return f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain served {{
    type filter hook prerouting priority -90; policy accept;
    iifname {{ {", ".join(f'"{name}"' for name in fenced)} }} ct status dnat \
meta mark set meta mark or {SERVED:#x}
  }}
  chain unserved {{
    type filter hook forward priority 10; policy accept;
    ip daddr {settings.services} drop
  }}
  chain localhost {{
    type filter hook input priority filter; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 ct status dnat accept
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }}
  chain no-redirects {{
    type filter hook output priority filter; policy accept;
    icmp type redirect drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{underlay}" ip saddr {cluster} ip daddr != {cluster} masquerade
  }}
}}
"""
