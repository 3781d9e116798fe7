"""Pure: what PriorityClasses and IngressClasses mean for the objects that name them, or do not.

Source: plugin/pkg/admission/priority and plugin/pkg/admission/network/defaultingressclass.
"""

from typing import Any

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.request import Api, Request
from podwire.emulator.apiserver.types.fields import below, text
from podwire.kube.names import Key

Json = dict[str, Any]

_CLASSES = "priorityclasses.scheduling.k8s.io"
_INGRESS_CLASSES = "ingressclasses.networking.k8s.io"
_OLD_CLASS = "kubernetes.io/ingress.class"
_IS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_PREEMPTS = "PreemptLowerPriority"


def admit_pod(api: Api, request: Request, pod: Json, old: Json | None) -> None:
    """Write down how important a pod is; raises Refused (403) for a class that is not there."""
    spec: Json = pod["spec"]
    if old is not None:
        for name in ("priority", "preemptionPolicy"):
            before = below(old, "spec").get(name)
            if spec.get(name) is None and before is not None:
                spec[name] = before
        return
    chosen = text(spec, "priorityClassName")
    found = _default_class(api) if not chosen else _class(api, chosen)
    if chosen and found is None:
        why = f"no PriorityClass with name {chosen} was found"
        raise statuses.forbidden(request.resource, _name(pod), why)
    if found is not None:
        spec["priorityClassName"] = found["metadata"]["name"]
    value = 0 if found is None else found.get("value", 0)
    policy = _PREEMPTS if found is None else found.get("preemptionPolicy", _PREEMPTS)
    if spec.get("priority", value) != value:
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            f"priority admission controller computed {value} from the given PriorityClass name"
        )
        raise statuses.forbidden(request.resource, _name(pod), why)
    if spec.get("preemptionPolicy", policy) != policy:
        why = (
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be "
            f"provided in pod spec; priority admission controller computed {policy} from the given "
            "PriorityClass name"
        )
        raise statuses.forbidden(request.resource, _name(pod), why)
    spec["priority"], spec["preemptionPolicy"] = value, policy


def admit_class(api: Api, request: Request, obj: Json, old: Json | None) -> None:
    """Refuse a second PriorityClass for all pods that name none."""
    if not obj.get("globalDefault"):
        return
    present = _default_class(api)
    if present is None or present["metadata"]["name"] == _name(obj):
        return
    del old
    why = (
        f"PriorityClass {present['metadata']['name']} is already marked as default. Only one "
        "default can exist"
    )
    raise statuses.forbidden(request.resource, _name(obj), why)


def admit_ingress(api: Api, request: Request, obj: Json, old: Json | None) -> None:
    """Give a new Ingress the default class if it names none."""
    del request
    spec: Json = obj.setdefault("spec", {})
    named = spec.get("ingressClassName") is not None
    if old is not None or named or _OLD_CLASS in below(obj, "metadata", "annotations"):
        return
    marked = [
        one.object["metadata"]
        for one in api.store.all(_INGRESS_CLASSES)
        if below(one.object, "metadata", "annotations").get(_IS_DEFAULT) == "true"
    ]
    if marked:
        # Of several the newest, then the first by name.
        marked.sort(key=lambda meta: meta["name"])
        marked.sort(key=lambda meta: meta["creationTimestamp"], reverse=True)
        spec["ingressClassName"] = marked[0]["name"]


def _class(api: Api, name: str) -> Json | None:
    found = api.store.get(_CLASSES, Key("", name))
    return None if found is None else found.object


def _default_class(api: Api) -> Json | None:
    marked = (one.object for one in api.store.all(_CLASSES) if one.object.get("globalDefault"))
    return min(marked, key=lambda one: one.get("value", 0), default=None)


def _name(obj: Json) -> str:
    return text(obj["metadata"], "name")
