"""Pure: CustomResourceDefinitions: what is filled in, and what their status says.

Source: apiextensions-apiserver's v1/defaults.go, registry/customresourcedefinition/strategy.go and
the controllers of names (status), establishing and api approval.
"""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from podwire.emulator.apiserver.custom.structural import Node
from podwire.emulator.apiserver.types.fields import below, many, struct, text
from podwire.kube.times import rfc3339

Json = dict[str, Any]

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""
APPROVED = "api-approved.kubernetes.io"
"""The annotation by which a group of the Kubernetes project says who agreed to it."""
_NAMES = ("plural", "singular", "shortNames", "kind", "listKind")


def default(obj: Json) -> None:
    """Fill in names, conversion and the version in which objects are stored."""
    spec: Json = obj.setdefault("spec", {})
    names: Json = spec.setdefault("names", {})
    kind = text(names, "kind")
    if not names.get("singular"):
        names["singular"] = kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = f"{kind}List"
    if not spec.get("conversion"):
        spec["conversion"] = {"strategy": "None"}
    webhook = below(spec, "conversion", "webhook", "clientConfig", "service")
    if webhook:
        webhook.setdefault("port", 443)
    status: Json = obj.setdefault("status", {})
    stored = list(many(status, "storedVersions"))
    version = storage_version(obj)
    if version and version not in stored:
        status["storedVersions"] = [*stored, version]


def storage_version(obj: Json) -> str:
    """Return the name of the version in which objects are stored, or the empty text."""
    for version in many(struct(obj, "spec"), "versions"):
        if version.get("storage"):
            return text(version, "name")
    return ""


def vain(obj: Json) -> Iterator[str]:
    """Yield a warning for each thing that a definition asks for and that has no effect here."""
    if below(obj, "spec", "conversion").get("strategy") == "Webhook":
        yield (
            "spec.conversion.strategy: webhooks are not called here: objects keep their fields in "
            "every version, as with None"
        )
    for index, version in enumerate(many(struct(obj, "spec"), "versions")):
        if Node(below(version, "schema", "openAPIV3Schema")).rules:
            yield (
                f"spec.versions[{index}].schema: x-kubernetes-validations: rules in CEL are not "
                "evaluated here; the rest of the schema is"
            )


def condition(obj: Json, name: str) -> Json:
    """Return a condition of *obj*, or an empty object."""
    for entry in many(struct(obj, "status"), "conditions"):
        if entry.get("type") == name:
            found: Json = entry
            return found
    return {}


def is_true(obj: Json, name: str) -> bool:
    """Tell whether the condition *name* holds."""
    return condition(obj, name).get("status") == "True"


def served(obj: Json) -> bool:
    """Tell whether objects of this definition can be asked for."""
    return is_true(obj, "Established") or is_true(obj, "NamesAccepted")


def settle(obj: Json, others: Iterable[Json], now: float) -> None:
    """Write into the status of *obj* which names it has, beside the *others* of its group."""
    accepted, conflict = _names(obj, others)
    status: Json = obj.setdefault("status", {})
    status["acceptedNames"] = accepted
    if conflict is None:
        _set(obj, now, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
        _set(obj, now, "Established", "True", "InitialNamesAccepted",
             "the initial names have been accepted")  # fmt: skip
    else:
        _set(obj, now, "NamesAccepted", "False", *conflict)
        if not is_true(obj, "Established"):
            _set(obj, now, "Established", "False", "NotAccepted", "not all names are accepted")
    if is_protected(text(struct(obj, "spec"), "group")):
        _set(obj, now, "KubernetesAPIApprovalPolicyConformant", *_approval(obj))


def begin_end(obj: Json, now: float) -> None:
    """Write that the definition will go when its objects are gone."""
    meta: Json = obj["metadata"]
    meta["deletionTimestamp"] = rfc3339(now)
    if CLEANUP not in many(meta, "finalizers"):
        meta["finalizers"] = [*many(meta, "finalizers"), CLEANUP]
    _set(obj, now, "Terminating", "True", "InstanceDeletionPending",
         "CustomResourceDefinition marked for deletion; "
         "CustomResource deletion will begin soon")  # fmt: skip


def clean(obj: Json, now: float, *, left: int) -> None:
    """Write how far the end has come: *left* objects still wait for their finalizers."""
    if left:
        _set(obj, now, "Terminating", "True", "InstanceDeletionInProgress",
             "CustomResource deletion is in progress")  # fmt: skip
        return
    if is_true(obj, "Established"):
        why = ("InstanceDeletionCompleted", "removed all instances")
    else:
        why = ("NeverEstablished", "resource was never established")
    _set(obj, now, "Terminating", "False", *why)
    meta: Json = obj["metadata"]
    kept = [name for name in many(meta, "finalizers") if name != CLEANUP]
    if kept:
        meta["finalizers"] = kept
    else:
        meta.pop("finalizers", None)


def is_protected(group: str) -> bool:
    """Tell whether *group* belongs to the Kubernetes project."""
    return f".{group}".endswith((".k8s.io", ".kubernetes.io"))


def approval(obj: Json) -> tuple[str, str]:
    """Return Missing, Unapproved, Approved or Invalid, and the sentence that says why."""
    value = str(below(obj, "metadata", "annotations").get(APPROVED) or "")
    if not value:
        return "Missing", (
            f'protected groups must have approval annotation "{APPROVED}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
    if value.startswith("unapproved"):
        return "Unapproved", f'not approved: "{value}"'
    try:
        url = urlsplit(value)
    except ValueError:
        url = urlsplit("")
    if url.scheme and url.netloc:
        return "Approved", f"approved in {value}"
    return "Invalid", (
        f'protected groups must have approval annotation "{APPROVED}" with either a URL or a '
        'reason starting with "unapproved", see '
        "https://github.com/kubernetes/enhancements/pull/1111"
    )


def _approval(obj: Json) -> tuple[str, str, str]:
    state, why = approval(obj)
    return ("True" if state == "Approved" else "False"), f"{state}Annotation", why


def _names(obj: Json, others: Iterable[Json]) -> tuple[Json, tuple[str, str] | None]:
    """Return the accepted names, and reason and message of the last conflict (as Go does)."""
    wanted = below(obj, "spec", "names")
    accepted = dict(below(obj, "status", "acceptedNames"))
    resources: set[str] = set()
    kinds: set[str] = set()
    # Nearly every definition has its names already: then the others need no look.
    settled = all(accepted.get(name) == wanted.get(name) for name in _NAMES)
    for other in () if settled else others:
        taken = below(other, "status", "acceptedNames")
        resources |= {text(taken, "plural"), text(taken, "singular"), *many(taken, "shortNames")}
        kinds |= {text(taken, "kind"), text(taken, "listKind")}
    conflict: tuple[str, str] | None = None
    for name in _NAMES:
        used = kinds if name in ("kind", "listKind") else resources
        asked = many(wanted, name) or [text(wanted, name)]
        mine = many(accepted, name) or [text(accepted, name)]
        clashes = [one for one in asked if one and one not in mine and one in used]
        if clashes:
            message = ", ".join(f'"{one}" is already in use' for one in clashes)
            if len(clashes) > 1:
                message = f"[{message}]"
            conflict = (f"{name[0].upper()}{name[1:]}Conflict", message)
        elif wanted.get(name):
            accepted[name] = wanted[name]
        else:
            accepted.pop(name, None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    else:
        accepted.pop("categories", None)
    return accepted, conflict


def _set(obj: Json, now: float, name: str, status: str, reason: str, message: str) -> None:
    old = condition(obj, name)
    if (old.get("status"), old.get("reason"), old.get("message")) == (status, reason, message):
        return
    since = old["lastTransitionTime"] if old.get("status") == status else rfc3339(now)
    entry = {
        "lastTransitionTime": since,
        "message": message,
        "reason": reason,
        "status": status,
        "type": name,
    }
    holder: Json = obj.setdefault("status", {})
    conditions = list(many(holder, "conditions"))
    for index, known in enumerate(conditions):
        if known.get("type") == name:
            conditions[index] = entry
            break
    else:
        conditions.append(entry)
    holder["conditions"] = conditions
