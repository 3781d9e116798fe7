"""Constant load from inside a pod, and what came of it."""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from podwire.testing.cluster import Cluster

Kind = Literal["new", "kept"]

_PROGRAM = Path(__file__).with_name("load_program.py").read_text(encoding="utf-8")
_numbers = itertools.count()


@dataclass(slots=True)
class Load:
    """There when its block has ended: requests answered (by whom), connections, and failures."""

    source: str
    answered: dict[str, int] = field(default_factory=dict[str, int])
    connections: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __str__(self) -> str:
        total = sum(self.answered.values())
        lines = [
            f"load from {self.source}: {total} answers on {self.connections} connections, "
            f"{len(self.failures)} failures; answered by {self.answered}"
        ]
        lines += [
            f"  {one['time']:.3f} worker {one['worker']}, {one['stage']}: {one['what']}"
            for one in self.failures[:20]
        ]
        return "\n".join(lines)


@asynccontextmanager
async def load(
    cluster: Cluster, source: str, address: str, kind: Kind, *, port: int = 80, workers: int = 4
) -> AsyncGenerator[Load, None]:
    """Keep *workers* asking *address* from the pod *source* while the block runs."""
    result = Load(source)
    folder = f"/tmp/load-{next(_numbers)}"
    pod = cluster.pod(source)
    arguments = [address, str(port), kind, str(workers), folder]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(pod.exec(sys.executable, "-I", "-c", _PROGRAM, *arguments))
        try:
            await pod.exec(
                "timeout", "10", "sh", "-c", f"until [ -e {folder}/running ]; do sleep 0.01; done"
            )
            yield result
        finally:
            await pod.exec("touch", f"{folder}/stop")
    report = json.loads((await running).stdout)
    result.answered = report["answered"]
    result.connections = report["connections"]
    result.failures = report["failures"]
