"""Each scheduler of ip_vs as a table: destinations, and who gets the connections that come."""

from ipaddress import IPv4Address

import pytest

from podwire.proxy.configuration import SCHEDULERS as CONFIGURABLE
from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.destinations import Destination, Packet
from podwire.proxy.ipvs.hashing import TABLE, hash_32, hsiphash
from podwire.proxy.ipvs.locality import DAY
from podwire.proxy.ipvs.schedulers import SCHEDULERS

VIP = IPv4Address("10.96.0.10")


def destinations(written: str) -> list[Destination]:
    """Return "a b:3+2 c!" as destinations: b has 3 active and 2 inactive connections, c drains."""
    found: list[Destination] = []
    for word in written.split():
        name, _, counts = word.rstrip("!").partition(":")
        active, _, inactive = (counts or "0+0").partition("+")
        number = "abcdefgh".index(name) + 1
        backend = Backend(IPv4Address(f"10.244.1.{number}"), 80)
        each = Destination(backend, active=int(active), inactive=int(inactive or 0))
        if word.endswith("!"):
            each.weigh(0)
        found.append(each)
    return found


def name_of(destination: Destination | None) -> str:
    return "-" if destination is None else "-abcdefgh"[int(destination.backend.address) & 0xFF]


def packet(client: str = "10.244.2.9", port: int = 40000, now: float = 0.0) -> Packet:
    return Packet(IPv4Address(client), port, VIP, now)


def test_every_scheduler_of_the_configuration_is_there() -> None:
    assert set(SCHEDULERS) == set(CONFIGURABLE)


@pytest.mark.parametrize(
    ("scheduler", "there", "chosen"),
    [
        # Taking turns, from the head of the kernel's list; what drains gets nothing.
        ("rr", "a b c", "abcabc"),
        ("rr", "a b! c", "acacac"),
        ("rr", "a", "aaaaaa"),
        ("rr", "a! b!", "------"),
        ("rr", "", "------"),
        ("wrr", "a b c", "abcabc"),
        ("wrr", "a! b c", "bcbcbc"),
        ("wrr", "a!", "------"),
        # The overhead is 256 x active + inactive; of equals the first.
        ("lc", "a:1 b c", "bbbbbb"),
        ("lc", "a:0+9 b:0+8 c:0+9", "bbbbbb"),
        ("lc", "a:1+0 b:0+255", "bbbbbb"),
        ("lc", "a:1+0 b:0+257", "aaaaaa"),
        ("lc", "a:5 b!", "aaaaaa"),
        ("wlc", "a:3 b:1+300 c:1+299", "cccccc"),
        ("wlc", "a! b!", "------"),
        # Active ones only; the first idle one is taken at once.
        ("sed", "a:2 b:1+900 c:1", "bbbbbb"),
        ("sed", "a! b:7", "bbbbbb"),
        ("nq", "a:2 b:0+900 c", "bbbbbb"),
        ("nq", "a:2 b:1 c:3", "bbbbbb"),
        ("nq", "a!", "------"),
        # By the address that is asked, so always the same; and no other while that one drains.
        ("dh", "a b c", "cccccc"),
        ("dh", "a b c!", "------"),
        ("dh", "", "------"),
        # One destination until it has more than one connection while another has none.
        ("lblc", "a:1 b", "bbbbbb"),
        ("lblc", "a! b:9", "bbbbbb"),
        ("lblcr", "a:1 b", "bbbbbb"),
        ("lblcr", "", "------"),
        ("sh", "", "------"),
        ("mh", "", "------"),
        ("mh", "a!", "------"),
    ],
)
def test_six_connections_of_one_client(scheduler: str, there: str, chosen: str) -> None:
    asked = SCHEDULERS[scheduler]()
    among = destinations(there)
    asked.changed(among)
    assert "".join(name_of(asked.choose(among, packet())) for _ in range(6)) == chosen


def test_dh_is_the_bucket_of_the_virtual_address() -> None:
    assert "abc"[hash_32(int(VIP), 8) % 3] == "c"


@pytest.mark.parametrize(
    ("value", "bits", "hashed"),
    # That is (value * 0x61c88647 mod 2^32) >> (32 - bits).
    [(0, 8, 0), (1, 8, 0x61), (2, 8, 0xC3), (1, 16, 0x61C8), (0x0A60000A, 8, 0xF2)],
)
def test_hash_32(value: int, bits: int, hashed: int) -> None:
    assert hash_32(value, bits) == hashed


def test_hsiphash_as_the_kernel_tests_it() -> None:
    # lib/tests/siphash_kunit.c, 64 bits, the vector of four bytes.
    assert hsiphash(0x03020100, (0x0706050403020100, 0x0F0E0D0C0B0A0908)) == 0x88D38328


def test_sh_goes_by_the_client_and_not_by_its_port() -> None:
    asked, among = SCHEDULERS["sh"](), destinations("a b c")
    clients = [f"10.244.2.{n}" for n in range(1, 200)]
    first = [name_of(asked.choose(among, packet(c, 1))) for c in clients]
    assert first == [name_of(asked.choose(among, packet(c, 2))) for c in clients]
    assert set(first) == set("abc")
    # b drains: its clients are refused, nobody else moves.
    among[1].weigh(0)
    asked.changed(among)
    after = [name_of(asked.choose(among, packet(c))) for c in clients]
    assert after == [name.replace("b", "-") for name in first]


def test_mh_fills_its_table_evenly_and_moves_few_clients() -> None:
    asked, among = SCHEDULERS["mh"](), destinations("a b c d")
    asked.changed(among)
    ports = range(1024, 1024 + 4000)
    before = [name_of(asked.choose(among, packet(port=p))) for p in ports]
    assert all(800 < before.count(name) < 1200 for name in "abcd")
    gone = among.pop(1)
    asked.removed(gone, among[0])
    asked.changed(among)
    after = [name_of(asked.choose(among, packet(port=p))) for p in ports]
    moved = sum(b != a for b, a in zip(before, after, strict=True) if b != "b")
    assert moved < 400  # plain hashing moves three quarters of the other 3000
    assert TABLE == 4093


def test_mh_keeps_the_places_of_what_drains() -> None:
    asked, among = SCHEDULERS["mh"](), destinations("a b")
    asked.changed(among)
    before = [name_of(asked.choose(among, packet(port=p))) for p in range(1, 200)]
    among[1].weigh(0)
    asked.changed(among)
    after = [name_of(asked.choose(among, packet(port=p))) for p in range(1, 200)]
    assert after == [name.replace("b", "-") for name in before]


@pytest.mark.parametrize(("scheduler", "then"), [("rr", "bcd"), ("wrr", "dbc")])
def test_when_the_last_chosen_one_goes_its_follower_is_next(scheduler: str, then: str) -> None:
    asked, among = SCHEDULERS[scheduler](), destinations("d a b c")
    asked.changed(among)
    assert [name_of(asked.choose(among, packet())) for _ in range(2)] == ["d", "a"]
    gone = among.pop(1)
    asked.removed(gone, among[0])
    asked.changed(among)
    # rr goes on behind d; wrr starts anew at every change.
    assert "".join(name_of(asked.choose(among, packet())) for _ in range(3)) == then


def test_rr_when_the_first_goes_starts_at_the_head() -> None:
    asked, among = SCHEDULERS["rr"](), destinations("a b c")
    assert name_of(asked.choose(among, packet())) == "a"
    asked.removed(among.pop(0), None)
    assert name_of(asked.choose(among, packet())) == "b"


def test_lblc_leaves_an_overloaded_destination_for_an_idle_one_only() -> None:
    asked, among = SCHEDULERS["lblc"](), destinations("a b")
    a, b = among
    assert asked.choose(among, packet()) is a
    a.active, b.active = 2, 1
    assert asked.choose(among, packet()) is a  # b has few, but not none
    b.active = 0
    assert asked.choose(among, packet()) is b
    b.active = 1
    assert asked.choose(among, packet()) is b  # and stays there


def test_lblc_forgets_after_a_day_without_use() -> None:
    asked, among = SCHEDULERS["lblc"](), destinations("a b")
    assert asked.choose(among, packet(now=1)) is among[0]
    among[0].active = 1
    assert asked.choose(among, packet(now=DAY)) is among[0]
    assert asked.choose(among, packet(now=2 * DAY + 1)) is among[1]


def test_lblcr_grows_its_set_and_shrinks_it_after_a_day() -> None:
    asked, among = SCHEDULERS["lblcr"](), destinations("a b c")
    a, b, c = among
    assert asked.choose(among, packet(now=1)) is a
    a.active = 2
    assert asked.choose(among, packet(now=2)) is b  # a is overloaded and b is idle: both now
    a.active, b.active, c.active = 0, 1, 0
    assert asked.choose(among, packet(now=3)) is a  # the least of the set
    a.active, b.active = 5, 1
    # Since the last change more than a day: the answer is of the whole set, then a leaves it.
    assert asked.choose(among, packet(now=DAY + 1)) is b
    assert asked.choose(among, packet(now=DAY + 3)) is b
    a.active = 0
    assert asked.choose(among, packet(now=DAY + 4)) is b  # a would have been less
