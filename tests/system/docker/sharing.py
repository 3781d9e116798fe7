"""One Docker Engine, and one image on it, for all workers of a run (pytest-xdist).

Who comes first starts the engine, and ends it when nobody uses it any more. The locks are the
kernel's (flock(2)): a worker that dies holds none.
"""

import faulthandler
import fcntl
import json
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.system.docker.engine import Engine
from tests.system.docker.engine import engine as an_engine
from tests.system.docker.image import build


def worker() -> int:
    """Return the number of this worker; 0 for the only one."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def common(base: Path) -> Path:
    """Return the folder that all workers of a run have, from the temporary one of this worker."""
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def shared_engine(folder: Path) -> Generator[Engine, None, None]:
    """Give the engine of all who share *folder*."""
    told = folder / "engine.json"
    with ExitStack() as stack:
        users = os.open(folder / "engine.users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, users)
        with _alone(folder / "engine.lock"):
            if told.exists():
                one = _read(told)
            else:
                one = stack.enter_context(an_engine())
                stack.callback(_wait_for_others, users, folder)
                told.write_text(_written(one), encoding="utf-8")
            fcntl.flock(users, fcntl.LOCK_SH)
        yield one


def shared_image(engine: Engine, folder: Path) -> str:
    """Return the image of this checkout, which the first who asks builds."""
    told = folder / "image"
    # The build has a limit of its own; on a busy machine it is beyond that of a test.
    faulthandler.cancel_dump_traceback_later()
    with _alone(folder / "image.lock"):
        if not told.exists():
            told.write_text(build(engine), encoding="utf-8")
        return told.read_text(encoding="utf-8")


def _wait_for_others(users: int, folder: Path) -> None:
    # As long as their tests take, which is no test of ours that hangs.
    faulthandler.cancel_dump_traceback_later()
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        with _alone(folder / "engine.lock"):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # somebody has come meanwhile
            (folder / "engine.json").unlink()
            return


@contextmanager
def _alone(path: Path) -> Generator[None, None, None]:
    with path.open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _written(one: Engine) -> str:
    return json.dumps([dict(one.environ), one.socket, one.host, one.is_own])


def _read(told: Path) -> Engine:
    environ, socket, host, is_own = json.loads(told.read_text(encoding="utf-8"))
    return Engine(environ, socket, tuple(host), is_own=is_own)
