"""Sockets that cross from one process to another; namespaces: tests/system/test_lending.py."""

import asyncio
import errno
import json
import socket
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from podwire import lending, linux
from podwire.lender import Lender, open_here
from podwire.lending import LentDevice, Loan, Wanted

INET, STREAM = socket.AF_INET, socket.SOCK_STREAM


@asynccontextmanager
async def lender(
    path: Path, open_socket: Callable[[Wanted], Loan] = open_here
) -> AsyncGenerator[Path]:
    serving = asyncio.Event()

    async def serve() -> None:
        serving.set()
        await Lender(open_socket).serve(path)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(serve())
        await serving.wait()
        yield path  # it listens: nothing is awaited before that
        task.cancel()


async def borrowed(path: Path, mac: str = "") -> Loan:
    return await asyncio.to_thread(
        lending.borrow, path, INET, STREAM, mac=mac, address="10.244.1.128" if mac else ""
    )


async def test_a_borrowed_socket_is_the_one_that_the_lender_opened(tmp_path: Path) -> None:
    async with lender(tmp_path / "lender") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with (await borrowed(path)).socket as sock:
            assert (sock.family, sock.type) == (INET, STREAM)
            assert not sock.get_inheritable()
            sock.bind(("127.0.0.1", 0))
        with await asyncio.to_thread(linux.socket_in, path, INET, socket.SOCK_DGRAM) as sock:
            assert sock.type == socket.SOCK_DGRAM
    assert not path.exists()


async def test_what_the_lender_says_of_a_packet_socket_arrives(tmp_path: Path) -> None:
    asked: list[Wanted] = []
    many = tuple(LentDevice(n, f"veth{n}", 1) for n in range(1, 20000))

    def open_socket(wanted: Wanted) -> Loan:
        asked.append(wanted)
        return Loan(socket.socket(INET, STREAM), many, mirrored=True)

    async with lender(tmp_path / "lender", open_socket) as path:
        loan = await borrowed(path, "02:42:0a:f4:01:80")
        with loan.socket:
            assert (loan.devices, loan.mirrored) == (many, True)
    assert asked == [Wanted(INET, STREAM, 0, "02:42:0a:f4:01:80", "10.244.1.128")]


@pytest.mark.parametrize(
    ("raised", "number", "text"),
    [
        (PermissionError(errno.EPERM, "Operation not permitted"), errno.EPERM, "not permitted"),
        (OSError(errno.ENODEV, "no veth leads to it"), errno.ENODEV, "no veth leads to it"),
        (OSError("without a number"), errno.EIO, "without a number"),
        (ValueError("that makes no sense"), errno.EINVAL, "that makes no sense"),
    ],
)
async def test_what_fails_at_the_lender_fails_at_the_borrower(
    tmp_path: Path, raised: Exception, number: int, text: str
) -> None:
    def refuse(_: Wanted) -> Loan:
        raise raised

    async with lender(tmp_path / "lender", refuse) as path:
        with pytest.raises(OSError, match=text) as caught:
            await borrowed(path)
    assert caught.value.errno == number


@pytest.mark.parametrize(
    "request_line",
    [b"nonsense\n", b"[]\n", b'{"family": 2}\n', b'{"family": "x", "kind": 1}\n', b"x" * 5000],
)
async def test_a_request_that_makes_no_sense_is_refused_and_the_next_one_served(
    tmp_path: Path, request_line: bytes
) -> None:
    async with lender(tmp_path / "lender") as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request_line)
        said = json.loads(await reader.readline())
        assert said["errno"] == errno.EINVAL
        assert said["text"].startswith("a request for a socket is one line of JSON")
        writer.close()
        (await borrowed(path)).socket.close()


async def test_a_family_that_does_not_exist(tmp_path: Path) -> None:
    async with lender(tmp_path / "lender") as path:
        with pytest.raises(OSError, match="not supported") as caught:
            await asyncio.to_thread(lending.borrow, path, 99, STREAM)
        assert caught.value.errno == errno.EAFNOSUPPORT


async def test_a_borrower_that_leaves_does_no_harm(tmp_path: Path) -> None:
    async with lender(tmp_path / "lender") as path:
        for begun in (b"", b'{"family"'):
            with socket.socket(socket.AF_UNIX) as leaving:
                leaving.connect(str(path))
                leaving.send(begun) if begun else None
        (await borrowed(path)).socket.close()


async def test_what_an_earlier_lender_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lender"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(ConnectionRefusedError, match=r"nobody lends sockets at .*lender"):
        await borrowed(path)
    async with lender(path):
        (await borrowed(path)).socket.close()


async def test_no_lender(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="its program is not running"):
        await borrowed(tmp_path / "none")


async def test_a_lender_that_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "silent"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(TimeoutError, match=r"did not answer within 0.05 s"):
            await asyncio.to_thread(lending.borrow, path, INET, STREAM, timeout=0.05)


@pytest.mark.parametrize("answer", [b"", b"half", b"HTTP/1.1 400 Bad Request\n", b"{}\n"])
async def test_something_else_that_listens(tmp_path: Path, answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    path = tmp_path / "other"
    async with await asyncio.start_unix_server(speak, path):
        with pytest.raises(OSError, match=r"other|Protocol error"):
            await borrowed(path)


async def test_no_descriptor_is_lost_on_the_way(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with lender(tmp_path / "lender") as path:
        (await borrowed(path)).socket.close()
        before = count()
        for _ in range(20):
            (await borrowed(path)).socket.close()
        assert count() == before


def test_a_place_as_text() -> None:
    pod = lending.Place("/run/podwire/captures.sock", "02:42:0a:f4:01:80", "10.244.1.128")
    assert str(pod).startswith("lender:/run/podwire/captures.sock?mac=02:42:0a:f4:01:80")
    assert lending.Place.parse(str(pod)) == pod


@pytest.mark.parametrize("path", ["/run/netns/node-1", "/run/podwire/nodes/node-a.sock"])
def test_a_path_is_a_place_too(path: str) -> None:
    assert str(lending.Place.parse(path)) == path
    assert lending.Place.parse(path) == lending.Place(path)
