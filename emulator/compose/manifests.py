"""Folders of manifests, applied at the start and each file again when it changes or has failed.

The files of later folders are applied again with it: theirs is the last word.

What is wrong in one file, or in one object, keeps nothing else from being applied. What is taken
out of a file stays in the cluster, as with `kubectl apply`.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire.errors import PodwireError, UsageError
from podwire.kube.apply import apply
from podwire.kube.config import Access
from podwire.kube.events import EventRecorder
from podwire.kube.manifests import Manifest, from_paths
from podwire.kube.objects import ObjectReference
from podwire.kube.plain import Connection

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between looks: mounts of Docker Desktop tell of no changes."""

FIRST_RETRY, LAST_RETRY = 1.0, 30.0
"""Seconds until what was refused is tried again; they double each time, and start anew when a file
changes."""

SUFFIXES = (".yaml", ".yml", ".json")

_WHENCE = "a relative PODWIRE_MANIFESTS starts from the folder of Podwire's docker-compose.yml"

Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file, or an object in it, was not applied; *message* begins with its place."""

    file: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of applying some files."""

    applied: int
    problems: Sequence[Problem]


class Manifests:
    """Keeps the cluster at what the files of *folders* say; the last ones have the last word."""

    def __init__(self, folders: Sequence[Path], access: Access, recorder: EventRecorder) -> None:
        self._folders = folders
        self._access = access
        self._recorder = recorder
        self._seen: Mapping[Path, Signature] = {}
        self._problems: Sequence[Problem] = ()
        self.applied = asyncio.Event()

    async def run(self) -> None:
        """Apply all files, then those that change or have failed, and those of later folders."""
        clock = asyncio.get_running_loop().time
        delay = again = 0.0
        while True:
            present = await asyncio.to_thread(signatures, self._folders)
            self._problems = [one for one in self._problems if Path(one.file) in present]
            failed = [problem.file for problem in self._problems]
            due = due_files(self._seen, present, failed, again=clock() >= again)
            before, self._seen = self._seen, present
            if not self.applied.is_set():
                await asyncio.to_thread(self._tell_of_empty_ones)
            if due:
                delay = FIRST_RETRY if before != present else min(delay * 2, LAST_RETRY)
                self._tell(await asyncio.to_thread(applied, due, self._access))
                again = clock() + delay
            self.applied.set()
            await asyncio.sleep(POLL)

    def _tell_of_empty_ones(self) -> None:
        for folder in self._folders:
            if not any(_files(folder)):
                # The engine makes an empty folder where it finds none.
                log.warning("no manifests in %s: %s", folder, _WHENCE)

    def _tell(self, outcome: Outcome) -> None:
        before, self._problems = self._problems, outcome.problems
        for problem in outcome.problems:
            if problem not in before:
                text = "; ".join(line.strip() for line in problem.message.splitlines())
                log.warning("not applied: %s", text)
                self._recorder.note(_reference(problem.file), "Warning", "NotApplied", text)
        if outcome.applied:
            what = "object" if outcome.applied == 1 else "objects"
            log.info("%d %s of the manifests applied", outcome.applied, what)


def signatures(folders: Iterable[Path]) -> dict[Path, Signature]:
    """Return what tells versions of the manifests apart, folder by folder, sorted by name.

    A file that is in two folders, for they are one, counts once.
    """
    found: dict[Path, Signature] = {}
    for path in (path for folder in folders for path in _files(folder)):
        try:
            stat = path.stat()
        except OSError:
            continue  # gone meanwhile, or a link to nothing
        signature = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if signature not in found.values():
            found[path] = signature
    return found


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix in SUFFIXES and not path.name.startswith("."):
                yield path


def due_files(
    before: Mapping[Path, Signature],
    now: Mapping[Path, Signature],
    failed: Iterable[str],
    *,
    again: bool,
) -> list[Path]:
    """Return the files to apply: those that changed and, with them or *again*, those that failed.

    What a file lacked, a namespace say, may stand in the one that changed. All files of later
    folders follow: they may say of the same objects something else.
    """
    changed = {path for path, signature in now.items() if before.get(path) != signature}
    retried = set(failed) if changed or again else set[str]()
    due: list[Path] = []
    for path in now:
        follows = bool(due) and path.parent != due[0].parent
        if follows or path in changed or str(path) in retried:
            due.append(path)
    return due


def applied(files: Iterable[Path], access: Access) -> Outcome:
    """Apply what *files* hold, in order, Namespaces first; blocks."""
    problems: list[Problem] = []
    manifests: list[Manifest] = []
    for file in files:
        try:
            manifests += from_paths([str(file)])
        except UsageError as error:
            problems.append(Problem(str(file), str(error)))
    outcome = applied_objects(sorted(manifests, key=lambda one: one.kind != "Namespace"), access)
    return Outcome(outcome.applied, [*problems, *outcome.problems])


def applied_objects(manifests: Iterable[Manifest], access: Access) -> Outcome:
    """Apply *manifests*, in order; blocks."""
    done, problems = 0, list[Problem]()
    with Connection(access) as connection:
        for manifest in manifests:
            try:
                done += sum(one.outcome != "unchanged" for one in apply(connection, [manifest]))
            except PodwireError as error:
                problems.append(Problem(manifest.place.source, str(error)))
    return Outcome(done, problems)


def _reference(file: str) -> ObjectReference:
    # An event is named after what it is about: only what a name may hold.
    name = re.sub(r"[^a-z0-9.-]+", "-", Path(file).name.lower()).strip("-.")
    return ObjectReference(kind="Manifest", namespace="default", name=name)
