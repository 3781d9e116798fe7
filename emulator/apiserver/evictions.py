"""Pure: POST of an Eviction: a deletion that asks the PodDisruptionBudgets first.

As pkg/registry/core/pod/storage/eviction.go. The budgets' status is the word of their controller;
what is granted here is taken from it at once, so that two evictions cannot have the same room.
"""

from typing import Any

import msgspec

from podwire.emulator.apiserver import bodies, delete, statuses, write
from podwire.emulator.apiserver.request import Api, Plain, Request
from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import many, struct, text
from podwire.kube.meta import LabelSelectorSpec
from podwire.kube.selectors import from_selector
from podwire.kube.times import rfc3339

Json = dict[str, Any]

BUDGETS = "poddisruptionbudgets.policy"

# More evictions than that may not be under way: the list is in the budget's status.
_MOST_DISRUPTED = 2000
_VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."


def evict(api: Api, request: Request) -> Plain:
    """Delete a pod if its budget allows it; raises Refused (429 where it does not)."""
    body = bodies.read(request.body)
    name = text(struct(body, "metadata"), "name")
    if name and name != request.name:
        raise statuses.bad_request("name in URL does not match name in Eviction object")
    options = struct(body, "deleteOptions")
    request = delete.with_dry_run(request, options)
    stored = api.store.get(request.resource.collection, request.key)
    if stored is None:
        raise statuses.not_found(request.resource, request.name)
    pod = stored.object
    budgets = [] if _needs_no_budget(pod) else _budgets_of(api, pod)
    if len(budgets) > 1:
        raise statuses.refused(
            500,
            "",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
            "not support.",
        )
    if budgets and not _may_go_unhealthy(pod, budgets[0].object):
        _take(api, request, budgets[0])
    if not pod["metadata"].get("deletionTimestamp"):
        _mark(api, request, stored)
    delete.evict(api, request, options)
    return Plain(statuses.done(201), 201)


def _needs_no_budget(pod: Json) -> bool:
    ended = struct(pod, "status").get("phase") in ("Succeeded", "Failed", "Pending")
    return ended or bool(pod["metadata"].get("deletionTimestamp"))


def _budgets_of(api: Api, pod: Json) -> list[Stored]:
    labels = struct(pod["metadata"], "labels")
    found: list[Stored] = []
    for budget in api.store.all(BUDGETS, pod["metadata"]["namespace"]):
        selector = struct(budget.object, "spec").get("selector")
        if selector is None:
            continue  # no selector selects nothing, an empty one everything
        if from_selector(msgspec.convert(selector, LabelSelectorSpec)).matches(labels):
            found.append(budget)
    return found


def _may_go_unhealthy(pod: Json, budget: Json) -> bool:
    """Tell whether the pod is not ready, and the budget lets such pods go without counting."""
    for condition in many(struct(pod, "status"), "conditions"):
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            return False
    if struct(budget, "spec").get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = struct(budget, "status")
    desired = int(status.get("desiredHealthy", 0))
    return desired > 0 and int(status.get("currentHealthy", 0)) >= desired


def _take(api: Api, request: Request, stored: Stored) -> None:
    """Take one disruption from the budget; raises Refused if there is none."""
    budget = stored.copy()
    meta, status = budget["metadata"], budget.setdefault("status", {})
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        name = meta["name"]
        message = f"The disruption budget {name} is still being processed by the server."
        raise _too_many(message, retry=10)
    disrupted = struct(status, "disruptedPods")
    if len(disrupted) > _MOST_DISRUPTED:
        raise statuses.forbidden(
            request.resource,
            request.name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        )
    allowed = int(status.get("disruptionsAllowed", 0))
    if allowed <= 0:
        raise _too_many(_why_not(meta["name"], status))
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        _no_more(status, request.now)
    # The controller counts the pod as gone from now on, till it sees it terminating.
    status["disruptedPods"] = {**disrupted, request.name: rfc3339(request.now)}
    if not write.dry_run(request):
        api.store.put(BUDGETS, stored.key, budget)


def _why_not(name: str, status: Json) -> str:
    for condition in many(status, "conditions"):
        if condition.get("type") == "DisruptionAllowed" and condition.get("reason") == "SyncFailed":
            return (
                f"The disruption budget {name} does not allow evicting pods currently because it "
                f"failed sync: {condition.get('message', '')}"
            )
    needed, present = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
    return f"The disruption budget {name} needs {needed} healthy pods and has {present} currently"


def _no_more(status: Json, now: float) -> None:
    for condition in many(status, "conditions"):
        if condition.get("type") == "DisruptionAllowed":
            condition |= {
                "status": "False",
                "reason": "InsufficientPods",
                "message": "",
                "lastTransitionTime": rfc3339(now),
            }


def _too_many(message: str, *, retry: int = 0) -> Refused:
    details = {"retryAfterSeconds": retry} if retry else {}
    causes = [{"reason": "DisruptionBudget", "message": message}]
    return statuses.refused(429, "TooManyRequests", _VIOLATES, details=details, causes=causes)


def _mark(api: Api, request: Request, stored: Stored) -> None:
    """Note in the pod why it goes: a Job's podFailurePolicy may ask for it."""
    obj = stored.copy()
    status = obj.setdefault("status", {})
    others = [c for c in many(status, "conditions") if c.get("type") != "DisruptionTarget"]
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(request.now),
    }
    status["conditions"] = [*others, condition]
    write.commit(api, request, obj, stored)
