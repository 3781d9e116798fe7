import socket
from pathlib import Path

import pytest

from podwire import unix


def test_the_path_is_there_when_it_can_be_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "door.sock"
    seen = list[bool]()

    class Late(socket.socket):
        def listen(self, backlog: int = 0) -> None:
            seen.append(path.exists())
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Late)
    with unix.listening(path, backlog=1, mode=0o600), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert seen == [False]
        assert path.stat().st_mode & 0o777 == 0o600
        assert [one.name for one in tmp_path.iterdir()] == ["door.sock"]


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    for _ in range(2):  # the first one is closed and its file stays, as after a kill
        with unix.listening(path, backlog=1), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "door.sock").mkdir()
    with pytest.raises(IsADirectoryError):
        unix.listening(tmp_path / "door.sock", backlog=1)
    assert [one.name for one in tmp_path.iterdir()] == ["door.sock"]
