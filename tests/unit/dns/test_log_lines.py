"""Lines of the log: together, in order, and without waiting for who reads them."""

import asyncio
import io
import logging
import os
from collections.abc import Callable, Iterator

import pytest

from podwire.dns.serving import log_lines
from podwire.dns.serving.log_lines import LogLines


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("podwire.tests.log_lines")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()


async def _until(is_true: Callable[[], bool]) -> None:
    while True:
        if is_true():
            return
        await asyncio.sleep(0.001)


def test_without_a_loop_a_line_is_there_at_once(log: logging.Logger) -> None:
    stream = io.StringIO()
    log.addHandler(LogLines(stream))
    log.info("one %s", "line")
    assert stream.getvalue() == "one line\n"


async def test_lines_of_a_moment_are_written_together(log: logging.Logger) -> None:
    stream = _Counting()
    log.addHandler(LogLines(stream))
    for number in range(1000):
        log.info("%d", number)
    assert not stream.getvalue()
    await _until(lambda: bool(stream.getvalue()))
    assert stream.getvalue() == "".join(f"{number}\n" for number in range(1000))
    assert stream.writes == 1
    log.info("more")
    await _until(lambda: stream.getvalue().endswith("more\n"))


async def test_nobody_waits_for_a_slow_reader(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "MOST_WAITING", 20_000)
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    handler = LogLines(stream)
    log.addHandler(handler)
    lines = 10_000
    # Twice what fits into a pipe: the thread waits for the reader, this loop does not.
    for number in range(lines):
        log.info("%013d", number)
    await asyncio.sleep(0.05)
    for number in range(lines, 4 * lines):
        log.info("%013d", number)
    await asyncio.sleep(0.05)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(asyncio.to_thread(_all_of, reader))
        await _until(lambda: not handler.is_waiting)
        await asyncio.to_thread(stream.close)
    found = reading.result().splitlines()
    assert found[0] == f"{0:013d}"
    assert len(found) == 3 * lines + 1
    assert found[-1] == f"[WARNING] {lines} lines are left out: nobody reads them"


async def test_a_reader_that_went_away_is_no_error(log: logging.Logger) -> None:
    stream = io.StringIO()
    stream.close()
    handler = LogLines(stream)
    log.addHandler(handler)
    log.info("for nobody")
    await _until(lambda: not handler.is_waiting)


def _all_of(descriptor: int) -> str:
    with os.fdopen(descriptor) as file:
        return file.read()


class _Counting(io.StringIO):
    writes = 0

    def write(self, text: str, /) -> int:
        self.writes += 1
        return super().write(text)


def test_the_end_does_not_wait_for_ever(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "PATIENCE", 0.01)
    handler = LogLines(io.StringIO())
    log.addHandler(handler)
    with handler._writing:  # pyright: ignore[reportPrivateUsage]
        log.info("stuck")
    assert handler.is_waiting
