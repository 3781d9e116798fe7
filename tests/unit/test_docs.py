"""Every verb and option is documented where its user looks."""

import re
from pathlib import Path

import pytest

from podwire.cli import VERBS, main, parser_of

ROOT = Path(__file__).parents[2]


def test_the_page_has_each_verb_and_no_other() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert re.findall(r"^## podwire (\S+)$", page, re.MULTILINE) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: podwire {verb}" in text
    assert verb == "version" or f"podwire {verb}" in text.partition("examples:")[2]
    for action in parser_of(verb)._actions:
        # A flag without a word of help, or a place without one, teaches nothing.
        obvious = {"help", "output", "shell", "what"}
        assert action.help or action.dest in obvious, f"{verb}: {action.dest}"


def test_the_overview_has_each_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb, summary in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(summary)}$", text, re.MULTILINE)


def test_every_exit_status_is_on_the_page() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    found = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert found == ["0", "1", "2", "64", "69", "70", "124", "130"]
