"""What iptables-restore is given: whole or in part, with what is declared, written and deleted."""

from collections.abc import Iterable

import pytest

from podwire.kube.names import Key
from podwire.proxy.iptables.ground import JUMPS, Kernel, ground
from podwire.proxy.iptables.rulebook import Rulebook
from podwire.proxy.iptables.saved import Saved, parse, removal
from podwire.proxy.iptables.service import portion
from podwire.proxy.table import ServicePort
from tests.unit.proxy.written import node, ports

GROUND = ground(node(), Kernel())
WEB, DB = Key("default", "web"), Key("default", "db")
FIXED = {
    "filter KUBE-EXTERNAL-SERVICES",
    "filter KUBE-FIREWALL",
    "filter KUBE-FORWARD",
    "filter KUBE-NODEPORTS",
    "filter KUBE-PROXY-CANARY",
    "filter KUBE-PROXY-FIREWALL",
    "filter KUBE-SERVICES",
    "mangle KUBE-PROXY-CANARY",
    "nat KUBE-MARK-MASQ",
    "nat KUBE-NODEPORTS",
    "nat KUBE-POSTROUTING",
    "nat KUBE-PROXY-CANARY",
    "nat KUBE-SERVICES",
}
SVC = "nat KUBE-SVC-LOLE4ISW44XBNF3G"
SEP = "nat KUBE-SEP-PXJ2U7QYT2QW5545"
OTHER_SEP = "nat KUBE-SEP-G2TK3RG32KUOAWKQ"


class Book:
    """A rulebook whose scripts are obeyed."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self.rulebook = Rulebook()
        self.limit = limit

    def put(self, key: Key, found: Iterable[ServicePort]) -> None:
        self.rulebook.put(key, portion(found, GROUND, comments=True))

    def whole(self, present: str = "") -> str:
        script = self.rulebook.whole(GROUND, parse(present), limit=self.limit)
        self.rulebook.written(deleted=frozenset(self.rulebook.stale))
        return script.text

    def part(self, *, delete: bool = True) -> str:
        deleted = frozenset(self.rulebook.stale) if delete else frozenset[str]()
        script = self.rulebook.part(GROUND, deleted=deleted, limit=self.limit)
        self.rulebook.written(deleted=deleted)
        return script.text


def words(script: str, start: str) -> list[str]:
    """Return "table CHAIN" of the lines of *script* that begin with *start*."""
    found: list[str] = []
    table = ""
    for line in script.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(start):
            found.append(f"{table} {line.removeprefix(start).split()[0]}")
    return found


def test_whole() -> None:
    book = Book()
    book.put(WEB, ports())
    script = book.whole()
    assert set(words(script, ":")) == {*FIXED, SVC, SEP}
    assert words(script, "-I ") == [
        *(f"nat {jump.hook}" for jump in JUMPS if jump.table == "nat"),
        *(f"filter {jump.hook}" for jump in JUMPS if jump.table == "filter"),
    ]
    assert words(script, "-X ") == []
    assert words(book.part(), ":") == []


def test_jumps_that_are_there_are_not_inserted_twice() -> None:
    jump = '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'
    present = f"*filter\n{jump}\nCOMMIT\n"
    script = Book().whole(present)
    assert len(words(script, "-I ")) == len(JUMPS) - 1
    assert "-j KUBE-FORWARD\n" not in "".join(
        f"{line}\n" for line in script.splitlines() if line.startswith("-I ")
    )


def test_whole_deletes_what_an_earlier_proxy_left() -> None:
    book = Book()
    book.put(WEB, ports())
    present = (
        "*nat\n:KUBE-SVC-OLD - [0:0]\n:KUBE-SEP-PXJ2U7QYT2QW5545 - [0:0]\n:KUBE-HOSTPORTS - [0:0]\n"
        ":PREROUTING ACCEPT [0:0]\nCOMMIT\n*filter\n:KUBE-SVC-IN-ANOTHER-TABLE - [0:0]\nCOMMIT\n"
    )
    script = book.whole(present)
    assert words(script, "-X ") == ["nat KUBE-SVC-OLD"]
    assert "nat KUBE-SVC-OLD" in words(script, ":")
    assert "KUBE-HOSTPORTS" not in script


@pytest.mark.parametrize(
    ("change", "declared", "deleted"),
    [
        ("nothing", set[str](), set[str]()),
        # Nothing of the endpoint that stays.
        ("one more endpoint", {SVC, OTHER_SEP}, set[str]()),
        ("another endpoint", {SVC, OTHER_SEP, SEP}, {SEP}),
        (
            "no endpoints",
            {SVC, SEP, "nat KUBE-SERVICES", "filter KUBE-SERVICES"},
            {SVC, SEP},
        ),
        ("gone", {SVC, SEP, "nat KUBE-SERVICES"}, {SVC, SEP}),
        ("node port", {"nat KUBE-EXT-LOLE4ISW44XBNF3G", "nat KUBE-NODEPORTS"}, set[str]()),
    ],
)
def test_part(change: str, declared: set[str], deleted: set[str]) -> None:
    book = Book()
    book.put(WEB, ports())
    book.put(DB, ports(name="db", cluster_ip="10.96.10.11"))
    book.whole()
    wanted = {
        "nothing": ports(),
        "one more endpoint": ports("10.244.1.2:8080@node-1 10.244.2.3:8080@node-2"),
        "another endpoint": ports("10.244.2.3:8080@node-2"),
        "no endpoints": ports(""),
        "gone": (),
        "node port": ports(port="80:30080"),
    }
    book.put(WEB, wanted[change])
    script = book.part()
    assert set(words(script, ":")) == declared
    assert set(words(script, "-X ")) == deleted
    assert set(words(script, "-A ")) == declared - deleted


def test_a_chain_that_is_wanted_again_is_not_deleted() -> None:
    book = Book()
    book.put(WEB, ports())
    book.whole()
    book.put(WEB, ())
    assert words(book.part(delete=False), "-X ") == []
    book.put(WEB, ports())
    script = book.part()
    assert words(script, "-X ") == []
    # What is in the kernel may be used, but it is written again: deleting it empties it first.
    assert {SVC, SEP} <= set(words(script, ":"))


def test_dispatch_is_sorted_by_service() -> None:
    book = Book()
    for name in ("web", "api", "db"):
        book.put(Key("default", name), ports(name=name))
    script = book.whole()
    lines = [line for line in script.splitlines() if line.startswith("-A KUBE-SERVICES")]
    assert [line.split('"')[1].split()[0] for line in lines] == [
        "default/api",
        "default/db",
        "default/web",
        "kubernetes",
    ]


def test_what_is_long_is_committed_in_parts() -> None:
    book = Book(limit=5_000)
    for n in range(3):
        endpoints = "10.244.1.2:80@node-1 10.244.1.3:80@node-1"
        book.put(Key("default", f"s{n}"), ports(endpoints, name=f"s{n}", port="80:30080"))
    script = book.whole()
    declared: set[str] = set()
    longest = 0
    for section in script.split("COMMIT\n"):
        declared |= set(words(section, ":"))
        rules = [line for line in section.splitlines() if line.startswith("-A KUBE-S")]
        longest = max(longest, len(rules))
        for rule in rules:
            target = rule.rpartition("-j ")[2]
            assert not target.startswith("KUBE-") or f"nat {target}" in declared, rule
    assert longest < 10 < len(words(script, "-A KUBE-SEP-"))
    assert words(script, "-A ").count("nat KUBE-MARK-MASQ") == 1


def test_figures() -> None:
    book = Book()
    book.whole()
    # Of nat: three to masquerade, one to mark, one to NodePorts. Of filter: forwarding, the guard.
    assert book.rulebook.rules() == {"nat": 5, "filter": 4}
    book.put(WEB, ports("10.244.1.2:8080@node-1"))
    book.put(DB, ports("10.244.2.3:80@node-2", name="db", internal_traffic_policy="Local"))
    book.part()
    # Of web: dispatch, masquerading, one endpoint, two of its chain. Of db: no chain is in use.
    assert book.rulebook.rules() == {"nat": 10, "filter": 5}


def test_removal() -> None:
    saved = parse(
        "# Generated by iptables-save\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n"
        ":DOCKER - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n"
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
        "-A PREROUTING -j DOCKER\n-A KUBE-SERVICES -j KUBE-MARK-MASQ\nCOMMIT\n"
        "*raw\n:KUBE-OF-ANOTHER - [0:0]\nCOMMIT\n"
        "*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n"
    )
    assert removal(saved) == (
        "*mangle\n:KUBE-PROXY-CANARY - [0:0]\n-X KUBE-PROXY-CANARY\nCOMMIT\n"
        "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n"
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
        "-X KUBE-SERVICES\n-X KUBE-MARK-MASQ\nCOMMIT\n"
    )
    assert removal(Saved()) == ""
