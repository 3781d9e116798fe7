"""The proxy as a process."""

import os
import signal
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from podwire.errors import UsageError
from podwire.proxy.program import Options, main, parse

GOOD = ("--node", "node-1", "--node-address", "127.0.0.1", "--api", "/run/podwire/api.sock")


def test_options() -> None:
    address = IPv4Address("127.0.0.1")
    assert parse(GOOD) == Options("node-1", address, "/run/podwire/api.sock", 10256, 10249)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "the following arguments are required: --node, --node-address, --api"),
        ((*GOOD, "--node-address", "node-1"), "--node-address: "),
        ((*GOOD, "--health-port", "x"), "argument --health-port: invalid int value: 'x'"),
        ((*GOOD, "--mode", "ipvs"), "unrecognized arguments: --mode ipvs"),
    ],
)
def test_wrong_options(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(argv)
    assert str(raised.value).startswith(message)
    assert main(argv, {}) == 64


def test_sigterm_stops_it(tmp_path: Path) -> None:
    ports = ("--health-port", "0", "--metrics-port", "0")
    process = subprocess.Popen(
        (sys.executable, "-Pm", "podwire.proxy", *GOOD, *ports, "--api", str(tmp_path / "no.sock")),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PODWIRE_LOG": "info"},
    )
    assert process.stderr
    try:
        assert "kube-proxy of node-1, userspace mode" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def test_a_port_that_is_taken_is_said(caplog: pytest.LogCaptureFixture) -> None:
    argv = (*GOOD, "--health-port", "10256", "--node-address", "192.0.2.1")
    assert main(argv, {}) == 69
    assert "cannot serve on 192.0.2.1:10256" in caplog.text
