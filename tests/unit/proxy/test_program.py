"""The proxy as a process."""

import asyncio
import os
import signal
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from podwire.errors import MachineError, UsageError
from podwire.proxy import program
from podwire.proxy.program import Options, load, main, parse

GOOD = (
    "--hostname-override",
    "node-1",
    "--node-address",
    "127.0.0.1",
    "--api",
    "/run/podwire/api.sock",
)


def test_options() -> None:
    address = IPv4Address("127.0.0.1")
    assert parse(GOOD) == Options("node-1", address, "/run/podwire/api.sock")


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.conf"
    file.write_text("mode: iptables\nclusterCIDR: 10.244.0.0/16\n")
    argv = (*GOOD, "--config", str(file), "--service-cidr", "10.96.0.0/12")
    found = load(parse(argv))
    assert found.mode == "iptables"
    assert found.settings.cluster_cidr == IPv4Network("10.244.0.0/16")
    assert found.settings.service_cidr == IPv4Network("10.96.0.0/12")
    assert load(parse((*argv, "--proxy-mode", "nftables"))).mode == "nftables"


def test_a_configuration_that_cannot_be_read_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main((*GOOD, "--config", str(tmp_path / "none")), {}) == 64
    assert "cannot read" in caplog.text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "the following arguments are required: --hostname-override, --node-address, --api"),
        ((*GOOD, "--node-address", "node-1"), "--node-address, --service-cidr: "),
        ((*GOOD, "--proxy-mode", "ebpf"), "argument --proxy-mode: invalid choice: 'ebpf'"),
        ((*GOOD, "--mode", "ipvs"), "unrecognized arguments: --mode ipvs"),
    ],
)
def test_wrong_options(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(argv)
    assert str(raised.value).startswith(message)
    assert main(argv, {}) == 64


def test_sigterm_stops_it(tmp_path: Path) -> None:
    file = tmp_path / "config.conf"
    file.write_text("healthzBindAddress: 127.0.0.1:0\nmetricsBindAddress: 127.0.0.1:0\n")
    process = subprocess.Popen(
        (
            sys.executable,
            "-Pm",
            "podwire.proxy",
            *GOOD,
            "--config",
            str(file),
            "--api",
            str(tmp_path / "no.sock"),
        ),
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
    argv = (*GOOD, "--node-address", "192.0.2.1")
    assert main(argv, {}) == 69
    assert "cannot serve on 192.0.2.1:10256" in caplog.text


def test_what_a_mode_lacks_at_its_first_sync_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first_sync() -> None:
        raise MachineError("no iptables\ninstall it")

    async def run(*_: object) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(first_sync())

    monkeypatch.setattr(program, "run", run)
    assert main(GOOD, {}) == 69
    assert "no iptables\ninstall it" in caplog.text
