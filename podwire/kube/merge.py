"""Pure: what `apply` must change, from what was applied last, what is wanted now and what is there.

A field is taken away only if it was applied before and is no longer wanted; what others set stays
(kubectl's three-way merge). The answer is a JSON merge patch (RFC 7386): in it lists stand whole,
merged item by item here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

Json = dict[str, Any]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

# What tells the items of a list apart, tried in this order (patchMergeKey in Kubernetes' types).
_MERGE_KEYS = ("name", "containerPort", "port", "mountPath", "devicePath", "ip", "type", "key")


def with_last_applied(wanted: Mapping[str, Any]) -> Json:
    """Return *wanted* with the annotation that lets a later apply, ours or kubectl's, go on."""
    metadata = dict(wanted["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(LAST_APPLIED, None)
    plain = {**wanted, "metadata": {**metadata, "annotations": annotations}}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":")) + "\n"
    return {
        **wanted,
        "metadata": {**metadata, "annotations": {**annotations, LAST_APPLIED: text}},
    }


def three_way(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> Json:
    """Return the merge patch that turns *present* into *wanted*; empty if nothing changes.

    *wanted* carries the annotation of `with_last_applied`; what was applied last is read from that
    of *present*.
    """
    metadata: Json = present.get("metadata") or {}
    annotations: Json = metadata.get("annotations") or {}
    try:
        loaded: object = json.loads(annotations.get(LAST_APPLIED) or "{}")
    except ValueError:
        loaded = {}  # somebody else's words; then nothing counts as applied by us
    last = cast("Json", loaded) if isinstance(loaded, dict) else {}
    merged = cast("Json", _merged(last, wanted, present))
    return _difference(present, merged)


def _merged(last: object, wanted: object, present: object) -> object:
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        wishes, facts = cast("Json", wanted), cast("Json", present)
        before = cast("Json", last) if isinstance(last, Mapping) else {}
        result = {key: value for key, value in facts.items() if key in wishes or key not in before}
        for key, value in wishes.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = _merged(before.get(key), value, facts.get(key))
        return result
    if isinstance(wanted, list) and isinstance(present, list):
        earlier = cast("list[object]", last) if isinstance(last, list) else []
        return _merged_list(earlier, cast("list[object]", wanted), cast("list[object]", present))
    return wanted  # pyright: ignore[reportUnknownVariableType]


def _merged_list(
    last: Sequence[object], wanted: Sequence[object], present: Sequence[object]
) -> list[object]:
    """Return the wanted items, each with what the server or others added to it."""
    key = next((key for key in _MERGE_KEYS if _tells_apart(key, wanted)), None)
    if key is None or not _tells_apart(key, present):
        return list(wanted)
    before, there = _by_key(key, last), _by_key(key, present)
    merged = [
        _merged(before.get(name), item, there[name]) if name in there else item
        for name, item in _by_key(key, wanted).items()
    ]
    # Items that others added (a sidecar, say) stay; those that were applied before and are not
    # wanted any more go.
    names = _by_key(key, wanted)
    merged += [item for name, item in there.items() if name not in names and name not in before]
    return merged


def _tells_apart(key: str, items: Sequence[object]) -> bool:
    values = [cast("Json", item).get(key) for item in items if isinstance(item, Mapping)]
    return len(values) == len(items) and None not in values and len(set(values)) == len(values)


def _by_key(key: str, items: Sequence[object]) -> dict[Any, Json]:
    mappings = [cast("Json", item) for item in items if isinstance(item, Mapping)]
    return {item.get(key): item for item in mappings}


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    patch = Json()
    for key in before:
        if key not in after:
            patch[key] = None
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            inner = _difference(cast("Json", old), cast("Json", value))
            if inner:
                patch[key] = inner
        elif value != old and not (old is None and value in ({}, [])):
            patch[key] = value
    return patch
