from typing import TYPE_CHECKING

import pytest

from podwire.cli import main

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["client", "http://web", "--modes", "telepathy"], "modes: userspace, nftables,"),
        (["client", "http://web", "--timeout", "never"], "--timeout"),
        (["client"], "URL|HOST:PORT"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_switched(
    api: "Api", capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["compare-modes", *words, *api.options]) == 64
    assert said in capfd.readouterr().err
