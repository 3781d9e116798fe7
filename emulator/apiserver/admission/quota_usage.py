"""Pure: what the ResourceQuotas of a namespace count: their status.

Nothing is refused because of it. Kubernetes has a controller for the figures
(pkg/controller/resourcequota); here the server itself writes them after each write in a namespace
that has quotas: it needs no watch, and the figures are those of the moment.
Source: pkg/quota/v1/evaluator/core of Kubernetes 1.32.
"""

from collections.abc import Collection, Iterable
from typing import Any

from podwire.emulator.apiserver.request import Api
from podwire.emulator.apiserver.store import Store, TooOld
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import quantity

Json = dict[str, Any]

COLLECTION = "resourcequotas"

_COUNTED = frozenset(
    {
        "services", "secrets", "configmaps", "resourcequotas", "replicationcontrollers",
        "persistentvolumeclaims",
    }
)  # fmt: skip
_ENDED = ("Succeeded", "Failed")


def settle(api: Api, namespace: str, written: str, since: int) -> None:
    """Write the status of the quotas in *namespace* that is not what it should be.

    They were right at the revision *since*; after that only objects of the collection *written*
    have changed.
    """
    if written == "pods" and not _matter(api.store, since):
        return
    for stored in api.store.all(COLLECTION, namespace):
        spec = below(stored.object, "spec")
        hard: dict[str, str] = below(spec, "hard")
        touched = [name for name in hard if written in (COLLECTION, _counted(name))]
        if not touched and written != COLLECTION:
            continue
        status: Json = {}
        if hard:
            known = {} if written == COLLECTION else below(stored.object, "status", "used")
            used = {**known, **_used(api, namespace, spec, touched)}
            status = {"hard": hard, "used": dict(sorted(used.items()))}
        if status != below(stored.object, "status"):
            api.store.put(COLLECTION, stored.key, {**stored.copy(), "status": status})


def _matter(store: Store, since: int) -> bool:
    """Tell whether pods came, went or count otherwise now: most writes say how one fares."""
    try:
        changes = store.since("pods", since)
    except TooOld:
        return True
    return any(
        change.before is None
        or change.type != "MODIFIED"
        or _counts_as(change.before.object) != _counts_as(change.now.object)
        for change in changes
    )


def _counts_as(pod: Json) -> tuple[bool, Any, Any]:
    status = below(pod, "status")
    return _has_ended(pod), status.get("qosClass"), pod.get("spec")


def _counted(name: str) -> str:
    """Return which objects a name in a quota counts, by their collection."""
    if name.startswith("services."):
        return "services"
    counted = name in _COUNTED or name.startswith("count/")
    return name.removeprefix("count/") if counted else "pods"


def _has_ended(pod: Json) -> bool:
    return below(pod, "status").get("phase") in _ENDED


def _used(api: Api, namespace: str, spec: Json, names: Collection[str]) -> dict[str, str]:
    scopes = _scopes(spec)
    pods: list[Json] = []
    for stored in api.store.all("pods", namespace) if "pods" in map(_counted, names) else ():
        pod = stored.object
        if not _has_ended(pod) and all(_in_scope(pod, scope) for scope in scopes):
            pods.append(pod)
    used: dict[str, str] = {}
    for name in names:
        if name == "pods":
            used[name] = str(len(pods))
        elif name.startswith("services."):
            used[name] = str(_service_usage(api, namespace, name))
        elif name in _COUNTED or name.startswith("count/"):
            used[name] = str(len(api.store.all(_counted(name), namespace)))
        else:
            used[name] = _sum(_of_pod(pod, name) for pod in pods)
    return used


def _service_usage(api: Api, namespace: str, name: str) -> int:
    specs = [below(one.object, "spec") for one in api.store.all("services", namespace)]
    if name == "services.loadbalancers":
        return sum(spec.get("type") == "LoadBalancer" for spec in specs)
    return sum(bool(port.get("nodePort")) for spec in specs for port in many(spec, "ports"))


def _of_pod(pod: Json, name: str) -> quantity.Quantity:
    """Return how much of `requests.cpu`, `cpu` or `limits.cpu` a pod asks for."""
    kind, dot, resource = name.partition(".")
    if not dot or kind not in ("requests", "limits"):
        kind, resource = "requests", name
    spec = below(pod, "spec")
    together = _add(_of(container, kind, resource) for container in many(spec, "containers"))
    # Init containers run one by one, before the others.
    alone = (_of(container, kind, resource) for container in many(spec, "initContainers"))
    return max((together, *alone), key=lambda amount: amount.nano)


def _of(container: Json, kind: str, resource: str) -> quantity.Quantity:
    text = below(container, "resources", kind).get(resource)
    return quantity.parse(text) if text else quantity.Quantity(0)


def _add(amounts: Iterable[quantity.Quantity]) -> quantity.Quantity:
    some = [amount for amount in amounts if amount.nano]
    if not some:
        return quantity.Quantity(0)
    return quantity.Quantity(sum(amount.nano for amount in some), some[0].format)


def _sum(amounts: Iterable[quantity.Quantity]) -> str:
    return str(_add(amounts))


def _scopes(spec: Json) -> list[Json]:
    plain: list[Json] = [{"scopeName": name, "operator": "Exists"} for name in many(spec, "scopes")]
    return plain + many(below(spec, "scopeSelector"), "matchExpressions")


def _in_scope(pod: Json, scope: Json) -> bool:
    spec = below(pod, "spec")
    best = below(pod, "status").get("qosClass") == "BestEffort"
    ends = spec.get("activeDeadlineSeconds") is not None
    match scope.get("scopeName"):
        case "BestEffort":
            return best
        case "NotBestEffort":
            return not best
        case "Terminating":
            return ends
        case "NotTerminating":
            return not ends
        case "PriorityClass":
            return _chosen(spec.get("priorityClassName") or "", scope)
        case _:
            affinity = below(spec, "affinity")
            kinds = [below(affinity, kind) for kind in ("podAffinity", "podAntiAffinity")]
            terms = [term for kind in kinds for part in kind.values() for term in part or ()]
            return any(
                term.get("namespaces") or below(term, "podAffinityTerm").get("namespaces")
                for term in terms
            )


def _chosen(name: str, scope: Json) -> bool:
    values: list[str] = many(scope, "values")
    match scope.get("operator"):
        case "In":
            return name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
        case _:
            return bool(name)
