"""Volumes that change all at once."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from podwire.emulator.kubelet.swapped_files import write
from podwire.emulator.kubelet.volume_files import File

NOW = datetime(2026, 11, 20, 23, 5, 9, tzinfo=UTC).timestamp()
OLD = {"a": File(b"1"), "d/b": File(b"2", 0o600)}


def seen(place: Path) -> dict[str, str]:
    """Return what a program finds that opens what it sees listed."""
    found: dict[str, str] = {}
    for entry in place.iterdir():
        if not entry.name.startswith(".."):
            files = [entry] if entry.is_file() else [p for p in entry.rglob("*") if p.is_file()]
            found |= {str(path.relative_to(place)): path.read_text() for path in files}
    return found


def versions(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.is_dir() and not path.is_symlink()]


def test_files_are_links_through_one_link_to_a_stamped_directory(tmp_path: Path) -> None:
    place = tmp_path / "v"
    assert write(place, OLD, NOW)
    assert (place / "a").readlink() == Path("..data/a")
    assert (place / "d").readlink() == Path("..data/d")
    stamped = (place / "..data").readlink()
    assert str(stamped).startswith("..2026_11_20_23_05_09.")
    assert (place / stamped).stat().st_mode & 0o777 == 0o755
    assert (place / "d/b").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [str(stamped), "..data", "a", "d"]
    )


@pytest.mark.parametrize(
    "new",
    [
        {"a": File(b"new")},
        {"a": File(b"1"), "c": File(b"3")},
        {"d/b": File(b"2", 0o600), "d/e": File(b"4")},
        {"d": File(b"a file where a directory was")},
        {"a/x": File(b"and the other way round")},
        {"a": File(b"1", 0o400), "d/b": File(b"2", 0o600)},
        {},
    ],
)
def test_a_volume_holds_exactly_its_files(tmp_path: Path, new: dict[str, File]) -> None:
    place = tmp_path / "v"
    write(place, OLD, NOW)
    before = (place / "..data").readlink()
    assert write(place, new, NOW)
    assert seen(place) == {path: file.content.decode() for path, file in new.items()}
    assert all((place / path).stat().st_mode & 0o777 == new[path].mode for path in new)
    after = (place / "..data").readlink()
    assert after != before
    assert versions(place) == [str(after)]


def test_what_is_the_same_stays_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "v"
    write(place, OLD, NOW)
    before = (place / "..data").readlink()
    assert not write(place, dict(OLD), NOW + 60)
    assert (place / "..data").readlink() == before


def test_who_has_a_file_open_keeps_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "v"
    write(place, OLD, NOW)
    with (place / "a").open() as reader:
        write(place, {"a": File(b"new, and longer")}, NOW)
        assert reader.read() == "1"
    assert seen(place) == {"a": "new, and longer"}


def test_what_an_ended_write_left_is_cleared_away(tmp_path: Path) -> None:
    place = tmp_path / "v"
    write(place, OLD, NOW)
    (place / "..2026_01_01_00_00_00.x").mkdir()
    (place / "..data_tmp").symlink_to("..2026_01_01_00_00_00.x")
    write(place, {"a": File(b"2")}, NOW)
    assert seen(place) == {"a": "2"}
    assert len(versions(place)) == 1


def test_a_write_that_fails_leaves_nothing_but_the_old_files(tmp_path: Path) -> None:
    place = tmp_path / "v"
    write(place, OLD, NOW)
    before = versions(place)
    with pytest.raises(OSError, match="File name too long"):
        write(place, {"a": File(b"2"), "b" * 300: File(b"3")}, NOW)
    assert versions(place) == before
    assert seen(place) == {"a": "1", "d/b": "2"}


def test_a_mount_point_inside_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "v"
    write(place, OLD, NOW)
    (place / "sub").mkdir()
    write(place, {"a": File(b"2"), "sub": File(b"hidden by it")}, NOW)
    assert (place / "sub").is_dir()
    assert (place / "a").read_text() == "2"
