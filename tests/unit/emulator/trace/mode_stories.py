"""Captures of one request through each kind of proxy, and the judge's word on them."""

from typing import TYPE_CHECKING, Any

from podwire.emulator.trace.hops import Finding

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

GET = "data GET / HTTP/1.1\\r\\nHost: 10.96.14.7\\r\\n\\r\\n"
OK = "data HTTP/1.1 200 OK\\r\\n\\r\\n"
TO = "http://10.96.14.7"

# One connection, with another destination from node-1 on.
DNAT = f"""
syn.client   default/client eth0   10.244.1.5:40002 > 10.96.14.7:80    SYN
syn.port     node-1 pw1:in         10.244.1.5:40002 > 10.96.14.7:80    SYN
syn.node     node-1 cni0:in        10.244.1.5:40002 > 10.96.14.7:80    SYN
out.device   node-1 flannel.1:out  SRC:40002 > 10.244.2.6:80           SYN
out.node     node-1 eth0:out       SRC:40002 > 10.244.2.6:80           SYN      via 192.168.1.10 > 192.168.1.11
out.node-2   node-2 eth0:in        SRC:40002 > 10.244.2.6:80           SYN      via 192.168.1.10 > 192.168.1.11
out.web      default/web-1 eth0    SRC:40002 > 10.244.2.6:80           SYN
took.web     default/web-1 eth0    10.244.2.6:80 > SRC:40002           SYN-ACK
took.node-2  node-2 eth0:out       10.244.2.6:80 > SRC:40002           SYN-ACK  via 192.168.1.11 > 192.168.1.10
took.node    node-1 eth0:in        10.244.2.6:80 > SRC:40002           SYN-ACK  via 192.168.1.11 > 192.168.1.10
ack.node     node-1 cni0:out       10.96.14.7:80 > 10.244.1.5:40002    SYN-ACK
ack.client   default/client eth0   10.96.14.7:80 > 10.244.1.5:40002    SYN-ACK
get.client   default/client eth0   10.244.1.5:40002 > 10.96.14.7:80    {GET}
get.web      default/web-1 eth0    SRC:40002 > 10.244.2.6:80           {GET}
ok.web       default/web-1 eth0    10.244.2.6:80 > SRC:40002           {OK}
ok.node-2    node-2 eth0:out       10.244.2.6:80 > SRC:40002           {OK}     via 192.168.1.11 > 192.168.1.10
ok.tunnel    node-1 eth0:in        10.244.2.6:80 > SRC:40002           {OK}     via 192.168.1.11 > 192.168.1.10
ok.node      node-1 cni0:out       10.96.14.7:80 > 10.244.1.5:40002    {OK}
ok.client    default/client eth0   10.96.14.7:80 > 10.244.1.5:40002    {OK}
"""

# The same with two connections: the node asks with its client's address.
RELAYED = f"""
syn.client   default/client eth0   10.244.1.5:40002 > 10.96.14.7:80    SYN
syn.node     node-1 cni0:in        10.244.1.5:40002 > 10.96.14.7:80    SYN
ack.node     node-1 cni0:out       10.96.14.7:80 > 10.244.1.5:40002    SYN-ACK
ack.client   default/client eth0   10.96.14.7:80 > 10.244.1.5:40002    SYN-ACK
get.client   default/client eth0   10.244.1.5:40002 > 10.96.14.7:80    {GET}
get.node     node-1 cni0:in        10.244.1.5:40002 > 10.96.14.7:80    {GET}
out.node     node-1 cni0:out       10.244.1.5:PORT > 10.244.1.6:80     SYN  (2)
out.web      default/web-0 eth0    10.244.1.5:PORT > 10.244.1.6:80     SYN  (2)
took.web     default/web-0 eth0    10.244.1.6:80 > 10.244.1.5:PORT     SYN-ACK  (2)
took.node    node-1 cni0:in        10.244.1.6:80 > 10.244.1.5:PORT     SYN-ACK  (2)
sent.node    node-1 cni0:out       10.244.1.5:PORT > 10.244.1.6:80     {GET}  (2)
sent.web     default/web-0 eth0    10.244.1.5:PORT > 10.244.1.6:80     {GET}  (2)
ok.web       default/web-0 eth0    10.244.1.6:80 > 10.244.1.5:PORT     {OK}  (2)
ok.relay     node-1 cni0:in        10.244.1.6:80 > 10.244.1.5:PORT     {OK}  (2)
ok.node      node-1 cni0:out       10.96.14.7:80 > 10.244.1.5:40002    {OK}
ok.client    default/client eth0   10.96.14.7:80 > 10.244.1.5:40002    {OK}
"""


def judged(
    bench: "Bench", story: str, mode: str, *objects: dict[str, Any], to: str = TO, **how: Any
) -> Finding:
    nodes = [bench.node("node-1", 1, mode=mode), bench.node("node-2", 2, mode=mode)]
    snapshot = bench.cluster(*nodes, *objects)
    return bench.judge(story, snapshot=snapshot, to=to, **how)


def kept(story: str) -> str:
    return story.replace("SRC", "10.244.1.5")
