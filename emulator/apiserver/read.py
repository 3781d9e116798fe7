"""Pure: get and list, with the meaning of resourceVersion, limit and continue."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

import msgspec

from podwire.emulator.apiserver import selection, statuses
from podwire.emulator.apiserver.request import Api, Many, One, Request
from podwire.emulator.apiserver.selection import Selection
from podwire.emulator.apiserver.store import Store, Stored, TooOld
from podwire.kube.names import Key

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can "
    "start a new list without the continue parameter, or use the continue token in this response "
    "to retrieve the remainder of the results."
)


class _Token(msgspec.Struct):
    """Where a list in pieces goes on: the revision it shows, and the last key it gave."""

    v: str
    rv: int
    start: str


@dataclass(frozen=True, slots=True)
class _Window:
    """Which revision a list shows, and after which key it begins."""

    revision: int
    after: Key | None = None


def get(api: Api, request: Request) -> One:
    """Return the object; raises Refused (404)."""
    wanted = request.number("resourceVersion") or 0
    if wanted > api.store.revision:
        raise statuses.too_large_version(wanted, api.store.revision)
    stored = api.store.get(request.resource.collection, request.key)
    if stored is None:
        raise statuses.not_found(request.resource, request.name)
    return One(request.resource, stored)


def list_(api: Api, request: Request) -> Many:
    """Return the objects that the selectors choose, in order of namespace and name."""
    chosen = selected(request)
    limit = request.number("limit") or 0
    window = _window(api.store, request)
    items = _items(api.store, request, chosen, window)
    if limit <= 0 or len(items) <= limit:
        return Many(request.resource, items, window.revision)
    rest = len(items) - limit
    items = items[:limit]
    last = items[-1].key
    token = _Token("meta.k8s.io/v1", window.revision, f"{last.namespace}/{last.name}")
    return Many(
        request.resource,
        items,
        window.revision,
        continue_=urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("="),
        remaining=None if chosen.selective else rest,
    )


def selected(request: Request) -> Selection:
    """Return what a list or watch request is about."""
    return selection.parse(
        request.resource,
        namespace=request.namespace,
        name=request.name,
        labels=request.option("labelSelector"),
        fields=request.option("fieldSelector"),
    )


def _items(store: Store, request: Request, chosen: Selection, window: _Window) -> list[Stored]:
    collection = request.resource.collection
    try:
        found = store.at(collection, window.revision, chosen.namespace)
    except TooOld as error:
        if window.after is not None:
            raise statuses.expired(_TOO_OLD) from error
        message = "The resourceVersion for the provided list is too old."
        raise statuses.expired(message) from error
    if window.after is not None:
        found = [stored for stored in found if stored.key > window.after]
    if not chosen.selective:
        return found
    return [stored for stored in found if chosen.includes(stored)]


def _window(store: Store, request: Request) -> _Window:
    text = request.option("continue")
    match = request.option("resourceVersionMatch")
    version = request.option("resourceVersion")
    if text:
        if version not in ("", "0"):
            raise statuses.bad_request(
                "specifying resource version is not allowed when using continue"
            )
        token = _read_token(text)
        namespace, _, name = token.start.partition("/")
        return _Window(token.rv or store.revision, Key(namespace, name))
    wanted = _revision(version)
    if match and not version:
        raise statuses.bad_request(
            "resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if match not in ("", "Exact", "NotOlderThan"):
        raise statuses.bad_request(
            f'resourceVersionMatch: Unsupported value: "{match}": '
            'supported values: "Exact", "NotOlderThan", ""'
        )
    if wanted > store.revision:
        raise statuses.too_large_version(wanted, store.revision)
    if match == "Exact":
        if wanted == 0:
            raise statuses.bad_request(
                'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
            )
        return _Window(wanted)
    return _Window(store.revision)


def _revision(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()):
        raise statuses.bad_request(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: '
            f'parsing "{text}": invalid syntax'
        )
    return int(text)


def _read_token(text: str) -> _Token:
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = msgspec.json.decode(raw, type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise statuses.bad_request(f"invalid continue token: {error}") from error
    if token.v != "meta.k8s.io/v1":
        raise statuses.bad_request(f'invalid continue token: unrecognized encoding "{token.v}"')
    return token
