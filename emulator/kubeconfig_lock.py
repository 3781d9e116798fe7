"""kubectl's lock on a kubeconfig, held for milliseconds, safe against one left by the dead.

kubectl creates FILE.lock exclusively and removes it (client-go, clientcmd/config.go); it never
breaks a lock. Among podwire processes a lock on the folder orders everything, and dies with its
holder; so at most one process at a time judges whether FILE.lock is stale.
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from podwire.errors import TimedOut

STALE_AFTER = 10.0  # seconds; kubectl holds its lock for milliseconds
_PAUSE = 0.01


@contextmanager
def locked(
    path: Path, *, limit: float = 20.0, stale_after: float = STALE_AFTER
) -> Generator[None, None, None]:
    """Hold the lock of the kubeconfig *path*; its folder is made if absent.

    Raises TimedOut when another process keeps it for *limit* seconds.
    """
    make_folder(path.parent)
    deadline = time.monotonic() + limit
    lock = path.with_name(path.name + ".lock")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _until(deadline, lock, lambda: _take_folder(folder))
        _until(deadline, lock, lambda: _take(lock, stale_after))
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(folder)


def make_folder(folder: Path) -> None:
    """Make *folder* if it is absent, for this user's eyes only."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        give(folder, like=folder.parent)


def give(thing: Path | int, *, like: Path) -> None:
    """Give what root has made (a path or a descriptor) to the owner of *like*: after `sudo -E`."""
    if os.geteuid() == 0:
        with suppress(OSError):
            owner = like.stat()
            os.chown(thing, owner.st_uid, owner.st_gid)


def _until(deadline: float, lock: Path, attempt: Callable[[], bool]) -> None:
    while not attempt():
        if time.monotonic() > deadline:
            raise TimedOut(f"the lock {lock} is taken\n  if no kubectl or podwire runs: rm {lock}")
        time.sleep(_PAUSE)


def _take_folder(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take(lock: Path, stale_after: float) -> bool:
    try:
        os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        _break_if_stale(lock, stale_after)
        return False
    return True


def _break_if_stale(lock: Path, stale_after: float) -> None:
    try:
        seen = lock.stat()
    except FileNotFoundError:
        return
    if time.time() - seen.st_mtime < stale_after:
        return
    # Move it aside first and look again: between the look and an unlink, a kubectl could have
    # finished and another one have begun, and the unlink would take away the living one's lock.
    aside = lock.with_name(f"{lock.name}.{os.getpid()}")
    try:
        lock.rename(aside)
        if aside.stat().st_ino != seen.st_ino:
            os.link(aside, lock)
    except (FileNotFoundError, FileExistsError):
        pass
    finally:
        aside.unlink(missing_ok=True)
