"""Manifests: files, folders and standard input to objects that know where they stand."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from podwire.errors import UsageError
from podwire.kube.documents import Document, Place, read

Json = dict[str, Any]

_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Manifest:
    """One object that somebody wants, and where it is written."""

    body: Json
    place: Place

    @property
    def api_version(self) -> str:
        """Return the object's apiVersion."""
        return str(self.body["apiVersion"])

    @property
    def kind(self) -> str:
        """Return the object's kind."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """Return the object's name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Return the namespace that is written there, or an empty text."""
        return str(self.body["metadata"].get("namespace") or "")


def from_paths(names: Iterable[str]) -> tuple[Manifest, ...]:
    """Return the objects of files and folders (sorted by name), `-` being standard input.

    Namespaces come first, so that one file may hold a Namespace and what is in it in any order.
    Raises UsageError for a path that cannot be read, ConfigError for what is in it.
    """
    found = list[Manifest]()
    for name in names:
        if name == "-":
            found += from_text(sys.stdin.read(), "standard input")
        else:
            for path in _files(Path(name)):
                found += from_text(_text(path), str(path))
    return _namespaces_first(found)


def from_text(text: str, source: str = "manifest") -> tuple[Manifest, ...]:
    """Return the objects of YAML (or JSON) text; raises ConfigError with the place."""
    return _namespaces_first(
        manifest for document in read(text, source) for manifest in _objects(document)
    )


def from_objects(objects: Iterable[Json], source: str = "object") -> tuple[Manifest, ...]:
    """Return manifests of objects that are parsed already."""
    import yaml  # noqa: PLC0415 - rarely used; keeps this module light to import

    return from_text(yaml.safe_dump_all(objects, sort_keys=False), source)


def _namespaces_first(manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    return tuple(sorted(manifests, key=lambda manifest: manifest.kind != "Namespace"))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise UsageError(f"no manifest in {path}\n  expected: files *.yaml, *.yml or *.json")
    return files


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}\n  give a manifest, a folder, or -") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text ({error.reason} at {error.start})") from error


def _objects(document: Document) -> Iterator[Manifest]:
    value: object = document.value
    listing = _mapping(value)
    if str(listing.get("kind", "")).endswith("List") and isinstance(listing.get("items"), list):
        for number, item in enumerate(cast("list[object]", listing["items"])):
            yield _object(document, item, ("items", number))
        return
    yield _object(document, value, ())


def _mapping(value: object) -> Json:
    return cast("Json", value) if isinstance(value, dict) else Json()


def _object(document: Document, value: object, path: tuple[str | int, ...]) -> Manifest:
    place = document.place(*path)
    if not isinstance(value, dict):
        raise place.error("a Kubernetes object is expected: a mapping with apiVersion and kind")
    body = cast("Json", value)
    for key in ("apiVersion", "kind"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise document.place(*path, key).error(f"{key} is missing or no text")
    if not isinstance(body.get("metadata"), dict):
        raise document.place(*path, "metadata").error(f"{body['kind']} has no metadata")
    metadata: Json = body["metadata"]
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        where = document.place(*path, "metadata", "name")
        raise where.error(f"{body['kind']}: metadata.name is missing or no text")
    return Manifest(body, place)
