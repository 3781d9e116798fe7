"""What the API server answers, read: lists, the lines of a watch, and Status as an error."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic

import msgspec

from podwire.errors import ApiError, Expired, UnreachableError
from podwire.kube.codec import decode
from podwire.kube.objects import T

# A watch line holds one object; the API server refuses objects over 3 MiB (etcd's habit: 1.5 MiB).
LONGEST_LINE = 4 << 20


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """The objects of a list and the revision to watch from."""

    items: tuple[T, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """What a watch saw: *type* is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: T


def listing(kind: type[T], body: bytes) -> Listing[T]:
    """Return a list's objects; raises UnreachableError for what is no list of *kind*."""
    try:
        whole = _LIST.decode(body)
        items = tuple(decode(kind, raw) for raw in whole.items)
    except msgspec.DecodeError as error:
        raise _unreadable(kind, error) from error
    return Listing(items, whole.metadata.resource_version)


def event(kind: type[T], line: bytes) -> Event[T]:
    """Return what a line of a watch says.

    Raises Expired or another ApiError for an ERROR line, UnreachableError for one that is no event.
    """
    try:
        read = _WATCH_LINE.decode(line)
        if read.type != "ERROR":
            return Event(read.type, decode(kind, read.object))
        status = _STATUS.decode(read.object)
    except msgspec.DecodeError as error:
        raise _unreadable(kind, error) from error
    if status.code == 410:
        raise Expired(410, "Expired", status.message)
    raise ApiError.of(status.code, status.reason, status.message)


def error_of(code: int, body: bytes) -> ApiError:
    """Return the error that an answer with HTTP status *code* means."""
    try:
        status = _STATUS.decode(body)
    except msgspec.DecodeError:
        return ApiError.of(code, "", body.decode(errors="replace").strip() or f"HTTP {code}")
    return ApiError.of(status.code or code, status.reason, status.message)


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the whole lines of a stream, without empty ones; raises UnreachableError.

    A last line without its end is dropped: the stream was cut.
    """
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        if b"\n" not in chunk:
            if len(rest) > LONGEST_LINE:
                raise UnreachableError(f"a watch line is longer than {LONGEST_LINE} bytes")
            continue
        *whole, last = rest.split(b"\n")
        rest = bytearray(last)
        for line in whole:
            if line.strip():
                yield bytes(line)


class _ListMeta(msgspec.Struct, rename="camel", frozen=True):
    resource_version: str = ""


class _List(msgspec.Struct):
    items: list[msgspec.Raw] = []
    metadata: _ListMeta = _ListMeta()


class _WatchLine(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


_LIST = msgspec.json.Decoder(_List)
_WATCH_LINE = msgspec.json.Decoder(_WatchLine)
_STATUS = msgspec.json.Decoder(_Status)


def _unreadable(kind: type[T], error: msgspec.DecodeError) -> UnreachableError:
    return UnreachableError(f"cannot read the API server's answer about {kind.__name__}: {error}")
