"""What is costly to find out, once for the tests of all workers."""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def shared_folder(request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Path:
    """Return a folder of this test run that all its workers have."""
    base = factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


def once(path: Path, find_out: Callable[[], Any]) -> Any:
    """Return what *find_out* gives (JSON), kept at *path* by who comes first; others wait for it.

    When it raises AssertionError, it does so for each of them: trying again would take as long.
    """
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_text(json.dumps(_found(find_out)))
    kept = json.loads(path.read_text())
    if "failed" in kept:
        raise AssertionError(kept["failed"])
    return kept["found"]


def _found(find_out: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"found": find_out()}
    except AssertionError as error:
        return {"failed": str(error)}
