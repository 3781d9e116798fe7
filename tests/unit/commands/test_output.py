"""What verbs write, and whose it is."""

import os
from pathlib import Path

import pytest

from podwire.commands import output

ROOT, SOMEBODY = 0, 12345

Given = list[tuple[Path, int, int]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Give what was handed over, of a process that may do that."""
    found: Given = []

    def chown(path: Path, user: int, group: int) -> None:
        found.append((path, user, group))

    monkeypatch.setattr(os, "chown", chown)
    return found


def be(user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)


def test_what_root_writes_into_somebodys_folder_is_somebodys(
    tmp_path: Path, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "web-svc.pcapng"
    file.touch()
    be(SOMEBODY, monkeypatch)
    output.give_to_its_folder(file)
    assert not given
    be(ROOT, monkeypatch)
    output.give_to_its_folder(file)
    owner = tmp_path.stat()
    assert given == [(file, owner.st_uid, owner.st_gid)]


def test_devices_keep_their_owner(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    be(ROOT, monkeypatch)
    output.give_to_its_folder(Path("/dev/null"))
    assert not given
