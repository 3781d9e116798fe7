"""What tests of pods' lives are made of: containers, and time to let things happen."""

import asyncio
from typing import Any

from tests.unit.emulator.kubelet.conftest import Json, World


def container(name: str, command: str, **fields: Any) -> Json:
    return {"name": name, "image": "busybox", "command": command.split(), **fields}


async def settle() -> None:
    """Let everything happen that can happen without time passing."""
    await asyncio.sleep(0.01)


def sidecar(name: str, command: str, **fields: Any) -> Json:
    return container(name, command, restartPolicy="Always", **fields)


def exec_probe(command: str, **fields: Any) -> Json:
    return {"exec": {"command": command.split()}, **fields}


def killings(world: World) -> list[str]:
    return world.events(reason="Killing")
