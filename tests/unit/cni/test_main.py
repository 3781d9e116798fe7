"""The plugin as a function and as a program: what it prints, and how little it loads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("aiohttp", "asyncio", "dnslib", "msgspec", "podwire.kube", "scapy", "subprocess", "yaml")


def test_starting_loads_nothing_heavy() -> None:
    program = "import sys, podwire.cni.__main__; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert loaded & set(HEAVY) == set()
    assert not [name for name in loaded if name.startswith("podwire.emulator")]


@pytest.mark.parametrize(
    ("environ", "stdin", "status", "printed"),
    [
        ({"CNI_COMMAND": "VERSION"}, "", 0, {"cniVersion": "1.1.0"}),
        ({"CNI_COMMAND": "VERSION"}, '{"cniVersion": "0.3.1"}', 0, {"cniVersion": "0.3.1"}),
        ({}, "", 1, {"code": 4, "msg": "required env variables [CNI_COMMAND] missing"}),
        ({"CNI_COMMAND": "STATUS"}, "{", 1, {"code": 6}),
        (
            {"CNI_COMMAND": "STATUS"},
            '{"name": "n", "cniVersion": "1.0.0"}',
            1,
            {"code": 1, "cniVersion": "1.0.0"},
        ),
        (
            {"CNI_COMMAND": "STATUS"},
            '{"name": "n", "cniVersion": "9.0.0"}',
            1,
            {"code": 1, "cniVersion": "1.1.0"},
        ),
    ],
)
def test_answers(
    environ: dict[str, str], stdin: str, status: int, printed: dict[str, object]
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CNI_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "podwire.cni"],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=clean | environ,
    )
    assert done.returncode == status
    assert json.loads(done.stdout).items() >= printed.items()


@pytest.mark.parametrize(("command", "status"), [("ADD", 1), ("DEL", 1), ("VERSION", 0)])
def test_endless_standard_input(command: str, status: int) -> None:
    call = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c", "CNI_IFNAME": "e", "CNI_NETNS": "/n"}
    with Path("/dev/zero").open("rb") as zeros:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "podwire.cni"],
            stdin=zeros,
            capture_output=True,
            check=False,
            env={**os.environ, **call},
        )
    assert done.returncode == status
    assert json.loads(done.stdout).get("code") == (6 if status else None)


def test_a_configuration_in_many_small_pieces() -> None:
    # In packet mode each read gives what one write gave (pipe(2), O_DIRECT).
    reads, writes = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "podwire.cni"],
        stdin=reads,
        stdout=subprocess.PIPE,
        env={**os.environ, "CNI_COMMAND": "GC"},
    ) as plugin:
        os.close(reads)
        for _ in range(300):
            os.write(writes, b" ")
        os.write(writes, b'{"name": "net", "cniVersion": "1.0.0"}')
        os.close(writes)
        assert plugin.stdout is not None
        assert "config version does not allow GC" in json.loads(plugin.stdout.read())["msg"]


def test_version_waits_for_no_configuration() -> None:
    """A runtime may leave the plugin its own standard input, which never ends."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "podwire.cni"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "CNI_COMMAND": "VERSION"},
    ) as plugin:
        assert plugin.stdout is not None
        assert json.loads(plugin.stdout.read())["cniVersion"] == "1.1.0"


def test_closed_standard_input() -> None:
    """Code 5, in words; and no traceback."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -P -m podwire.cni <&-', sys.executable],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CNI_COMMAND": "STATUS"},
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 5
    assert "Traceback" not in done.stderr
