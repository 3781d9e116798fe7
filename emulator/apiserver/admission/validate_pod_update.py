"""Pure: what may change in a pod that is there.

Source: ValidatePodUpdate and ValidatePodEphemeralContainersUpdate in
pkg/apis/core/validation/validation.go of Kubernetes 1.32.
"""

from podwire.emulator.apiserver.admission.field_errors import FieldError, forbidden, invalid
from podwire.emulator.apiserver.admission.validate_meta import Json
from podwire.emulator.apiserver.types.fields import many

_CHANGEABLE = ("activeDeadlineSeconds", "tolerations")
_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
    " (only additions to existing tolerations),`spec.terminationGracePeriodSeconds`"
    " (allow it to be set to 1 if it was previously negative)"
)


def spec(now: Json, old: Json) -> list[FieldError]:
    """Check that only what may change is changed in a pod's spec."""
    problems: list[FieldError] = []
    for kind in ("containers", "initContainers"):
        if len(many(now, kind)) != len(many(old, kind)):
            message = "pod updates may not add or remove containers"
            return [forbidden(f"spec.{kind}", message)]
    problems += _deadline(now.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    after = many(now, "tolerations")
    lost = [one for one in many(old, "tolerations") if one not in after]
    was, is_ = _fixed(old), _fixed(now)
    # Scheduling sets nodeName once, through the binding subresource.
    if not was.get("nodeName"):
        was.pop("nodeName", None)
        is_.pop("nodeName", None)
    names = sorted(n for n in {*was, *is_} if was.get(n) != is_.get(n))
    if lost:
        names.append("tolerations")
    if names:
        # Kubernetes prints the two specs as Go structs here.
        shown = "\n".join(f"  spec.{name} differs" for name in names)
        problems.append(forbidden("spec", f"{_MAY_CHANGE}\n{shown}"))
    return problems


def _deadline(now: int | None, old: int | None) -> list[FieldError]:
    field = "spec.activeDeadlineSeconds"
    if old is None or now == old:
        return []
    if now is None:
        return [invalid(field, None, "must not update from a positive integer to nil value")]
    if now > old:
        return [invalid(field, now, "must be less than or equal to previous value")]
    return []


def _fixed(spec_: Json) -> Json:
    """Return the part of a pod's spec that may not change."""
    fixed = {name: value for name, value in spec_.items() if name not in _CHANGEABLE}
    for kind in ("containers", "initContainers"):
        if kind in fixed:
            fixed[kind] = [{**container, "image": ""} for container in fixed[kind]]
    if fixed.get("terminationGracePeriodSeconds", 1) < 0:
        fixed["terminationGracePeriodSeconds"] = 1
    # Gates may be removed: pods here have none that anybody waits for.
    fixed.pop("schedulingGates", None)
    return fixed


def ephemeral(now: Json, old: Json) -> list[FieldError]:
    """Check that ephemeral containers are only added."""
    found = {one.get("name", ""): one for one in many(now, "ephemeralContainers")}
    problems: list[FieldError] = []
    for before in many(old, "ephemeralContainers"):
        name = before.get("name", "")
        change = "removed" if name not in found else "changed"
        if found.get(name) != before:
            message = f'existing ephemeral containers "{name}" may not be {change}\n'
            problems.append(forbidden("spec.ephemeralContainers", message))
    return problems
