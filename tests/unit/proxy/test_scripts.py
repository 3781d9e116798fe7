"""Programs that are run on a script: what they write, how they end, and that they do."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from podwire.proxy.scripts import Ended, run


@pytest.mark.parametrize(
    ("command", "script", "expected"),
    [
        (["cat"], "a\nb\n", Ended(0, "a\nb\n", "")),
        (["true"], "nobody reads it", Ended(0, "", "")),
        (["sh", "-c", "cat >&2; exit 3"], "why", Ended(3, "", "why")),
        (["sh", "-c", "kill -9 $$"], "", Ended(-9, "", "")),
    ],
)
async def test_what_a_program_makes_of_its_script(
    command: list[str], script: str, expected: Ended
) -> None:
    assert await run(command, script) == expected


async def test_its_environment() -> None:
    assert (await run(["/usr/bin/env"], environ={"A": "b"})).printed == "A=b\n"


async def test_what_is_no_program() -> None:
    with pytest.raises(FileNotFoundError):
        await run(["no-such-program"])


async def test_cancelled_it_is_run_to_its_end_first(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(["sh"], f"sleep 0.1; touch {ended}"))
        await asyncio.sleep(0)  # it has begun
        task.cancel()
    assert task.cancelled()
    assert ended.exists()


async def test_where_the_kernel_cannot_watch_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> int:
        raise OSError

    monkeypatch.setattr(os, "pidfd_open", refused)
    assert (await run([sys.executable, "-c", "print(1)"])).printed == "1\n"
