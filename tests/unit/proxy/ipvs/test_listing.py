from podwire.proxy.ipvs.changes import Listed, ListedDestination
from podwire.proxy.ipvs.listing import listing
from podwire.proxy.ipvs.plan import VirtualServer
from tests.unit.proxy.ipvs.written import backend, frontend, there

EXPECTED = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.9:80 rr
  -> 10.244.1.9:8080              Masq    1      0          0_________
  -> 10.244.1.10:8080             Masq    0      12         3_________
TCP  10.96.0.10:80 rr persistent 10800
TCP  10.96.0.10:443 mh (mh-port)
UDP  10.96.0.10:53 rr
  -> 10.244.1.2:53                Masq    1      0          0_________
SCTP 10.96.0.10:9 rr
""".replace("_", " ")


def test_listing() -> None:
    servers = there("10.96.0.10:9/SCTP; 10.96.0.10:53/UDP -> 10.244.1.2:53")
    servers[frontend("10.96.0.9:80")] = Listed(
        VirtualServer("rr"),
        {
            backend("10.244.1.10:8080"): ListedDestination(0, 12, 3),
            backend("10.244.1.9:8080"): ListedDestination(),
        },
    )
    servers[frontend("10.96.0.10:443")] = Listed(VirtualServer("mh", 0, frozenset({"mh-port"})))
    servers[frontend("10.96.0.10:80")] = Listed(VirtualServer("rr", 10800))
    assert listing(servers, version=(1, 2, 1), size=4096) == EXPECTED


def test_nothing() -> None:
    assert listing({}, version=(1, 2, 1), size=1 << 12).count("\n") == 3
