"""The store's changes in a file, so that a new process goes on where the last one ended.

A line is a JSON array: collection, namespace, name, and the object, which a deletion lacks; or the
revision alone. One write(2) for each change and no fsync: what is written survives the end of this
process, however it ends (the kernel has it), and the container's layer in which the file is would
not survive the end of the machine in a way that anybody relies on.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from podwire.emulator.apiserver.store import Change, Store, Stored
from podwire.errors import MachineError
from podwire.kube.names import Key

Json = dict[str, Any]

NOT_KEPT = frozenset({"events", "leases"})
"""Collections whose objects are written often and are worth little later."""

_SMALLEST = 1 << 20
_GROWTH = 4

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Any]).decode


class Journal:
    """Writes what happens to a store; it is read back by `opened`.

    The file is written anew when it has *smallest* bytes and four times what it had when it held
    nothing but the present state.
    """

    def __init__(self, store: Store, path: Path, *, smallest: int = _SMALLEST) -> None:
        self._store = store
        self._path = path
        self._smallest = smallest
        self._fd = -1
        self._size = 0
        self._least = 0
        self._told = False
        self._rewrite()
        store.follow(self._note)

    def close(self) -> None:
        """Give the file back; changes from now on are not kept."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -2

    def _note(self, change: Change) -> None:
        if self._fd == -2:
            return
        try:
            if self._fd < 0 or self._size > max(self._smallest, _GROWTH * self._least):
                self._rewrite()  # with the present state, in which this change is already
                self._told = False
            else:
                self._append(_lines(change))
        except OSError as error:
            # The cluster goes on: only a restart would miss what is not written. The next change
            # tries to write all of it.
            self._drop()
            if not self._told:
                _log.error("%s cannot be written, a restart would lose changes: %s",
                           self._path, error)  # fmt: skip
                self._told = True

    def _append(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        self._size += written
        if written < len(line):
            raise OSError(f"only {written} of {len(line)} bytes could be written")

    def _drop(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _rewrite(self) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(draft, flags, 0o600)
        try:
            size = 0
            with os.fdopen(os.dup(fd), "wb") as file:
                for collection, stored in self._store.everything():
                    if _is_kept(collection):
                        size += file.write(_line(collection, stored))
                size += file.write(_revision_line(self._store.revision))
            draft.replace(self._path)
        except BaseException:
            os.close(fd)
            raise
        self._drop()
        self._fd, self._size, self._least = fd, size, size


def opened(path: Path, *, smallest: int = _SMALLEST) -> tuple[Store, Journal]:
    """Return the store that the journal at *path* describes, and the journal that goes on there.

    Without a file the store is empty. Raises MachineError when the file makes no sense.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    store = Store()
    if path.exists():
        objects, revision = read(path)
        store.restore(((name, key, obj) for (name, key), obj in objects.items()), revision)
    return store, Journal(store, path, smallest=smallest)


def read(path: Path) -> tuple[dict[tuple[str, Key], Json], int]:
    """Return the objects that *path* describes and the last revision; raises MachineError.

    A last line without its end is left out: its writer was killed in the middle.
    """
    objects: dict[tuple[str, Key], Json] = {}
    revision = 1
    for number, line in enumerate(_whole_lines(path.read_bytes()), 1):
        try:
            match _decode(line):
                case [int(told)]:
                    revision = max(revision, told)
                case [str(collection), str(namespace), str(name)]:
                    objects.pop((collection, Key(namespace, name)), None)
                case [str(collection), str(namespace), str(name), obj]:
                    revision = max(revision, int(obj["metadata"]["resourceVersion"]))
                    objects[collection, Key(namespace, name)] = obj
                case _:
                    raise ValueError("no change")
        except (ValueError, KeyError, TypeError, msgspec.DecodeError) as error:
            raise MachineError(
                f"{path}, line {number}: {error}; the cluster's state cannot be read\n"
                "  start afresh: docker compose down, then docker compose up"
            ) from error
    return objects, revision


def _whole_lines(content: bytes) -> Iterator[bytes]:
    end = content.rfind(b"\n")
    if end >= 0:
        yield from content[:end].split(b"\n")


def _lines(change: Change) -> bytes:
    if not _is_kept(change.collection):
        # No revision may be given twice: to a client it means one state.
        return _revision_line(change.revision)
    if change.type == "DELETED":
        return _head(change.collection, change.now.key) + b"]\n" + _revision_line(change.revision)
    return _line(change.collection, change.now)


def _line(collection: str, stored: Stored) -> bytes:
    return _head(collection, stored.key) + b"," + stored.encoded + b"]\n"


def _head(collection: str, key: Key) -> bytes:
    return _encode((collection, key.namespace, key.name))[:-1]


def _revision_line(revision: int) -> bytes:
    return b"[%d]\n" % revision


def _is_kept(collection: str) -> bool:
    return collection.partition(".")[0] not in NOT_KEPT
