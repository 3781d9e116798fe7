"""Pure: admission of an object: fill in its defaults, then name every rule that it breaks."""

from typing import Any

from podwire.emulator.apiserver import defaults, validation
from podwire.emulator.apiserver.field_errors import FieldError
from podwire.emulator.apiserver.resources import Resource

Json = dict[str, Any]

__all__ = ["FieldError", "default", "validate"]


def default(obj: Json, resource: Resource) -> Json:
    """Return a normalised object with every default filled in; *obj* itself stays as it is."""
    return defaults.default(obj, resource.api_version, resource.kind)


def validate(obj: Json, resource: Resource, old: Json | None) -> list[FieldError]:
    """Return what is wrong with a defaulted object; *old* is what it replaces."""
    return validation.validate(obj, resource.api_version, resource.kind, old)
