"""A folder of manifests: what is applied when, and what one mistake keeps from being applied."""

import asyncio
import logging
from pathlib import Path
from typing import cast

import pytest

from podwire.emulator.compose import manifests
from podwire.emulator.compose.manifests import (
    Manifests,
    Outcome,
    Problem,
    due_files,
    signatures,
)
from podwire.kube.config import Access
from podwire.kube.events import EventRecorder
from podwire.kube.manifests import Manifest
from podwire.kube.objects import ObjectReference

A, B, C = Path("a.yaml"), Path("b.yaml"), Path("c.yaml")
OLD, NEW = (1, 1, 1), (2, 1, 1)
YOURS, LAST = Path("yours/a.yaml"), Path("last/a.yaml")
FOLDERS = {A: OLD, B: OLD, YOURS: OLD, LAST: OLD}


@pytest.mark.parametrize(
    ("before", "now", "failed", "again", "due"),
    [
        ({}, {A: OLD, B: OLD}, [], False, [A, B]),
        ({A: OLD, B: OLD}, {A: OLD, B: OLD}, [], True, []),
        ({A: OLD, B: OLD}, {A: OLD, B: NEW}, [], True, [B]),
        ({A: OLD, B: OLD}, {A: OLD}, [], False, []),
        # What failed is tried again when something changes, for that may be what it lacked.
        ({A: OLD, B: OLD}, {A: OLD, B: OLD}, ["a.yaml"], False, []),
        ({A: OLD, B: OLD, C: OLD}, {A: OLD, B: NEW, C: OLD}, ["a.yaml"], False, [A, B]),
        # And when its time has come.
        ({A: OLD, B: OLD, C: OLD}, {A: OLD, B: OLD, C: OLD}, ["a.yaml"], True, [A]),
        ({A: OLD, B: OLD}, {B: OLD}, ["a.yaml"], True, []),
        # Later folders have the last word on what an earlier one says anew, or late.
        (FOLDERS, {**FOLDERS, B: NEW}, [], False, [B, YOURS, LAST]),
        (FOLDERS, FOLDERS, ["a.yaml"], True, [A, YOURS, LAST]),
        (FOLDERS, {**FOLDERS, YOURS: NEW}, [], False, [YOURS, LAST]),
        (FOLDERS, {**FOLDERS, LAST: NEW}, [], False, [LAST]),
        (FOLDERS, FOLDERS, [], True, []),
    ],
)
def test_which_files_are_due(
    before: dict[Path, tuple[int, int, int]],
    now: dict[Path, tuple[int, int, int]],
    failed: list[str],
    again: bool,  # noqa: FBT001
    due: list[Path],
) -> None:
    assert due_files(before, now, failed, again=again) == due


def test_manifests_are_those_with_their_suffixes_in_order(tmp_path: Path) -> None:
    for name in ("b.yml", "a.json", "c.yaml", "README.md", ".c.yaml.swp", ".hidden.yaml"):
        (tmp_path / name).write_text("x")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    assert [path.name for path in signatures([tmp_path])] == ["a.json", "b.yml", "c.yaml"]
    assert signatures([tmp_path / "no-folder"]) == {}


def test_the_users_manifests_come_after_ours_and_what_is_in_both_counts_once(
    tmp_path: Path,
) -> None:
    ours, yours, again = tmp_path / "ours", tmp_path / "yours", tmp_path / "again"
    for folder in (ours, yours):
        folder.mkdir()
        (folder / "web.yaml").write_text(folder.name)
    again.symlink_to(ours)
    (yours / "a.yaml").write_text("a")
    assert list(signatures([ours, yours])) == [
        ours / "web.yaml",
        yours / "a.yaml",
        yours / "web.yaml",
    ]
    assert list(signatures([ours, again])) == [ours / "web.yaml"]


async def test_an_empty_folder_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = Events()
    keeper = Manifests([tmp_path], Access("https://127.0.0.1:1"), cast(EventRecorder, events))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(keeper.run())
        await keeper.applied.wait()
        running.cancel()
    assert f"no manifests in {tmp_path}: a relative PODWIRE_MANIFESTS starts" in caplog.text


class Events:
    """A recorder whose events a test reads."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, str, str]] = []

    def note(self, about: ObjectReference, type_: str, reason: str, message: str) -> None:
        self.noted.append((f"{about.kind}/{about.name}", type_, reason, message))


def config_map(name: str, **fields: str) -> str:
    lines = [f"  {key}: {value}" for key, value in fields.items()]
    return "\n".join([
        "apiVersion: v1", "kind: ConfigMap", "metadata:", f"  name: {name}", *lines,
    ])  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "POLL", 0.01)
    monkeypatch.setattr(manifests, "FIRST_RETRY", 3600.0)


class Applied:
    """What stands in for the API: kinds that it has, and what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        real = manifests.applied

        def applied(files: list[Path], access: Access) -> Outcome:
            outcome = real(files, access)
            self.calls.append([file.name for file in files])
            self._loop.call_soon_threadsafe(self.news.set)
            return outcome

        def all_of(objects: list[Manifest], _access: Access) -> Outcome:
            return Outcome(len(objects), ())

        monkeypatch.setattr(manifests, "applied", applied)
        monkeypatch.setattr(manifests, "applied_objects", all_of)

    async def once_more(self) -> list[str]:
        await self.news.wait()
        self.news.clear()
        return self.calls[-1]


async def test_a_broken_file_is_told_once_and_the_rest_goes_on(
    folder: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (folder / "1-Good.yaml").write_text(config_map("good"))
    (folder / "2_Bad.yaml").write_text("kind: [\n")
    api, events = Applied(monkeypatch), Events()
    keeper = Manifests([folder], Access("https://127.0.0.1:1"), cast(EventRecorder, events))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(keeper.run())
        with caplog.at_level(logging.INFO):
            assert await api.once_more() == ["1-Good.yaml", "2_Bad.yaml"]
            await keeper.applied.wait()
            (folder / "3.yaml").write_text(config_map("other"))
            assert await api.once_more() == ["2_Bad.yaml", "3.yaml"]
            (folder / "2_Bad.yaml").write_text(config_map("mended"))
            assert await api.once_more() == ["2_Bad.yaml"]
        running.cancel()
    assert len(events.noted) == 1
    about, type_, reason, message = events.noted[0]
    assert (about, type_, reason) == ("Manifest/2-bad.yaml", "Warning", "NotApplied")
    assert message.startswith(f"{folder}/2_Bad.yaml:2:1: broken YAML")
    assert "1 object of" in caplog.text


async def test_what_the_api_refuses_is_tried_until_it_does_not_and_told_when_the_words_change(
    folder: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(manifests, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(manifests, "LAST_RETRY", 0.02)
    file = folder / "shop.yaml"
    file.write_text(config_map("shop"))
    (folder / "well.yaml").write_text(config_map("well"))
    refused = [Problem(str(file), "no namespace shop")]
    answers = [refused, refused, refused, [Problem(str(file), "shop is ending")], []]
    asked: list[list[str]] = []
    over, changed = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def applied(files: list[Path], _access: Access) -> Outcome:
        asked.append([one.name for one in files])
        problems = answers.pop(0)
        if not answers:
            answers.append([])
            loop.call_soon_threadsafe((changed if over.is_set() else over).set)
        return Outcome(0 if problems else 1, problems)

    monkeypatch.setattr(manifests, "applied", applied)
    events = Events()
    keeper = Manifests([folder], Access("https://127.0.0.1:1"), cast(EventRecorder, events))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(keeper.run())
        await over.wait()
        (folder / "well.yaml").write_text(config_map("well", more="x"))
        await changed.wait()
        running.cancel()
    assert asked == [["shop.yaml", "well.yaml"], *[["shop.yaml"]] * 4, ["well.yaml"]]
    assert [one[3] for one in events.noted] == ["no namespace shop", "shop is ending"]
    assert caplog.text.count("not applied") == 2
