"""What is concluded from what the iptables programs say: a lock that is held is no missing match."""

from pathlib import Path

import pytest

from podwire.proxy.iptables.programs import CommandFailed, Programs

# Refuses scripts that have one of the words; all others it obeys.
PROGRAM = """#!/bin/sh
case $(cat) in
*{}*) echo "{}" >&2; exit 4 ;;
esac
"""


@pytest.mark.parametrize(
    ("refused", "words", "knows"),
    [
        ("nothing of the kind", "", True),
        ("sctp", "Extension sctp revision 0 not supported, missing kernel module?", False),
        ("filter", "Another app is currently holding the xtables lock.", None),
        ("filter", "unable to initialize table 'filter'", None),
    ],
)
async def test_sctp_is_unknown_as_long_as_the_table_cannot_be_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
    words: str,
    knows: bool | None,  # noqa: FBT001
) -> None:
    program = tmp_path / "iptables-old-restore"
    program.write_text(PROGRAM.format(f'"{refused}"', words))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    asked = Programs("iptables-old", "iptables v1.8.9 (nf_tables)").knows_sctp()
    if knows is None:
        with pytest.raises(CommandFailed, match=r"lock|initialize"):
            await asked
    else:
        assert await asked is knows


async def test_sctp_is_unknown_where_the_program_cannot_be_started() -> None:
    with pytest.raises(CommandFailed, match="No such file"):
        await Programs("iptables-gone", "").knows_sctp()
