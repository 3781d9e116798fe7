"""errors: lines of their own, or one for many of a kind."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from podwire.dns.corefile.corefile import CorefileError
from tests.unit.dns.corefiles import Bench, ask, block, plugin_of

BROKEN = ("template IN A . {", 'answer "{{ .Name }} 60 IN A {{ index .Match 9 }}"', "}")
LINE = "plugin/errors: 2 a.test. A: plugin/template: error calling index: index out of range: 9"


async def logged(
    caplog: pytest.LogCaptureFixture, *lines: str, times: int = 1
) -> list[tuple[str, str]]:
    """Return level and text of what is in the log after so many failures, and the end."""
    caplog.set_level(logging.DEBUG, "podwire.dns")
    configuration = Bench().configure(block(*lines, *BROKEN))
    async with plugin_of(configuration, "errors").run():
        for _ in range(times):
            await ask(configuration, "A.test.")
    return [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize(
    ("lines", "times", "expected"),
    [
        (["errors"], 2, [("ERROR", LINE)] * 2),
        (["errors stdout"], 1, [("ERROR", LINE)]),
        (["errors {", "stacktrace", "}"], 1, [("ERROR", LINE)]),
        (
            ["errors {", 'consolidate 5m "index out of .*"', "}"],
            3,
            [("ERROR", "plugin/errors: 3 errors like 'index out of .*' occurred in last 5m0s")],
        ),
        (
            ["errors {", "consolidate 30s index warning", "}"],
            2,
            [("WARNING", "plugin/errors: 2 errors like 'index' occurred in last 30s")],
        ),
        (
            ["errors {", "consolidate 30s index info show_first", "}"],
            2,
            [
                ("INFO", LINE),
                ("INFO", "plugin/errors: 2 errors like 'index' occurred in last 30s"),
            ],
        ),
        (["errors {", "consolidate 30s index show_first", "}"], 1, [("ERROR", LINE)]),
        (["errors {", "consolidate 30s timeout$", "}"], 1, [("ERROR", LINE)]),
        (
            ["errors {", "consolidate 30s ^plugin debug", "consolidate 30s index", "}"],
            2,
            [("DEBUG", "plugin/errors: 2 errors like '^plugin' occurred in last 30s")],
        ),
    ],
)
async def test_lines(
    caplog: pytest.LogCaptureFixture,
    lines: list[str],
    times: int,
    expected: list[tuple[str, str]],
) -> None:
    assert await logged(caplog, *lines, times=times) == expected


async def test_what_was_counted_is_told_when_the_time_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    configuration = Bench().configure(block("errors {", "consolidate 1ms index", "}", *BROKEN))
    for _ in range(2):
        await ask(configuration, "a.test.")
        await _until(lambda: bool(caplog.records))
        (record,) = caplog.records
        assert record.getMessage().startswith("plugin/errors: 1 errors like 'index'")
        caplog.clear()


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        (["errors file.log"], 2, "invalid log file: file.log; known is: stdout"),
        (["errors a b"], 2, "Wrong argument count"),
        (["errors {", "consolidate 5m", "}"], 3, "Wrong argument count"),
        (["errors {", "consolidate soon x", "}"], 3, 'invalid duration "soon"'),
        (["errors {", "consolidate 5m (", "}"], 3, "error parsing regexp"),
        (["errors {", "consolidate 5m x loud", "}"], 3, "unknown option in consolidate: loud"),
        (["errors {", "consolidate 5m x info error", "}"], 3, "multiple log levels specified"),
        (["errors {", "consolidate 5m x show_first info", "}"], 3, "log level must come before"),
        (["errors {", "colour red", "}"], 3, "unknown property 'colour'; known are: stacktrace"),
        (["errors", "errors"], 3, "errors: this plugin can only be used once per Server Block"),
    ],
)
def test_what_is_refused(lines: list[str], line: int, says: str) -> None:
    with pytest.raises(CorefileError) as caught:
        Bench().configure(block(*lines))
    assert f"Corefile:{line} - Error during parsing: {says}" in str(caught.value)


async def _until(is_true: Callable[[], bool]) -> None:
    while True:
        if is_true():
            return
        await asyncio.sleep(0.001)
