"""What the service `coredns` runs: it waits for the Corefile that `api` writes."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from podwire.emulator.compose.corefile import CorefileOnDisk
from podwire.kube.objects import ConfigMap, ObjectMeta

PATIENCE = 20.0
COREFILE = ".:0 {\n    bind 127.0.0.1\n    errors\n}\n"


@asynccontextmanager
async def running(folder: Path) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "podwire.emulator.compose.coredns"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PODWIRE_READERS": str(folder)},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_serves_what_the_config_map_says_as_soon_as_it_is_there(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        assert process.stdout is not None
        CorefileOnDisk(tmp_path / "Corefile").look(
            None,
            ConfigMap(
                metadata=ObjectMeta(name="coredns", namespace="kube-system"),
                data={"Corefile": COREFILE},
            ),
        )
        assert b"dns on 127.0.0.1:" in await process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_without_a_corefile_it_waits_and_can_be_ended(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == -signal.SIGTERM
