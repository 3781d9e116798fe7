"""Pure: admission of an object: fill in its defaults, then name every rule that it breaks."""

from typing import Any

from podwire.emulator.apiserver.admission import (
    defaults,
    validate_pods,
    validate_service_traffic,
    validation,
)
from podwire.emulator.apiserver.admission.field_errors import FieldError
from podwire.emulator.apiserver.custom import structural
from podwire.emulator.apiserver.resources import Resource

Json = dict[str, Any]

__all__ = ["FieldError", "default", "validate"]


def default(obj: Json, resource: Resource) -> Json:
    """Return a normalised object with every default filled in; *obj* itself stays as it is."""
    if resource.custom:
        return structural.defaulted(obj, resource.custom.schema)
    return defaults.default(obj, resource.api_version, resource.kind)


def validate(
    obj: Json, resource: Resource, old: Json | None, subresource: str = ""
) -> list[FieldError]:
    """Return what is wrong with a defaulted object; *old* is what it replaces."""
    if subresource == "ephemeralcontainers" and old is not None:
        return validate_pods.ephemeral(obj, old)
    problems = validation.validate(obj, resource.api_version, resource.kind, old)
    if subresource == "status" and (resource.api_version, resource.kind) == ("v1", "Service"):
        problems += validate_service_traffic.status(obj)
    if resource.custom:
        # Clusters without custom resources start without this.
        from podwire.emulator.apiserver.custom import validate_custom  # noqa: PLC0415

        status = subresource == "status"
        problems += validate_custom.custom(obj, old, resource.custom, status_only=status)
    return problems
