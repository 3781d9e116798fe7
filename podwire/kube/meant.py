"""Pure: which pod is meant, by the name of its workload or by a name that no pod has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

Json = dict[str, Any]

_APPS, _BATCH, _CORE = "/apis/apps/v1", "/apis/batch/v1", "/api/v1"
# The words of kubectl; kind by kind: prefix of the API, plural.
_KINDS: Mapping[tuple[str, ...], tuple[str, str]] = {
    ("deploy", "deployment", "deployments"): (_APPS, "deployments"),
    ("sts", "statefulset", "statefulsets"): (_APPS, "statefulsets"),
    ("ds", "daemonset", "daemonsets"): (_APPS, "daemonsets"),
    ("rs", "replicaset", "replicasets"): (_APPS, "replicasets"),
    ("job", "jobs"): (_BATCH, "jobs"),
    ("svc", "service", "services"): (_CORE, "services"),
}
_MOST = 3


@dataclass(frozen=True, slots=True)
class Workload:
    """An object that selects pods, by its path in the API."""

    text: str
    path: str
    namespace: str


def workload(text: str, namespace: str) -> Workload | None:
    """Return the workload that KIND/NAME or KIND/NAMESPACE/NAME means; None if it is no such."""
    kind, _, rest = text.partition("/")
    inside, slash, name = rest.rpartition("/")
    found = next((where for words, where in _KINDS.items() if kind in words), None)
    if found is None or not name or (slash and not inside) or "/" in inside:
        return None
    prefix, plural = found
    home = inside or namespace
    return Workload(text, f"{prefix}/namespaces/{home}/{plural}/{name}", home)


def selector(obj: Json) -> str:
    """Return the label selector of a workload or Service; empty if it selects no pod by labels."""
    spec: Json = obj.get("spec") or {}
    given: Json = spec.get("selector") or {}
    is_service = "ports" in spec or "clusterIP" in spec
    labels: Json = given if is_service else given.get("matchLabels") or {}
    terms = [f"{key}={value}" for key, value in labels.items()]
    for term in cast("list[Json]", [] if is_service else given.get("matchExpressions") or []):
        key, values = term["key"], ",".join(term.get("values") or [])
        terms.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": str(key),
                "DoesNotExist": f"!{key}",
            }[term["operator"]]
        )
    return ",".join(terms)


def first(pods: Sequence[Json]) -> str:
    """Return the name of the most alive of several pods; empty if there is none.

    Much as kubectl exec chooses (k8s.io/kubectl/pkg/util/podutils, ActivePods): one that runs, is
    ready, was seldom restarted, is old.
    """
    return str(max(pods, key=_activity)["metadata"]["name"]) if pods else ""


def _activity(pod: Json) -> tuple[bool, bool, bool, int, tuple[int, ...]]:
    status: Json = pod.get("status") or {}
    metadata: Json = pod["metadata"]
    conditions = cast("list[Json]", status.get("conditions") or [])
    containers = cast("list[Json]", status.get("containerStatuses") or [])
    older = str(metadata.get("creationTimestamp") or "")
    return (
        not metadata.get("deletionTimestamp"),
        status.get("phase") == "Running",
        any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions),
        -max((int(c.get("restartCount") or 0) for c in containers), default=0),
        tuple(-ord(letter) for letter in older),
    )


def suggestion(name: str, namespace: str, pods: Iterable[tuple[str, str]]) -> str:
    """Return who may have been meant by a pod's name that is not there, to be put behind it.

    *pods* are (namespace, name). A workload's name means its pods, here or elsewhere; a pod may be
    in another namespace, or be misspelt. Empty if nothing is near.
    """
    import difflib  # noqa: PLC0415 - for a mistake only

    known = sorted(set(pods))
    if (namespace, name) in known:
        return ""
    here = [pod for space, pod in known if space == namespace]
    away = [(space, pod) for space, pod in known if space != namespace]
    near = (
        [pod for pod in here if pod.startswith(f"{name}-")]
        or [f"{space}/{pod}" for space, pod in away if pod == name]
        or [f"{space}/{pod}" for space, pod in away if pod.startswith(f"{name}-")]
        or difflib.get_close_matches(name, here, n=1)
    )
    more = "" if len(near) <= _MOST else f" (or {len(near) - _MOST} more)"
    return f"; did you mean {' or '.join(near[:_MOST])}{more}?" if near else ""
