"""Pure: autoscaling/v1 autoscalers, which `kubectl autoscale` writes, and the v2 that is stored.

Version 1 knows one metric, the percentage of CPU. What else an autoscaler says stands in
annotations there, in a form of version 1's own, so that nothing is lost on the way back.
Source: pkg/apis/autoscaling/v1/conversion.go and annotations.go of Kubernetes 1.32.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from podwire.emulator.apiserver.types.fields import below, many

Json = dict[str, Any]

_PREFIX = "autoscaling.alpha.kubernetes.io/"
_METRICS = f"{_PREFIX}metrics"
_BEHAVIOUR = f"{_PREFIX}behavior"
_CURRENT = f"{_PREFIX}current-metrics"
_CONDITIONS = f"{_PREFIX}conditions"
_CARRIERS = (_METRICS, _BEHAVIOUR, _CURRENT, _CONDITIONS)


def to_v2(obj: Json, *, notes: bool = True) -> Json:
    """Return an autoscaling/v1 autoscaler as version 2; *obj* stays as it is.

    Without *notes* what the annotations carry is dropped: they may say anything.
    """
    spec, status = dict(below(obj, "spec")), dict(below(obj, "status"))
    carried, meta = _carried(below(obj, "metadata"))
    if not notes:
        carried = {}
    metrics = [_metric_v2(metric) for metric in _listed(carried.get(_METRICS))]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    if isinstance(carried.get(_BEHAVIOUR), dict):
        spec["behavior"] = carried[_BEHAVIOUR]
    current = [_status_v2(metric) for metric in _listed(carried.get(_CURRENT))]
    percent = status.pop("currentCPUUtilizationPercentage", None)
    if percent is not None:
        value = {"averageUtilization": percent}
        current.append({"type": "Resource", "resource": {"name": "cpu", "current": value}})
    if current:
        status["currentMetrics"] = current
    if _listed(carried.get(_CONDITIONS)):
        status["conditions"] = carried[_CONDITIONS]
    return obj | {
        "apiVersion": "autoscaling/v2", "metadata": meta, "spec": spec, "status": status,
    }  # fmt: skip


def to_v1(obj: Json) -> Json:
    """Return a stored autoscaler as version 1; *obj* stays as it is."""
    spec, status = dict(below(obj, "spec")), dict(below(obj, "status"))
    notes: dict[str, Any] = {}
    others: list[Json] = []
    for metric in many({"metrics": spec.pop("metrics", None)}, "metrics"):
        percent = below(metric, "resource", "target").get("averageUtilization")
        if _is_cpu(metric) and percent is not None:
            spec["targetCPUUtilizationPercentage"] = percent
        else:
            others.append(_metric_v1(metric))
    notes[_METRICS] = others
    notes[_BEHAVIOUR] = spec.pop("behavior", None)
    current: list[Json] = many({"of": status.pop("currentMetrics", None)}, "of")
    for metric in current:
        percent = below(metric, "resource", "current").get("averageUtilization")
        if _is_cpu(metric) and percent is not None:
            status["currentCPUUtilizationPercentage"] = percent
    notes[_CURRENT] = [_status_v1(metric) for metric in current]
    notes[_CONDITIONS] = status.pop("conditions", None)
    meta = dict(below(obj, "metadata"))
    written = {name: msgspec.json.encode(value).decode() for name, value in notes.items() if value}
    if written:
        meta["annotations"] = below(meta, "annotations") | written
    return obj | {
        "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status,
    }  # fmt: skip


def _is_cpu(metric: Json) -> bool:
    return metric.get("type") == "Resource" and below(metric, "resource").get("name") == "cpu"


def _carried(meta: Json) -> tuple[dict[str, Any], Json]:
    """Return what the annotations carry, and metadata without them."""
    annotations: dict[str, str] = below(meta, "annotations")
    found: dict[str, Any] = {}
    for name in _CARRIERS:
        if name in annotations:
            try:
                found[name] = msgspec.json.decode(annotations[name])
            except msgspec.DecodeError:
                continue  # as Kubernetes: what cannot be read is dropped
    rest = {name: text for name, text in annotations.items() if name not in _CARRIERS}
    if rest == annotations:
        return found, meta
    kept = {name: value for name, value in meta.items() if name != "annotations"}
    return found, (kept | {"annotations": rest} if rest else kept)


def _listed(value: Any) -> list[Json]:
    found: list[Any] = many({"of": value}, "of")
    return [one for one in found if isinstance(one, dict)]


def _given(pairs: Iterable[tuple[str, Any]]) -> Json:
    return {name: value for name, value in pairs if value is not None}


# type -> (member, v1's names of: metric name, its selector, value, average value, utilization)
_SOURCES: Mapping[str, tuple[str, str, str]] = {
    "Object": ("object", "metricName", "selector"),
    "Pods": ("pods", "metricName", "selector"),
    "External": ("external", "metricName", "metricSelector"),
    "Resource": ("resource", "name", ""),
    "ContainerResource": ("containerResource", "name", ""),
}


def _metric_v1(metric: Json) -> Json:
    kind = metric.get("type", "")
    if kind not in _SOURCES:
        return {"type": kind}
    source = below(metric, _SOURCES[kind][0])
    return _version_1(kind, source, below(source, "target"), "target")


def _status_v1(metric: Json) -> Json:
    kind = metric.get("type", "")
    if kind not in _SOURCES:
        return {"type": kind}
    source = below(metric, _SOURCES[kind][0])
    return _version_1(kind, source, below(source, "current"), "current")


def _version_1(kind: str, source: Json, amount: Json, word: str) -> Json:
    """Return a metric in v1's form; *word* is `target` or `current`."""
    member, named, selecting = _SOURCES[kind]
    of_resource = not selecting
    name = source.get("name") if of_resource else below(source, "metric").get("name")
    pairs: list[tuple[str, Any]] = []
    if kind == "Object":
        pairs.append(("target", source.get("describedObject") or {}))
    pairs.append((named, name or ""))
    if selecting:
        pairs.append((selecting, below(source, "metric").get("selector")))
    if kind in ("Object", "External"):
        # Version 1 has no "absent" here.
        value = amount.get("value") or ("0" if kind == "Object" or word == "current" else None)
        pairs.append((f"{word}Value", value))
    if kind == "Object":
        pairs.append(("averageValue", amount.get("averageValue")))
    else:
        pairs.append((f"{word}AverageUtilization", amount.get("averageUtilization")))
        pairs.append((f"{word}AverageValue", amount.get("averageValue")))
    if kind == "ContainerResource":
        pairs.append(("container", source.get("container", "")))
    return {"type": kind, member: _given(pairs)}


def _metric_v2(metric: Json) -> Json:
    kind = metric.get("type", "")
    if kind not in _SOURCES:
        return {"type": kind}
    source = below(metric, _SOURCES[kind][0])
    percent = source.get("targetAverageUtilization")
    value, average = _amounts(kind, source, "target")
    words = ("Utilization", percent), ("AverageValue", average), ("Value", value)
    word = next((word for word, found in words if found is not None), "Value")
    target = _given(
        (
            ("type", word),
            ("value", value if word == "Value" else None),
            ("averageValue", average),
            ("averageUtilization", percent),
        )
    )
    return _version_2(kind, source, "target", target)


def _status_v2(metric: Json) -> Json:
    kind = metric.get("type", "")
    if kind not in _SOURCES:
        return {"type": kind}
    source = below(metric, _SOURCES[kind][0])
    value, average = _amounts(kind, source, "current")
    current = _given(
        (
            ("value", value),
            ("averageValue", average),
            ("averageUtilization", source.get("currentAverageUtilization")),
        )
    )
    return _version_2(kind, source, "current", current)


def _amounts(kind: str, source: Json, word: str) -> tuple[Any, Any]:
    average = source.get("averageValue" if kind == "Object" else f"{word}AverageValue")
    return source.get(f"{word}Value"), average


def _version_2(kind: str, source: Json, word: str, amount: Json) -> Json:
    member, named, selecting = _SOURCES[kind]
    name = source.get(named, "")
    inner: Json = {}
    if kind == "Object":
        inner["describedObject"] = source.get("target") or {}
    if selecting:
        inner["metric"] = _given((("name", name), ("selector", source.get(selecting))))
    else:
        inner["name"] = name
    if kind == "ContainerResource":
        inner["container"] = source.get("container", "")
    return {"type": kind, member: inner | {word: amount}}
