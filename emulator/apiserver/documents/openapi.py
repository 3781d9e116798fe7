"""Pure: the OpenAPI documents, version 3 by group and version 2 in one piece.

kubectl create, apply and edit look for a PATCH operation that carries the kind and a parameter
`fieldValidation`; `explain` reads the schemas; others make clients and checks of all of it. A
document is built when first asked for, and kept as bytes until its kinds change.
"""

from dataclasses import dataclass
from hashlib import sha512
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from podwire.emulator.apiserver.documents import openapi_paths, openapi_schemas
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.resources import Resource

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it is sent."""

    body: bytes
    hash: str


@dataclass(slots=True)
class _Kept:
    """What has been built for one registry: by name, with the kinds of which it was built."""

    documents: dict[str, tuple[tuple[Resource, ...], Document]]
    whole: tuple[int, Document] | None = None


_KEPT: "WeakKeyDictionary[Kinds, _Kept]" = WeakKeyDictionary()

_INFO = {"title": "Kubernetes", "version": "v1.32.0"}
_VERSION_PATHS: Json = {
    "/version/": {
        "get": {
            "description": "get the version information for this server",
            "operationId": "getCodeVersion",
            "responses": {
                "200": {"description": "OK", "content": {"application/json": {}}},
                "401": {"description": "Unauthorized"},
            },
        }
    }
}


def index(kinds: Kinds) -> Json:
    """Return the document of `/openapi/v3`: the groups and where their documents are."""
    paths: Json = {}
    for name in _names(kinds):
        found = document(kinds, name)
        if found is not None:
            address = f"/openapi/v3/{name}?hash={found.hash}"
            paths[name] = {"serverRelativeURL": address}
    return {"paths": paths}


def document(kinds: Kinds, name: str) -> Document | None:
    """Return the document of `api/v1`, `apis/GROUP/VERSION` or `version`, None if not served."""
    if name not in _names(kinds):
        return None
    served = _served(kinds, name)
    kept = _KEPT.setdefault(kinds, _Kept({})).documents
    known = kept.get(name)
    # The built-in kinds are the same objects always; custom ones while their definition stays.
    if known is not None and known[0] == served:
        return known[1]
    made = _encoded(_document(name, served))
    kept[name] = (served, made)
    return made


def swagger(kinds: Kinds) -> Document:
    """Return version 2 of all documents together."""
    # A megabyte that few ask for: neither code nor bytes are there before somebody does.
    from podwire.emulator.apiserver.documents import openapi_v2  # noqa: PLC0415

    kept = _KEPT.setdefault(kinds, _Kept({}))
    if kept.whole is None or kept.whole[0] != kinds.revision:
        parts = [_document(name, _served(kinds, name)) for name in _names(kinds)]
        kept.whole = (kinds.revision, _encoded(openapi_v2.swagger(parts, _INFO)))
    return kept.whole[1]


def _encoded(value: Json) -> Document:
    body = msgspec.json.encode(value)
    return Document(body, sha512(body).hexdigest().upper())


def _document(name: str, served: tuple[Resource, ...]) -> Json:
    if name == "version":
        return {"openapi": "3.0.0", "info": _INFO, "paths": _VERSION_PATHS, "components": {}}
    paths: Json = {}
    for resource in served:
        paths |= dict(openapi_paths.paths(f"/{name}", resource))
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths,
        "components": {
            "schemas": openapi_schemas.schemas(served),
            "parameters": openapi_paths.shared_parameters(),
        },
    }


def _names(kinds: Kinds) -> tuple[str, ...]:
    groups = tuple(
        f"apis/{group}/{version}" if group else f"api/{version}"
        for group, versions in kinds.groups().items()
        for version in versions
    )
    return (*groups, "version")


def _served(kinds: Kinds, name: str) -> tuple[Resource, ...]:
    if name == "version":
        return ()
    _, *group, version = name.split("/")
    return kinds.in_version(group[0] if group else "", version)
