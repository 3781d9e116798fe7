"""The directory of a configMap, secret, downwardAPI or projected volume: it changes all at once.

As the kubelet lays it out (pkg/volume/util/atomic_writer.go): the files are in a directory of their
own, `..data` is a link to that one, and what programs open are links through it. So a reader sees
the old files or the new ones, never some of each, and whoever watches for changes watches `..data`.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from podwire.emulator.kubelet.volume_files import File, Files

DATA = "..data"
_NEW = "..data_tmp"
_STAMP = "..%Y_%m_%d_%H_%M_%S."


def write(directory: Path, files: Files, now: float) -> bool:
    """Make *directory* hold exactly *files*; return whether it did not before.

    *now*, in seconds since 1970, becomes part of a name. Raises OSError; the old files stay then.
    """
    data = directory / DATA
    if data.is_symlink() and _held(data) == files:
        return False
    directory.mkdir(parents=True, exist_ok=True)
    fresh = _filled(directory, files, now)
    tops = {path.partition("/")[0] for path in files}
    try:
        for top in tops:
            if not os.path.lexists(directory / top):
                (directory / top).symlink_to(f"{DATA}/{top}")
        new = directory / _NEW
        new.unlink(missing_ok=True)
        new.symlink_to(fresh.name)
        new.replace(data)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _clear(directory, {DATA, fresh.name, *tops})
    return True


def _held(data: Path) -> Files:
    """Return the files that a reader finds now."""
    return {
        str(path.relative_to(data)): File(path.read_bytes(), path.stat().st_mode & 0o7777)
        for path in data.rglob("*")
        if path.is_file()
    }


def _filled(directory: Path, files: Files, now: float) -> Path:
    """Make a directory with *files* in it, beside those that are read."""
    stamp = time.strftime(_STAMP, time.gmtime(now))
    fresh = Path(tempfile.mkdtemp(prefix=stamp, dir=directory))
    try:
        fresh.chmod(0o755)
        for path, file in files.items():
            target = fresh / path
            if "/" in path:
                target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
            target.chmod(file.mode)
    except OSError:
        # The disk may be full: what is there of it must not stay, for it is tried again.
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return fresh


def _clear(directory: Path, kept: Iterable[str]) -> None:
    """Remove what is there no more: links to files, and what they led to before."""
    for entry in os.scandir(directory):
        if entry.name in kept:
            continue
        if entry.is_dir(follow_symlinks=False) and entry.name.startswith(".."):
            shutil.rmtree(entry.path, ignore_errors=True)
        elif entry.is_symlink():
            Path(entry.path).unlink()
