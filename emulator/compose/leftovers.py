"""What pods leave behind: containers of the engine, and files on the volume of all pods."""

import asyncio
import shutil
from collections.abc import Collection
from pathlib import Path

from podwire.emulator.engine.client import Engine
from podwire.emulator.runtimes.made import MadeContainers


async def remove(
    engine: Engine, project: str, files: Path, known_uids: Collection[str]
) -> tuple[str, ...]:
    """Remove what belongs to no known pod; returns the uids of the pods whose containers went.

    *files* has a folder for each pod, by its uid. Raises EngineError; the files are there then, for
    the containers that may use them.
    """
    gone = await MadeContainers(engine, project).leftovers(known_uids)
    await asyncio.to_thread(_remove_files, files, frozenset(known_uids))
    return gone


def _remove_files(files: Path, known_uids: Collection[str]) -> None:
    files.mkdir(parents=True, exist_ok=True)
    for path in files.iterdir():
        if path.name in known_uids:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
