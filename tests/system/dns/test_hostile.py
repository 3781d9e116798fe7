"""Hostile packets and clients against the real program: `make vectors`.

Judges the file that $PODWIRE_DNS_HOSTILE names, or else ours. One server takes all of it, so what
one packet breaks another shows.
"""

import re
import struct
from typing import Any

import pytest

from tests.needs import lack
from tests.system.dns import behaviours, inside
from tests.system.dns.attacks import may_be_silent
from tests.system.dns.files import DATA, hostile, read
from tests.system.dns.messages import opt, rcode
from tests.system.dns.shared import once, shared_folder

Json = dict[str, Any]

FILE = hostile()
CODES = {
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "NOTAUTH", "BADVERS",
}  # fmt: skip
CPU = 0.05
"""Seconds that one packet may cost at most: the longest chain of pointers a parser could follow."""


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Json:
    fixture = read(DATA / "cases.json")["fixtures"]["shop"]
    wanted = {
        "fixture": fixture,
        "packets": FILE["packets"],
        "tcp": [entry["name"] for entry in FILE.get("tcp_behaviour", [])],
        "udp": [entry["name"] for entry in FILE.get("udp_behaviour", [])],
    }
    folder = shared_folder(request, tmp_path_factory)
    found: Json = once(
        folder / "dns-hostile.json", lambda: inside.play(behaviours.attack, wanted, within=110.0)
    )
    return found


def identified(kind: str) -> list[Any]:
    return [pytest.param(entry, id=entry["name"]) for entry in FILE.get(kind, [])]


@pytest.mark.parametrize("entry", identified("packets"))
def test_packet(entry: Json, seen: Json) -> None:
    found = seen["packets"][entry["name"]]
    packet = bytes.fromhex(entry["hex"])
    reply = bytes.fromhex(found["reply"]) if found["reply"] else None
    assert not complaint(entry, packet, reply), entry.get("why", entry["rfc"])
    assert found["answers"], "the baseline was not answered afterwards"
    assert found["spent"] < CPU


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        *(pytest.param("tcp", e, id=e["name"]) for e in FILE.get("tcp_behaviour", [])),
        *(pytest.param("udp", e, id=e["name"]) for e in FILE.get("udp_behaviour", [])),
    ],
)
def test_behaviour(kind: str, entry: Json, seen: Json) -> None:
    found = seen[kind][entry["name"]]
    if "unknown" in found:
        lack(
            f"nobody knows how to behave like {entry['name']!r}; see tests/system/dns/behaviours.py"
        )
    assert not found["problem"], f"expected: {entry['expect']}"


def test_the_server_is_alive_after_all_of_it(seen: Json) -> None:
    assert seen["end"] == {"answers": True, "ended": None}, seen["log"]


def test_no_packet_is_logged_as_a_fault_of_ours(seen: Json) -> None:
    found = seen["log"].find("Traceback")
    assert found < 0, seen["log"][max(0, found - 500) : found + 3000]


def complaint(entry: Json, packet: bytes, reply: bytes | None) -> str:
    """Return what is wrong with the reaction to a packet; empty if nothing is."""
    expect = entry["expect"]
    codes, *details = expect.split(", ")
    named = set(re.findall(r"[A-Z]+", codes)) & CODES
    if reply is None:
        return "" if may_be_silent(expect) else "no reply"
    code = rcode(reply)
    if reply[:2] != packet[:2] or not reply[2] & 0x80:
        return f"no reply to this packet: {reply.hex()}"
    if entry["transport"] == "udp" and len(reply) > _limit(packet):
        return f"{len(reply)} bytes are too many"
    if code in entry.get("also_acceptable", ()):
        return ""
    if not named:
        return f"answered {code}" if may_be_silent(expect) else ""
    if (code in named) == codes.startswith("not "):
        return f"answered {code}, not {expect}"
    answers, authorities = int.from_bytes(reply[6:8]), int.from_bytes(reply[8:10])
    if "empty answer" in details and answers:
        return f"{answers} records in the answer"
    return "" if "SOA" not in details or authorities == 1 else "no SOA"


def _limit(packet: bytes) -> int:
    try:
        found = opt(packet)
    except (IndexError, struct.error):
        found = None
    return max(512, found.size) if found else 512
