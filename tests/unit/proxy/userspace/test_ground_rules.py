"""What the relay needs of its node, as rules, routes and marks; and that the kernel takes them."""

import shutil
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.netlink.changes import AddRoute, describe
from podwire.netlink.present import Route
from podwire.netlink.rtnetlink import TABLE_LOCAL, TABLE_MAIN
from podwire.proxy.userspace import ground_rules
from podwire.proxy.userspace.ground_rules import Led
from podwire.proxy.userspace.routes import Frontend
from tests.needs import SEARCH, lack, need

SERVICES = IPv4Network("10.96.0.0/12")
NODE = IPv4Address("192.168.1.10")
TCP = Frontend(IPv4Address("198.51.100.7"), 80, "TCP")
UDP = Frontend(IPv4Address("198.51.100.7"), 53, "UDP")
PRIVATE = ("unshare", "-Urn")


def own_namespaces() -> None:
    need("unshare")
    if subprocess.run([*PRIVATE, "true"], capture_output=True, check=False).returncode:
        lack("permission to make user namespaces")


def route(destination: str, *, protocol: int = ground_rules.OWNER, table: int = 255) -> Route:
    return Route(IPv4Network(destination), None, 1, table, 2, onlink=False, protocol=protocol)


def words(wanted: frozenset[AddRoute], *present: Route) -> list[str]:
    return [describe(change) for change in ground_rules.route_changes(wanted, present)]


def test_addresses_outside_the_range_get_routes_of_their_own() -> None:
    others = (IPv4Address("10.96.0.10"), IPv4Address("198.51.100.7"))
    assert words(ground_rules.routes(SERVICES, others, NODE)) == [
        "add route 10.96.0.0/12 dev lo src 192.168.1.10",
        "add route 198.51.100.7/32 dev lo src 192.168.1.10",
    ]
    # Without a known range each ClusterIP has its own.
    assert len(ground_rules.routes(None, others, NODE)) == 2


def test_only_our_routes_go() -> None:
    present = (
        route("10.96.0.0/12"),
        route("198.51.100.8/32"),
        route("198.51.100.9/32", protocol=4),
        route("0.0.0.0/0", table=ground_rules.DELIVERIES),
        route("10.244.2.0/24", protocol=4, table=TABLE_MAIN),
    )
    assert words(ground_rules.routes(SERVICES, (), NODE), *present) == [
        "add route 10.96.0.0/12 dev lo src 192.168.1.10",
        "delete route 198.51.100.8/32 dev lo",
    ]
    assert all(r.table == TABLE_LOCAL for r in present[:3])


@pytest.mark.parametrize(
    ("there", "marks", "changes"),
    [
        (False, True, ["add route 0.0.0.0/0 dev lo", "add rule pref 80 fwmark 0x2000/0x2000"]),
        (True, True, ["add route 0.0.0.0/0 dev lo"]),
        (True, False, ["delete rule pref 80 fwmark 0x2000/0x2000"]),
        (False, False, []),
    ],
)
def test_delivery(there: bool, marks: bool, changes: list[str]) -> None:  # noqa: FBT001
    present = (ground_rules.RULE,) if there else ()
    found = ground_rules.delivery_changes(present, marks=marks)
    assert [describe(change).removesuffix(" lookup 5280") for change in found] == changes


LED = Led(
    served=frozenset({TCP, UDP}),
    refused=frozenset({Frontend(IPv4Address("198.51.100.8"), 9899, "SCTP")}),
)


@pytest.mark.parametrize(
    ("flush", "differing"),
    [
        ("true", []),
        (f"nft flush set inet {ground_rules.TABLE} led", ["elements"]),
        (f"nft flush set inet {ground_rules.TABLE} refused", ["elements"]),
        (f"nft flush chain inet {ground_rules.TABLE} asked-for", ["asked-for"]),
        (f"nft flush chain inet {ground_rules.TABLE} refused-input", ["refused-input"]),
    ],
)
def test_nft_lists_what_it_was_told_in_the_same_shape(flush: str, differing: list[str]) -> None:
    need("nft")
    own_namespaces()
    script = ground_rules.nft(SERVICES, marks=True) + ground_rules.nft_led(LED)
    load = f"nft -f - <<'E'\n{script}E\n{flush}; nft list table inet {ground_rules.TABLE}"
    done = subprocess.run(
        [*PRIVATE, "sh", "-ec", load], capture_output=True, text=True, check=False
    )
    found, told = ground_rules.nft_shape(done.stdout), ground_rules.nft_shape(script)
    assert sorted(found - told | told - found) == differing, done


def test_nft_has_the_ports_taken_in_and_no_others() -> None:
    need("nft")
    own_namespaces()
    loads = "".join(
        f"nft -f - <<'E'\n{script}E\n"
        for script in (
            ground_rules.nft(SERVICES, marks=True),
            ground_rules.nft_led(Led(served=frozenset({UDP}), refused=frozenset({TCP}))),
            ground_rules.nft_led(Led(served=frozenset({TCP, UDP}))),
        )
    )
    show = "; ".join(f"nft list set inet {ground_rules.TABLE} {n}" for n in ("led", "refused"))
    done = subprocess.run(
        [*PRIVATE, "sh", "-ec", f"{loads}{show}"], capture_output=True, text=True, check=False
    )
    led, _, refused = done.stdout.partition("set refused")
    assert "198.51.100.7 . tcp . 80" in led, done
    assert "198.51.100.7 . udp . 53" in led
    assert "elements" not in refused


KEEPS = """
import socket, subprocess, sys
server = socket.create_server(("198.51.100.7", 80))
client = socket.create_connection(("198.51.100.7", 80))
accepted, _ = server.accept()
subprocess.run(["nft", "-f", "-"], input=sys.argv[1], text=True, check=True)
client.send(b"hello")
print(accepted.recv(9).decode())
try:
    socket.create_connection(("198.51.100.7", 80))
except ConnectionRefusedError:
    print("refused")
"""


def test_what_is_connected_is_not_refused() -> None:
    """As by kube-proxy: the address may be somebody's, and he may have clients already."""
    need("nft")
    own_namespaces()
    refused = ground_rules.nft_led(Led(refused=frozenset({TCP})))
    script = (
        "ip link set lo up; ip addr add 198.51.100.7/32 dev lo; "
        f"nft -f - <<'E'\n{ground_rules.nft(SERVICES, marks=True)}E\n"
        'exec timeout 20 "$0" -c "$1" "$2"'
    )
    done = subprocess.run(
        [*PRIVATE, "sh", "-ec", script, sys.executable, KEEPS, refused],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": SEARCH},
    )
    assert done.stdout.split() == ["hello", "refused"], done


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("services", [SERVICES, None])
def test_nft_takes_the_script_twice(services: IPv4Network | None, marks: bool) -> None:  # noqa: FBT001
    need("nft")
    own_namespaces()
    script = ground_rules.nft(services, marks=marks)
    listing = "nft list tables"
    again = f"nft -f - <<'E'\n{script}E\n"
    gone = f"nft -f - <<'E'\n{ground_rules.nft_cleanup()}E\n"
    done = subprocess.run(
        [*PRIVATE, "sh", "-ec", f"{again}{again}{listing}; echo after; {gone}{gone}{listing}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"table inet {ground_rules.TABLE}\nafter\n"), done


def test_iptables_takes_the_script_and_gives_it_back() -> None:
    iptables = shutil.which("iptables", path=SEARCH)
    if iptables is None:
        lack("iptables")
    own_namespaces()
    script = ground_rules.iptables(SERVICES, marks=True)
    removal = "; ".join(f"iptables {' '.join(each)}" for each in ground_rules.iptables_cleanup())
    sctp = Frontend(TCP.address, 9899, "SCTP")
    led = Led(served=frozenset({UDP}), refused=frozenset({TCP, sctp}))
    load = "".join(
        f"iptables-restore --noflush -w <<'E'\n{each}E\n"
        for each in (script, ground_rules.iptables_led(led), ground_rules.iptables_led(led))
    )
    done = subprocess.run(
        [
            *PRIVATE,
            *("sh", "-c", f"{load} iptables-save; echo after; {removal}; iptables-save"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": SEARCH},
    )
    laid, _, after = done.stdout.partition("after\n")
    assert "-A PODWIRE-ANSWERS -m socket --transparent --nowildcard" in laid, done
    assert "-A PODWIRE-STRAY -d 10.96.0.0/12" in laid
    udp = "-A PODWIRE-LED -d 198.51.100.7/32 -p udp -m udp --dport 53 -m conntrack --ctdir ORIGINAL"
    assert laid.count(udp) == 1
    assert laid.count("-A PODWIRE-REFUSED -d 198.51.100.7/32 -p tcp -m tcp --dport 80") == 1
    assert "--ctstate NEW -j REJECT" in laid
    assert "sctp" not in laid
    shape = ground_rules.iptables_shape(script + ground_rules.iptables_led(led))
    assert ground_rules.iptables_shape(laid) == shape
    assert "PODWIRE" not in after
