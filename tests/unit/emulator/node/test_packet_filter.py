"""The rules of a node that belong to no Service."""

from ipaddress import IPv4Address, IPv4Network

from podwire.emulator.node import packet_filter
from podwire.emulator.node.settings import NodeSettings

SETTINGS = NodeSettings(
    "node-a",
    IPv4Address("10.201.0.11"),
    pods=IPv4Network("10.244.1.0/24"),
    cluster=IPv4Network("10.244.0.0/16"),
    services=IPv4Network("10.96.0.0/12"),
)


def test_rules() -> None:
    assert (
        packet_filter.nft(SETTINGS, "eth0", ("eth1", "flannel.1"))
        == """\
table inet podwire
delete table inet podwire
table inet podwire {
  chain served {
    type filter hook prerouting priority -90; policy accept;
    iifname { "eth1", "flannel.1" } ct status dnat meta mark set meta mark or 0x800
  }
  chain unserved {
    type filter hook forward priority 10; policy accept;
    ip daddr 10.96.0.0/12 drop
  }
  chain localhost {
    type filter hook input priority filter; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 ct status dnat accept
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }
  chain no-redirects {
    type filter hook output priority filter; policy accept;
    icmp type redirect drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "eth0" ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
  }
}
"""
    )
