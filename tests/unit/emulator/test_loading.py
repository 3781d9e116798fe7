"""What a cluster loads when it starts: most of the time to the first answer goes into it."""

import subprocess
import sys

import pytest

# Module -> who may load it. 25 ms and more each, and memory in every process.
HEAVY = ("cryptography", "scapy", "dnslib", "ssl", "aiohttp")


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("podwire.commands.up", set[str]()),
        ("podwire.emulator.supervisor", set[str]()),
        ("podwire.emulator.cluster", {"aiohttp", "ssl"}),
        ("podwire.emulator.builtins", {"aiohttp", "dnslib", "ssl"}),
    ],
)
def test_heavy_libraries_are_loaded_where_they_are_needed_only(
    module: str, expected: set[str]
) -> None:
    code = f"import sys, {module}; print(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True
    )
    assert set(done.stdout.split()) == expected
