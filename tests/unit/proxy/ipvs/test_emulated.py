"""ip_vs in memory: who gets the next connection, what is counted, what drains."""

from ipaddress import IPv4Address

from podwire.proxy.ipvs.changes import Listed, ListedDestination, between, drained
from podwire.proxy.ipvs.emulated import TIME_WAIT, Emulated
from podwire.proxy.ipvs.plan import VirtualServer
from tests.unit.proxy.ipvs.written import backend, frontend, wanted, without_what_drains

WEB, DNS = frontend("10.96.0.1:80"), frontend("10.96.0.1:53/UDP")
A, B, C = (backend(f"10.244.1.{n}:80") for n in (1, 2, 3))
ONE, OTHER = IPv4Address("10.244.2.1"), IPv4Address("10.244.2.2")


def emulated(written: str, server: VirtualServer | None = None) -> Emulated:
    made = Emulated()
    change(made, written, server)
    return made


def change(made: Emulated, written: str, server: VirtualServer | None = None) -> None:
    made.apply(between(made.listed(), wanted(written, server or VirtualServer("rr"))))


def test_the_one_that_was_added_last_is_first() -> None:
    web = emulated("10.96.0.1:80 -> 10.244.1.1:80 10.244.1.2:80 10.244.1.3:80")
    assert [web.choose(WEB, ONE, 1, now=0) for _ in range(4)] == [C, B, A, C]


def test_nobody_there() -> None:
    assert emulated("10.96.0.1:80").choose(WEB, ONE, 1, now=0) is None
    assert emulated("").choose(WEB, ONE, 1, now=0) is None


def test_affinity_is_of_a_client_and_a_virtual_server() -> None:
    both = (
        "10.96.0.1:80 -> 10.244.1.1:80 10.244.1.2:80; 10.96.0.2:80 -> 10.244.1.1:80 10.244.1.2:80"
    )
    web = emulated(both, VirtualServer("rr", 10))
    assert [web.choose(WEB, ONE, port, now=0) for port in range(3)] == [B, B, B]
    assert web.choose(WEB, OTHER, 1, now=0) == A
    # The other virtual server knows nothing of it, unlike frontends of the other modes.
    other = frontend("10.96.0.2:80")
    assert web.choose(other, OTHER, 1, now=0) == B


def test_affinity_ends_after_its_time_without_new_connections() -> None:
    web = emulated("10.96.0.1:80 -> 10.244.1.1:80 10.244.1.2:80", VirtualServer("rr", 10))
    assert web.choose(WEB, ONE, 1, now=0) == B
    assert web.choose(WEB, ONE, 1, now=9) == B
    assert web.choose(WEB, ONE, 1, now=18) == B
    assert web.choose(WEB, ONE, 1, now=28) == A


def test_affinity_leaves_what_drains_and_what_is_gone() -> None:
    two = "10.96.0.1:80 -> 10.244.1.1:80 10.244.1.2:80"
    for open_connections in (0, 1):
        web = emulated(two, VirtualServer("rr", 10))
        assert web.choose(WEB, ONE, 1, now=0) == B
        for _ in range(open_connections):
            web.began(WEB, B)
        change(web, "10.96.0.1:80 -> 10.244.1.1:80", VirtualServer("rr", 10))
        assert web.choose(WEB, ONE, 1, now=1) == A


def test_a_connection_is_active_then_inactive_then_forgotten() -> None:
    web = emulated("10.96.0.1:80 -> 10.244.1.1:80")

    def counts() -> ListedDestination:
        return web.listed()[WEB].destinations[A]

    web.began(WEB, A)
    web.began(WEB, A)
    web.ended(WEB, A, now=5)
    assert counts() == ListedDestination(1, active=1, inactive=1)
    web.forget(now=5 + TIME_WAIT - 1)
    assert counts() == ListedDestination(1, active=1, inactive=1)
    web.forget(now=5 + TIME_WAIT)
    assert counts() == ListedDestination(1, active=1, inactive=0)


def test_udp_is_never_active() -> None:
    dns = emulated("10.96.0.1:53/UDP -> 10.244.1.1:80")
    dns.began(DNS, A)
    assert dns.listed()[DNS].destinations[A] == ListedDestination(1, 0, 1)
    dns.ended(DNS, A, now=0)
    assert dns.listed()[DNS].destinations[A] == ListedDestination(1, 0, 0)


def test_tcp_drains_until_all_is_over_and_forgotten() -> None:
    web = emulated("10.96.0.1:80 -> 10.244.1.1:80 10.244.1.2:80")
    web.began(WEB, A)
    change(web, "10.96.0.1:80 -> 10.244.1.2:80")
    assert web.listed()[WEB].destinations[A] == ListedDestination(0, 1, 0)
    assert {web.choose(WEB, ONE, 1, now=0) for _ in range(4)} == {B}
    web.ended(WEB, A, now=10)
    assert drained(web.listed()) == ()  # TIME_WAIT still counts
    web.forget(now=10 + TIME_WAIT)
    web.apply(drained(web.listed()))
    assert set(web.listed()[WEB].destinations) == {B}


def test_what_comes_back_while_it_drains_has_its_counts() -> None:
    web = emulated("10.96.0.1:80 -> 10.244.1.1:80")
    web.began(WEB, A)
    change(web, "10.96.0.1:80")
    change(web, "10.96.0.1:80 -> 10.244.1.1:80")
    assert web.listed()[WEB].destinations[A] == ListedDestination(1, 1, 0)
    web.ended(WEB, A, now=0)
    assert web.listed()[WEB].destinations[A] == ListedDestination(1, 0, 1)


def test_a_virtual_server_that_goes_and_comes_back() -> None:
    web = emulated("10.96.0.1:80 -> 10.244.1.1:80")
    web.began(WEB, A)
    change(web, "")
    web.ended(WEB, A, now=0)  # its connection outlives it
    web.forget(now=TIME_WAIT)
    change(web, "10.96.0.1:80 -> 10.244.1.1:80")
    assert web.listed() == {WEB: Listed(VirtualServer("rr"), {A: ListedDestination()})}


def test_another_scheduler_takes_over() -> None:
    web = emulated("10.96.0.1:80 -> 10.244.1.1:80 10.244.1.2:80")
    web.began(WEB, B)
    change(web, "10.96.0.1:80 -> 10.244.1.1:80 10.244.1.2:80", VirtualServer("lc"))
    assert {web.choose(WEB, ONE, 1, now=0) for _ in range(3)} == {A}
    assert without_what_drains(web.listed()) == {WEB: (VirtualServer("lc"), frozenset({A, B}))}
