"""Random and mutated packets: the server answers on, spends little, and keeps nothing.

PODWIRE_FUZZ_SECONDS says for how long, PODWIRE_FUZZ_SEED (a number, or random) with which packets:
`make fuzz` takes new ones each time.
"""

import logging
import os
import re
import secrets
from typing import Any

import pytest

from tests.system.dns import fuzzing, inside
from tests.system.dns.files import DATA, hostile, read

Json = dict[str, Any]

SECONDS = float(os.environ.get("PODWIRE_FUZZ_SECONDS", "6"))
_SAID = os.environ.get("PODWIRE_FUZZ_SEED", "1")
SEED = secrets.randbelow(2**32) if _SAID == "random" else int(_SAID)

CPU = 0.001
"""Seconds of CPU that a packet may cost: all on average, and each hostile one."""

GROWTH = 8 << 20
"""Bytes that the server may grow in the second half: its bounded caches may still fill."""

log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def seen() -> Json:
    wanted = {
        "seed": SEED,
        "seconds": SECONDS,
        "fixture": read(DATA / "cases.json")["fixtures"]["shop"],
        "packets": {e["name"]: e["hex"] for e in hostile()["packets"] if e["transport"] == "udp"},
    }
    found: Json = inside.play(fuzzing.fuzz, wanted, within=SECONDS + 60)
    spent, grown = found["cpu"] * 1e6, (found["memory"][-1] - found["memory"][0]) / 1e6
    log.info(
        "%d packets, PODWIRE_FUZZ_SEED=%d: %.0f µs of CPU each, %.1f MB more memory",
        *(found["sent"], SEED, spent, grown),
    )
    return found


def test_the_server_lives_and_answers_all_along(seen: Json) -> None:
    assert seen["ended"] is None, seen["log"]
    assert not seen["silent"], f"PODWIRE_FUZZ_SEED={SEED}: silent after so many packets"


def test_no_packet_meets_a_bug(seen: Json) -> None:
    assert "Traceback" not in seen["log"], f"PODWIRE_FUZZ_SEED={SEED}"
    (panics,) = re.findall(r"^coredns_panics_total (\S+)", seen["metrics"], re.MULTILINE)
    assert float(panics) == 0


def test_a_packet_costs_little(seen: Json) -> None:
    assert seen["cpu"] < CPU
    assert {name: cost for name, cost in seen["costs"].items() if cost >= CPU} == {}


def test_memory_stays_flat(seen: Json) -> None:
    memory = seen["memory"]
    assert memory[-1] - memory[len(memory) // 2] < GROWTH
