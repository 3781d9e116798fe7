"""Pure: the kinds that one server serves: those built in, and custom resources as they come."""

from collections.abc import Callable, Iterable

from podwire.emulator.apiserver.builtin_kinds import BUILTIN
from podwire.emulator.apiserver.resources import Resource


class Kinds:
    """Finds a kind by its path or name; `revision` grows with each change."""

    def __init__(self, builtin: Iterable[Resource] = BUILTIN) -> None:
        self._builtin = tuple(builtin)
        self._custom: tuple[Resource, ...] = ()
        self.revision = 0
        self._told: list[Callable[[], None]] = []
        self._index(self._builtin)

    def replace_custom(self, custom: Iterable[Resource]) -> None:
        """Serve *custom* besides the built-in kinds, and no other custom resource any more.

        An entry that says the same as before stays the same object. What is built in cannot be
        replaced.
        """
        builtin = {(e.group, e.version, e.plural) for e in self._builtin}
        wanted: list[Resource] = []
        for entry in custom:
            path = (entry.group, entry.version, entry.plural)
            known = self._by_path.get(path)
            if path not in builtin:
                wanted.append(known if known is not None and known == entry else entry)
        if tuple(wanted) == self._custom:
            return
        self.revision += 1
        self._custom = tuple(wanted)
        self._index((*self._builtin, *wanted))
        for tell in tuple(self._told):
            tell()

    def on_change(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Call *tell* whenever other kinds are served than before; return how to stop that."""
        self._told.append(tell)
        return lambda: self._told.remove(tell)

    def serves(self, resource: Resource) -> bool:
        """Tell whether *resource* is served as it is described there, and not otherwise by now."""
        return self.find(resource.group, resource.version, resource.plural) is resource

    def all(self) -> tuple[Resource, ...]:
        """Return every kind, groups in the order of kubectl's preference."""
        return self._all

    def builtin(self, group: str) -> tuple[Resource, ...]:
        """Return the kinds of a group that no definition made."""
        return tuple(entry for entry in self._builtin if entry.group == group)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the kind served at that path, or None."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """Return the entry of a group, version and kind, or None."""
        return self._by_kind.get((group, version, kind))

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Return group -> versions, in order of preference; the core group is the empty text."""
        return self._groups

    def in_version(self, group: str, version: str) -> tuple[Resource, ...]:
        """Return the kinds of one group and version."""
        return tuple(e for e in self._all if (e.group, e.version) == (group, version))

    def _index(self, entries: tuple[Resource, ...]) -> None:
        self._all = entries
        self._by_path = {(e.group, e.version, e.plural): e for e in entries}
        self._by_kind = {(e.group, e.version, e.kind): e for e in entries}
        self._groups: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            versions = self._groups.get(entry.group, ())
            if entry.version not in versions:
                self._groups[entry.group] = (*versions, entry.version)
