"""Where nft is looked for."""

from pathlib import Path

import pytest

from podwire.cni.programs import nft_program
from tests.needs import need


@pytest.mark.parametrize("environ", [{}, {"PATH": ""}])
def test_nothing_of_the_working_directory_is_nft(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("nft")
    trap = tmp_path / "nft"
    trap.write_text("#!/bin/sh\n")
    trap.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert Path(nft_program(environ)).is_absolute()
