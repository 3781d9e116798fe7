"""One HTTP request passed on to who answers it, and the answer back, as they come."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.agent import Tcp
from podwire.emulator.apiserver.streams import proxying
from podwire.emulator.apiserver.streams.heads import (
    Asked,
    Head,
    Headers,
    answer_headers,
    parse_head,
    request_head,
)
from podwire.emulator.apiserver.streams.spdy_connection import Line

_PIECE = 64 << 10


class Answering(Protocol):
    """The way back to the client."""

    async def begin(self, status: int, reason: str, headers: Headers) -> None:
        """Send the head of the answer."""
        ...

    async def write(self, content: bytes) -> None:
        """Send a part of the body, waiting while the client does not read."""
        ...

    def cut(self) -> None:
        """End the connection: there is no more, and it was not all."""
        ...

    def switch(self, headers: Headers) -> Line:
        """Send a 101 and return the connection."""
        ...


async def pass_on(asked: Asked, tcp: Tcp, answering: Answering) -> None:
    """Pass *asked* on over *tcp*, and the answer back; raises Refused if there is none."""
    reader, writer = tcp
    broken: _Broken | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send(asked, writer))
            try:
                await _answer(asked, reader, writer, answering)
            except _Broken as error:
                broken = error
            finally:
                sending.cancel()
    finally:
        writer.transport.abort()
    if broken is not None:
        raise proxying.no_answer(str(broken))


def unreachable(there: proxying.Upstream, error: OSError) -> statuses.Refused:
    """503: nobody could be connected to; in Go's words."""
    where = f"dial tcp {there.address}:{there.port}"
    if isinstance(error, ssl.SSLError):
        if error.reason == "WRONG_VERSION_NUMBER":
            return proxying.no_answer("tls: first record does not look like a TLS handshake")
        return proxying.no_answer(f"tls: {(error.reason or '?').lower().replace('_', ' ')}")
    if isinstance(error, TimeoutError):
        return proxying.no_answer(f"{where}: i/o timeout")
    words = os.strerror(error.errno) if error.errno else str(error)
    return proxying.no_answer(f"{where}: connect: {words.lower()}")


class _Broken(Exception):
    """There is no answer, or not of HTTP."""


async def _send(asked: Asked, writer: asyncio.StreamWriter) -> None:
    # Who answers before it has read all, and leaves: its answer counts, not this error.
    with suppress(OSError):
        writer.write(request_head(asked))
        if asked.body is not None:
            async for piece in asked.body:
                chunk = piece if asked.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece)
                writer.write(chunk)
                await writer.drain()
            if asked.length is None:
                writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _answer(
    asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answering: Answering
) -> None:
    head = await _head(reader)
    while 100 <= head.status < 200 and head.status != 101:
        head = await _head(reader)
    headers = answer_headers(asked, head)
    if head.status == 101:
        upgrade = [("Upgrade", value) for value in head.all("upgrade")]
        line = answering.switch([*upgrade, *headers])
        await _relay(line, reader, writer)
        return
    await answering.begin(head.status, head.reason, headers)
    if asked.method == "HEAD" or head.status in (204, 304):
        return
    try:
        async for piece in _body(head, reader):
            await answering.write(piece)
    except (OSError, _Broken):
        answering.cut()  # half of the answer is out


async def _head(reader: asyncio.StreamReader) -> Head:
    try:
        content = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise _Broken("EOF") from error
        content = error.partial
    except asyncio.LimitOverrunError as error:
        raise _Broken("net/http: HTTP/1.x transport connection broken: headers too long") from error
    except OSError as error:
        raise _Broken(f"read: {(error.strerror or str(error)).lower()}") from error
    head = parse_head(content)
    if head is None or not content.endswith(b"\r\n\r\n"):
        line = content.partition(b"\n")[0].strip().decode(errors="replace")[:200]
        words = f'malformed HTTP response "{line}"'
        raise _Broken(f"net/http: HTTP/1.x transport connection broken: {words}")
    return head


async def _body(head: Head, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    if any("chunked" in value.lower() for value in head.all("transfer-encoding")):
        async for piece in _chunks(reader):
            yield piece
        return
    length = next((int(value) for value in head.all("content-length") if value.isdigit()), None)
    left = length
    while left is None or left > 0:
        piece = await reader.read(_PIECE if left is None else min(_PIECE, left))
        if not piece:
            if left:
                raise _Broken("unexpected EOF")
            return
        left = None if left is None else left - len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    try:
        while True:
            line = (await reader.readuntil(b"\n")).partition(b";")[0].strip()
            left = int(line, 16)
            if left == 0:
                return
            while left:
                piece = await reader.read(min(_PIECE, left))
                if not piece:
                    raise _Broken("unexpected EOF")
                left -= len(piece)
                yield piece
            await reader.readexactly(2)
    except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise _Broken("malformed chunked encoding") from error


async def _relay(line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until one side has left."""

    async def up() -> None:
        with suppress(OSError):
            while content := await line.read():
                writer.write(content)
                await writer.drain()

    async def down() -> None:
        with suppress(OSError):
            while content := await reader.read(_PIECE):
                await line.write(content)

    async with asyncio.TaskGroup() as tasks:
        both = {tasks.create_task(up()), tasks.create_task(down())}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
