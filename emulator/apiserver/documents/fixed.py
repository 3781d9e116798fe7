"""Pure: the documents that do not depend on the objects: version, health, discovery, OpenAPI."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha512
from typing import Any

import msgspec

from podwire.emulator.apiserver.documents import discovery
from podwire.emulator.apiserver.kinds import Kinds

Json = dict[str, Any]

VERSION: Json = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+podwire",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2024-12-11T18:00:00Z",
    "goVersion": "none",
    "compiler": "cpython",
    "platform": "linux/amd64",
}
"""What kubectl compares its own version with: a minor more than one away makes it warn."""

OPEN_TO_ALL = ("/version", "/healthz", "/livez", "/readyz")
"""Paths that need no identity."""

_NO_CACHE = "no-cache, private"


@dataclass(frozen=True, slots=True)
class Fixed:
    """A ready answer."""

    body: bytes
    content_type: str = "application/json"
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def document(kinds: Kinds, path: str, headers: Mapping[str, str]) -> Fixed | None:
    """Return the document at *path*, or None if objects live there or below."""
    steps = path.strip("/").split("/")
    match steps:
        case [""]:
            return _json({"paths": _paths(kinds)})
        case ["version"]:
            return _json(VERSION)
        case ["healthz" | "livez" | "readyz", *_]:
            return Fixed(b"ok", "text/plain; charset=utf-8")
        case ["api"]:
            return _aggregated(kinds, headers, core=True)
        case ["apis"]:
            return _aggregated(kinds, headers, core=False)
        case ["api", version]:
            return _found(discovery.resource_list(kinds, "", version))
        case ["apis", group]:
            found = discovery.group(kinds, group)
            return _json(found) if found else not_here()
        case ["apis", group, version]:
            if group not in kinds.groups():
                return not_here()
            return _found(discovery.resource_list(kinds, group, version))
        case ["apis", group, *_] if group not in kinds.groups():
            return not_here()
        case ["openapi", "v2"]:
            return _swagger(kinds, headers)
        case ["openapi", "v3"]:
            return _index(kinds, headers)
        case ["openapi", "v3", *rest]:
            return _openapi(kinds, "/".join(rest), headers)
        case _:
            return None


def not_here() -> Fixed:
    """Return the answer for a path outside of the API; plain text, as the real server's."""
    return Fixed(b"404 page not found\n", "text/plain; charset=utf-8", 404)


def _json(value: Json, **headers: str) -> Fixed:
    return Fixed(msgspec.json.encode(value), headers=headers)


def _found(value: Json | None) -> Fixed | None:
    # None: an unknown version of a known group is a Status 404, which the caller words.
    return None if value is None else _json(value)


def _aggregated(kinds: Kinds, headers: Mapping[str, str], *, core: bool) -> Fixed:
    version = discovery.aggregated_version(headers.get("Accept", ""))
    if version is None:
        host = headers.get("Host", "")
        legacy = discovery.core_versions(host) if core else discovery.group_list(kinds)
        return Fixed(msgspec.json.encode(legacy), headers={"Vary": "Accept"})
    body = msgspec.json.encode(discovery.aggregated(kinds, version, core=core))
    tag = f'"{sha512(body).hexdigest().upper()}"'
    more = {"ETag": tag, "Vary": "Accept", "Cache-Control": "public"}
    return _unless_known(Fixed(body, discovery.content_type(version), 200, more), headers)


# kubectl asks for version 2 as protobuf when version 3 does not have a kind: with a 404 it would
# speak of a failed download instead of the unknown kind. This one describes nothing, which kubectl
# takes as "do not check here". As JSON, which other tools ask for, it is complete.
_SWAGGER_PROTOBUF = b"\x0a\x032.0"  # gnostic openapi.v2.Document: field 1 is `swagger`
_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def _swagger(kinds: Kinds, headers: Mapping[str, str]) -> Fixed:
    if "proto-openapi.spec.v2" in headers.get("Accept", ""):
        return Fixed(_SWAGGER_PROTOBUF, _PROTOBUF_TYPE)
    # Start-up does not wait for what the first `kubectl apply` or `explain` needs.
    from podwire.emulator.apiserver.documents import openapi  # noqa: PLC0415

    found = openapi.swagger(kinds)
    return _unless_known(Fixed(found.body, headers={"ETag": f'"{found.hash}"'}), headers)


def _openapi(kinds: Kinds, name: str, headers: Mapping[str, str]) -> Fixed:
    from podwire.emulator.apiserver.documents import openapi  # noqa: PLC0415

    found = openapi.document(kinds, name)
    if found is None:
        return not_here()
    more = {"ETag": f'"{found.hash}"', "Cache-Control": "public, immutable", "Vary": "Accept"}
    return _unless_known(Fixed(found.body, headers=more), headers)


def _index(kinds: Kinds, headers: Mapping[str, str]) -> Fixed:
    from podwire.emulator.apiserver.documents import openapi  # noqa: PLC0415

    body = msgspec.json.encode(openapi.index(kinds))
    tag = f'"{sha512(body).hexdigest().upper()}"'
    return _unless_known(Fixed(body, headers={"ETag": tag}), headers)


def _unless_known(answer: Fixed, headers: Mapping[str, str]) -> Fixed:
    """Return *answer*, or 304 without a body if the client has it already."""
    known = [tag.strip().removeprefix("W/") for tag in headers.get("If-None-Match", "").split(",")]
    if answer.headers["ETag"] in known or "*" in known:
        return Fixed(b"", answer.content_type, 304, answer.headers)
    return answer


def _paths(kinds: Kinds) -> list[str]:
    groups = [group for group in kinds.groups() if group]
    versions = [f"/apis/{group}/{version}" for group in groups for version in kinds.groups()[group]]
    named = [f"/apis/{group}" for group in groups]
    rest = ["/api", "/api/v1", "/apis", "/openapi/v2", "/openapi/v3", *OPEN_TO_ALL]
    return sorted([*rest, *named, *versions])
