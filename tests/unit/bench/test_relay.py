"""That bench/relay.py runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.needs import SEARCH, lack

FILE = Path(__file__).resolve().parents[3] / "bench" / "relay.py"


def test_it_runs() -> None:
    programs = ("haproxy", "wrk", "iperf3", "nginx", "nft", "ip", "nsenter", "unshare")
    missing = [program for program in programs if shutil.which(program, path=SEARCH) is None]
    if missing:
        lack(f"this machine lacks {missing[0]}")
    if subprocess.run(["unshare", "-Urn", "true"], capture_output=True).returncode != 0:
        lack("permission to make user namespaces")
    words = ["--rounds", "1", "--seconds", "1", "--held", "10", "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-P", str(FILE), *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": SEARCH},
    )
    assert done.returncode == 0, done.stderr
    found = {figure["what"]: figure for figure in json.loads(done.stdout)}
    for what in (
        "podwire to haproxy: bulk",
        "podwire to haproxy-splice: bulk",
        "podwire to haproxy: keepalive",
        "podwire to haproxy: new",
        "nftables to one DNAT rule: bulk",
    ):
        assert min(found[what]["values"]) > 0
    assert "podwire: each of 10 connections" in found
