"""Pure: rules for what containers ask of a node, and may have at most.

Source: ValidateResourceRequirements, pkg/apis/core/validation of Kubernetes 1.32.
"""

from podwire.emulator.apiserver.admission.field_errors import FieldError, invalid, required
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below
from podwire.kube import quantity, syntax

_NOT_NEGATIVE = "must be greater than or equal to 0"
_MACHINE = frozenset({"cpu", "memory", "ephemeral-storage"})
#: What quotas and limit ranges count, too: known, and not what a container asks for.
_COUNTED = frozenset(
    {
        "storage", "pods", "services", "replicationcontrollers", "resourcequotas", "secrets",
        "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
        "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu",
        "limits.memory", "limits.ephemeral-storage",
    }
)  # fmt: skip


def resources(field: str, resources: Json) -> list[FieldError]:
    """Check the limits and requests of a container."""
    limits: dict[str, str] = below(resources, "limits")
    requests: dict[str, str] = below(resources, "requests")
    problems: list[FieldError] = []
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            at = f"{field}.{kind}[{name}]"
            problems += _resource_name(at, name)
            if quantity.parse(text).nano < 0:
                problems.append(invalid(at, text, _NOT_NEGATIVE))
    for name, text in requests.items():
        # What is not shared out, such as a device, is asked for exactly.
        shared = name in _MACHINE or ("/" not in name and not name.startswith("hugepages-"))
        if name not in limits:
            if not shared:
                message = "Limit must be set for non overcommitable resources"
                problems.append(required(f"{field}.limits", message))
            continue
        wanted, limit = quantity.parse(text).nano, quantity.parse(limits[name]).nano
        if wanted != limit and not shared:
            message = f"must be equal to {name} limit of {limits[name]}"
            problems.append(invalid(f"{field}.requests", text, message))
        elif wanted > limit:
            message = f"must be less than or equal to {name} limit of {limits[name]}"
            problems.append(invalid(f"{field}.requests", text, message))
    return problems


def _resource_name(field: str, name: str) -> list[FieldError]:
    problems = check(field, name, syntax.qualified_name)
    if "/" in name or name in _MACHINE or name.startswith("hugepages-"):
        return problems
    if not problems and name not in _COUNTED:
        message = "must be a standard resource type or fully qualified"
        problems.append(invalid(field, name, message))
    return [*problems, invalid(field, name, "must be a standard resource for containers")]
