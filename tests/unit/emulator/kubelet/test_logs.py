import asyncio
import os
from itertools import count
from pathlib import Path

import pytest

from podwire.emulator.kubelet.logs import LONGEST_LINE, ContainerLog
from podwire.emulator.kubelet.logview import entries


class Writer:
    """What a container holds: the ends of its standard streams."""

    def __init__(self, log: ContainerLog) -> None:
        self.stdout, self.stderr = log.begin()

    def write(self, text: str) -> None:
        os.write(self.stdout, text.encode())

    def end(self) -> None:
        os.close(self.stdout)
        os.close(self.stderr)


def new_log(tmp_path: Path, *, largest: int = 1 << 20) -> ContainerLog:
    numbers = count()
    return ContainerLog(tmp_path / "logs", lambda: f"T{next(numbers)}", largest=largest)


def text_of(log: ContainerLog, *, previous: bool = False) -> str:
    return b"".join(path.read_bytes() for path in log.paths(previous=previous)).decode()


async def written(log: ContainerLog, *pieces: str) -> None:
    writer = Writer(log)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    writer.end()
    await drained(log)


async def drained(log: ContainerLog) -> None:
    async with asyncio.timeout(10):
        await log.drained()


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        (["one\n"], ["F one"]),
        (["one\ntwo\n"], ["F one", "F two"]),
        (["on", "e\ntw", "o\n"], ["F one", "F two"]),
        (["\n\n"], ["F ", "F "]),
        (["no end"], ["F no end"]),
        (["x" * (LONGEST_LINE + 3) + "\n"], ["P " + "x" * LONGEST_LINE, "F xxx"]),
        (["x" * LONGEST_LINE + "\n"], ["F " + "x" * LONGEST_LINE]),
        (["x" * (LONGEST_LINE + 1)], ["P " + "x" * LONGEST_LINE, "F x"]),
    ],
    ids=[
        "nothing",
        "line",
        "two",
        "pieces",
        "empty",
        "unended",
        "long",
        "longest",
        "long, unended",
    ],
)
async def test_lines(tmp_path: Path, pieces: list[str], lines: list[str]) -> None:
    log = new_log(tmp_path)
    await written(log, *pieces)
    assert text_of(log) == "".join(f"T{n} stdout {line}\n" for n, line in enumerate(lines))


async def test_both_streams_are_in_one_log(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    stdout, stderr = log.begin()
    os.write(stderr, b"oh\n")
    os.close(stderr)
    os.write(stdout, b"ah\n")
    os.close(stdout)
    await drained(log)
    assert sorted(line.partition(" ")[2] for line in text_of(log).splitlines()) == [
        "stderr F oh",
        "stdout F ah",
    ]


async def test_lines_that_bring_their_times(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    stdout, stderr = log.begin(stamped=True)
    os.close(stderr)
    heard: list[tuple[str, bytes]] = []
    log.listen(lambda stream, chunk: heard.append((stream, chunk)))
    for piece in (b"2026 F one\n2027 ", b"P long\n2028 F  er\n", b"2029 F lost"):
        os.write(stdout, piece)
        await asyncio.sleep(0.01)
    os.close(stdout)
    await drained(log)
    assert text_of(log) == "2026 stdout F one\n2027 stdout P long\n2028 stdout F  er\n"
    assert heard[-1] == ("", b"")
    assert {stream for stream, _ in heard[:-1]} == {"stdout"}
    assert b"".join(chunk for _, chunk in heard) == b"one\nlong er\n"


async def test_the_previous_run_stays_and_the_one_before_goes(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    assert log.paths(previous=False) == log.paths(previous=True) == []
    for word in ("first", "second", "third"):
        await written(log, f"{word}\n")
    assert "third" in text_of(log)
    assert "second" in text_of(log, previous=True)
    assert len(list((tmp_path / "logs").iterdir())) == 2


async def test_last_words_of_a_run_stay_in_its_own_log(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    first = Writer(log)
    first.write("last words\n")
    second = Writer(log)
    second.write("first words\n")
    first.end()
    second.end()
    await drained(log)
    assert "last words" in text_of(log, previous=True)
    assert "last words" not in text_of(log)
    # The first run's end, heard of late, is not the second's: a follower comes to its end.
    async with asyncio.timeout(10):
        assert b"first words" in b"".join([chunk async for chunk in log.follow()])


async def test_a_log_is_rotated_and_one_old_file_is_kept(tmp_path: Path) -> None:
    log = new_log(tmp_path, largest=400)
    await written(log, *(f"line {n:03}\n" for n in range(100)))
    numbers = [entry.text.decode() for entry in entries(text_of(log).encode())]
    assert numbers == [f"line {n:03}" for n in range(100 - len(numbers), 100)]
    sizes = {path.name: path.stat().st_size for path in log.paths(previous=False)}
    assert set(sizes) == {"0.log.1", "0.log"}
    assert 400 <= sizes["0.log.1"] < 430


class Seen(list[str]):
    """The lines that a follower saw."""

    def __init__(self) -> None:
        super().__init__()
        self.more = asyncio.Event()

    async def until(self, line: str) -> None:
        while not self or self[-1] != line:
            self.more.clear()
            await self.more.wait()


async def follow_all(log: ContainerLog, seen: Seen) -> None:
    rest = b""
    async for chunk in log.follow():
        *lines, rest = (rest + chunk).split(b"\n")
        seen.extend(entry.text.decode() for line in lines for entry in entries(line))
        seen.more.set()
    assert rest == b""


async def test_a_follower_sees_what_is_there_what_comes_and_the_end(tmp_path: Path) -> None:
    log, seen = new_log(tmp_path), Seen()
    writer = Writer(log)
    writer.write("before\n")
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow_all(log, seen))
        writer.write("while\n")
        await asyncio.sleep(0.01)
        writer.write("last, without end")
        writer.end()
    assert seen == ["before", "while", "last, without end"]


async def test_a_follower_sees_each_line_once_when_the_file_is_rotated(tmp_path: Path) -> None:
    log, seen = new_log(tmp_path, largest=400), Seen()
    writer = Writer(log)
    wanted = [f"line {n:03}" for n in range(60)]
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow_all(log, seen))
        for line in wanted:
            writer.write(line + "\n")
            await seen.until(line)
        writer.end()
    assert seen == wanted


async def test_a_follower_ends_when_the_container_is_started_again(tmp_path: Path) -> None:
    log, seen = new_log(tmp_path), Seen()
    first = Writer(log)
    first.write("first\n")
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow_all(log, seen))
        await asyncio.sleep(0.01)
        second = Writer(log)
        second.write("second\n")
        first.end()
    second.end()
    assert seen == ["first"]


async def test_closing_ends_followers_and_forgets_what_is_still_written(tmp_path: Path) -> None:
    log, seen = new_log(tmp_path), Seen()
    writer = Writer(log)
    writer.write("one\n")
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow_all(log, seen))
        await asyncio.sleep(0.01)
        log.close()
    with pytest.raises(BrokenPipeError):
        writer.write("two\n")
    writer.end()
    assert seen == ["one"]


async def test_without_any_run_there_is_nothing_to_follow(tmp_path: Path) -> None:
    assert [chunk async for chunk in new_log(tmp_path).follow()] == []


async def test_a_terminal_is_read_until_nobody_has_it_open(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    master, slave = os.openpty()
    log.begin_terminal(master)
    os.write(slave, b"hello\n")
    os.close(slave)
    await drained(log)
    assert text_of(log) == "T0 stdout F hello\r\n"
