"""Pure: what a client sent, as an object of the kind that the path names."""

from typing import Any, cast

import msgspec

from podwire.emulator.apiserver import json_body, statuses, versions, yaml_body
from podwire.emulator.apiserver.admission.field_errors import FieldError, invalid
from podwire.emulator.apiserver.custom import custom
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.request import Body, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.types import protobuf
from podwire.emulator.apiserver.types.fields import struct
from podwire.emulator.apiserver.types.normalise import Normalised, TypeMismatch, normalise
from podwire.emulator.apiserver.types.protobuf import ProtobufError

Json = dict[str, Any]

_BUILTIN = Kinds()

PROTOBUF = "application/vnd.kubernetes.protobuf"
_YAML = ("application/yaml", "application/x-yaml", "text/yaml")
_JSON = ("", "application/json", "text/json")


def media_type(content_type: str) -> str:
    """Return the type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def read(body: Body) -> Json:
    """Return the object in *body* (JSON, YAML or protobuf); raises Refused (400, 415)."""
    kind = media_type(body.content_type)
    if not body.content:
        raise statuses.bad_request("the request body is empty: an object is needed")
    if kind == PROTOBUF:
        try:
            return protobuf.decode(body.content)
        except ProtobufError as error:
            raise statuses.bad_request(str(error)) from error
    # curl's default for --data is answered as JSON by the real server too.
    if kind in _JSON or kind == "application/x-www-form-urlencoded":
        value = read_json(body.content)
    elif kind in _YAML:
        value = read_yaml(body.content)
    else:
        raise statuses.unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            f"application/json, application/yaml, {PROTOBUF}"
        )
    if not isinstance(value, dict):
        raise statuses.bad_request(
            "couldn't get version/kind; json parse error: json: cannot unmarshal "
            f"{_go_kind(value)} into Go value of type struct {{ APIVersion string; Kind string }}"
        )
    return cast("Json", value)


def read_json(content: bytes) -> Any:
    """Return any JSON value; raises Refused (400)."""
    try:
        return json_body.read(content)
    except json_body.JsonError as error:
        raise statuses.bad_request(f"the body of the request is not JSON: {error}") from error


def json_text(value: Any) -> str:
    """Return *value* as JSON text, for messages that show it."""
    return msgspec.json.encode(value).decode()


def read_yaml(content: bytes) -> Any:
    """Return the one YAML document of a body; raises Refused (400)."""
    try:
        return yaml_body.read(content).value
    except yaml_body.YamlError as error:
        raise statuses.bad_request(f"the body of the request is not YAML: {error}") from error


def read_config(content: bytes) -> tuple[Json, tuple[str, ...]]:
    """Return what an apply sends, YAML or JSON, and what stands twice; raises Refused (400)."""
    value: Any = None
    if content[:1] == b"{":  # kubectl and client-go send JSON, which is much faster to read
        try:
            value = json_body.read(content)
        except json_body.JsonError:
            value = None  # {a: 1} is YAML
    twice: list[str] = []
    if value is None or json_body.doubles(content, value):
        try:
            reading = yaml_body.read(content)
        except yaml_body.YamlError as error:
            why = f"error decoding patch: error converting YAML to JSON: yaml: {error}"
            raise statuses.bad_request(why) from error
        value, twice = reading.value, reading.doubles
    if not isinstance(value, dict):
        raise statuses.bad_request(
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot "
            f"unmarshal {_go_kind(value)} into Go value of type map[string]interface {{}}"
        )
    return cast("Json", value), tuple(twice)


def as_object(request: Request, value: Json) -> tuple[Json, tuple[str, ...]]:
    """Return *value* as a well-formed object of the request's kind, and warnings.

    Fills in kind and apiVersion, drops what the kind does not have, and raises Refused (400) for
    another kind, for a wrong type, and for unknown fields when the client asked to be strict.
    """
    resource = request.resource
    twice = doubles(request.body, value)
    resets = struct(value, "metadata").get("managedFields") == []
    _check_kind(resource, value)
    prefix = (
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    )
    try:
        read = well_formed(value, resource)
    except TypeMismatch as error:
        raise statuses.bad_request(prefix + str(error)) from error
    asked, wrong = directive(request), (*twice, *read.unknown)
    if wrong and asked == "Strict":
        raise statuses.bad_request(f"{prefix}strict decoding error: {', '.join(wrong)}")
    warnings = wrong if asked == "Warn" else ()
    if resets:
        keep_reset(read.object)
    return versions.to_stored(read.object, resource), warnings


def keep_reset(obj: Json) -> None:
    """Say in *obj* that its managedFields are to be dropped: an empty list does not survive."""
    obj["metadata"]["managedFields"] = [{}]


def doubles(body: Body, value: Any) -> tuple[str, ...]:
    """Return what a strict reader says of members that stand twice; *value* is what was read."""
    kind = media_type(body.content_type)
    if kind in _YAML:
        found = yaml_body.read(body.content).doubles
        lines = "".join(f"\n  {double}" for double in found)
        return (f"yaml: unmarshal errors:{lines}",) if found else ()
    if kind == PROTOBUF:
        return ()
    return tuple(f'duplicate field "{path}"' for path in json_body.doubles(body.content, value))


def well_formed(value: Json, resource: Resource) -> Normalised:
    """Return *value* as an object of *resource* in its version; raises TypeMismatch."""
    if resource.custom:
        return custom.read(value, resource, resource.custom)
    return normalise(value, resource.api_version, resource.kind)


def directive(request: Request) -> str:
    """Return Strict, Warn (the default) or Ignore; raises Refused for other words."""
    asked = request.option("fieldValidation") or "Warn"
    if asked not in ("Strict", "Warn", "Ignore"):
        why = f'Unsupported value: "{asked}": supported values: "", "Ignore", "Strict", "Warn"'
        problem = FieldError("fieldValidation", "FieldValueNotSupported", why)
        raise statuses.invalid_options(request.verb, [problem])
    return asked


def _check_kind(resource: Resource, value: Json) -> None:
    if resource.custom:
        _check_custom_kind(resource, value)
        return
    kind = value.setdefault("kind", resource.kind) or resource.kind
    version = value.setdefault("apiVersion", resource.api_version) or resource.api_version
    value["kind"], value["apiVersion"] = kind, version
    if (kind, version) == (resource.kind, resource.api_version):
        return
    group, _, short = str(version).rpartition("/")
    prefix = f'{kind} in version "{short}" cannot be handled as a {resource.kind}: '
    if _BUILTIN.of_kind(group, short, str(kind)) is None:
        raise statuses.bad_request(
            f'{prefix}no kind "{kind}" is registered for version "{version}" in this server'
        )
    if version != resource.api_version and kind == resource.kind:
        raise statuses.bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    raise statuses.bad_request(
        f"{prefix}converting ({short}.{kind}) to ({resource.version}.{resource.kind}): "
        "unknown conversion"
    )


def _check_custom_kind(resource: Resource, value: Json) -> None:
    for name, shown in (("kind", "Kind"), ("apiVersion", "apiVersion")):
        if not value.get(name):
            raise statuses.bad_request(f"Object '{shown}' is missing in '{json_text(value)}'")
    if value["apiVersion"] != resource.api_version:
        raise statuses.bad_request(
            f"the API version in the data ({value['apiVersion']}) does not match the expected API "
            f"version ({resource.api_version})"
        )
    if value["kind"] != resource.kind:
        problem = invalid("kind", value["kind"], f"must be {resource.kind}")
        raise statuses.invalid(resource, str(struct(value, "metadata").get("name", "")), [problem])


def _go_kind(value: object) -> str:
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else type(value).__name__
