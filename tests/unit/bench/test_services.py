"""How bench/services.py reads packets, and that it runs."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.by_path import loaded
from tests.needs import SEARCH, lack

FILE = Path(__file__).resolve().parents[3] / "bench" / "services.py"
NEW = IPv4Network("10.250.0.0/16")


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return loaded(FILE)


def packet(flags: int, *, protocol: int = 6) -> bytes:
    """Return the headers of an IPv4 packet to 10.250.0.1."""
    ip = bytes([0x45]) + bytes(8) + bytes([protocol]) + bytes(2)
    ip += IPv4Address("10.244.1.5").packed + IPv4Address("10.250.0.1").packed
    return ip + bytes(13) + bytes([flags]) + bytes(6)


@pytest.mark.parametrize(
    ("frame", "seen"),
    [
        pytest.param(packet(0x02), "10.250.0.1", id="SYN"),
        pytest.param(packet(0x12), None, id="SYN and ACK"),
        pytest.param(packet(0x10), None, id="ACK"),
        pytest.param(packet(0x02, protocol=17), None, id="UDP"),
        pytest.param(packet(0x02)[:30], None, id="too short"),
    ],
)
def test_which_packets_are_new_connections(bench: Any, frame: bytes, seen: str | None) -> None:
    found = bench.syn(frame, struct.pack("qq", 5, 500_000_000))
    assert found == (None if seen is None else bench.Syn(5.5, IPv4Address(seen)))


@pytest.mark.parametrize(
    ("seen", "delay"),
    [
        ([(100.01, "10.250.0.2")], 0.01),
        ([(100.001, "10.251.0.0"), (100.004, "10.250.0.0"), (100.005, "10.250.0.1")], 0.004),
        pytest.param([(99.9, "10.250.0.0"), (100.02, "10.250.0.0")], 0.02, id="of last time"),
    ],
)
def test_delay(bench: Any, seen: Sequence[tuple[float, str]], delay: float) -> None:
    syns = [bench.Syn(at, IPv4Address(to)) for at, to in seen]
    assert bench.delay(100.0, NEW, syns) == pytest.approx(delay)


def test_without_a_packet_there_is_no_delay(bench: Any) -> None:
    with pytest.raises(SystemExit, match="no connection"):
        bench.delay(100.0, NEW, [bench.Syn(100.1, IPv4Address("10.251.0.0"))])


def test_it_runs(tmp_path: Path) -> None:
    if any(shutil.which(program, path=SEARCH) is None for program in ("ip", "unshare", "nft")):
        lack("this machine lacks ip, unshare or nft")
    if subprocess.run(["unshare", "-Urnm", "true"], capture_output=True).returncode != 0:
        lack("permission to make user namespaces")
    picture = tmp_path / "picture.svg"
    words = ["--modes", "userspace,nftables", "--services", "3", "--endpoints", "2"]
    words += ["--changes", "3x2", "--rounds", "2", "--picture", str(picture), "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-P", str(FILE), *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": SEARCH},
    )
    assert done.returncode == 0, done.stderr
    found = {figure["what"]: figure for figure in json.loads(done.stdout)}
    for mode in ("userspace", "nftables"):
        assert len(found[f"{mode}, 3 x 2: change"]["values"]) == 2
        assert len(found[f"{mode}, 3 x 2: first packet at 3"]["values"]) == 2
    assert picture.read_text().startswith("<svg")
