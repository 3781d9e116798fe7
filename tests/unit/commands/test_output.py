"""What verbs write, and whose it is."""

import os
from pathlib import Path

import pytest

from podwire.commands import output

SOMEBODY = 12345


def test_what_root_writes_into_somebodys_folder_is_somebodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Path, int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append((path, uid, gid)))
    file = tmp_path / "web-svc.pcapng"
    file.touch()
    output.give_to_its_folder(file)
    owner = tmp_path.stat()
    assert given == [(file, owner.st_uid, owner.st_gid)]
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    output.give_to_its_folder(file)
    assert len(given) == 1


def test_devices_keep_their_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *words: given.append(words))
    output.give_to_its_folder(Path("/dev/null"))
    assert not given
