"""A Ctrl-C whose exception Python drops is found again."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from podwire.commands import interruptions


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in interruptions.NUMBERS}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    with suppress(KeyboardInterrupt):
        interruptions.check()  # forgets what came
    for number, handler in before.items():
        signal.signal(number, handler)


class Callback:
    """Python drops what is raised here, as it does in callbacks of weak references."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_an_interruption_that_python_drops_is_raised_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    interruptions.listen()
    interruptions.check()
    callback = Callback()
    del callback
    assert capsys.readouterr().err == ""  # no traceback of what nobody could catch
    with pytest.raises(KeyboardInterrupt) as caught:
        interruptions.check()
    assert caught.value.args == (signal.SIGTERM,)


def test_nothing_is_heard_after_ignore() -> None:
    interruptions.listen()
    interruptions.ignore()
    signal.raise_signal(signal.SIGINT)
    interruptions.check()


def test_a_process_that_does_not_listen_keeps_its_handlers() -> None:
    before = signal.getsignal(signal.SIGINT)
    interruptions.ignore()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="in the background"),
        pytest.param(signal.SIGHUP, id="after nohup"),
    ],
)
def test_what_was_started_deaf_to_the_terminal_stays_so(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    interruptions.listen()
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("before", "while_loading"), [("default_int_handler", "SIG_DFL"), ("SIG_IGN", "SIG_IGN")]
)
def test_the_program_loads_without_pythons_own_handler(before: str, while_loading: str) -> None:
    code = (
        f"import signal; signal.signal(signal.SIGINT, signal.{before}); import podwire.__main__;"
        f" assert signal.getsignal(signal.SIGINT) is signal.{while_loading}"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
