"""Pure: what a client sent, as an object of the kind that the path names."""

from typing import Any, cast

import msgspec

from podwire.emulator.apiserver import protobuf, statuses, versions
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.normalise import TypeMismatch, normalise
from podwire.emulator.apiserver.protobuf import ProtobufError
from podwire.emulator.apiserver.request import Body, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.errors import ConfigError
from podwire.kube import documents

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
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise statuses.bad_request(f"the body of the request is not JSON: {error}") from error


def json_text(value: Any) -> str:
    """Return *value* as JSON text, for messages that show it."""
    return msgspec.json.encode(value).decode()


def read_yaml(content: bytes) -> Any:
    """Return the one YAML document of a body; raises Refused (400)."""
    try:
        found = documents.read(content.decode(), "body")
    except (ConfigError, UnicodeDecodeError) as error:
        raise statuses.bad_request(f"the body of the request is not YAML: {error}") from error
    if len(found) != 1:
        raise statuses.bad_request(f"the body has {len(found)} YAML documents; one is needed")
    return found[0].value


def as_object(request: Request, value: Json) -> tuple[Json, tuple[str, ...]]:
    """Return *value* as a well-formed object of the request's kind, and warnings.

    Fills in kind and apiVersion, drops what the kind does not have, and raises Refused (400) for
    another kind, for a wrong type, and for unknown fields when the client asked to be strict.
    """
    resource = request.resource
    _check_kind(resource, value)
    prefix = (
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    )
    try:
        read = normalise(value, resource.api_version, resource.kind)
    except TypeMismatch as error:
        raise statuses.bad_request(prefix + str(error)) from error
    asked = directive(request)
    if read.unknown and asked == "Strict":
        raise statuses.bad_request(f"{prefix}strict decoding error: {', '.join(read.unknown)}")
    warnings = tuple(read.unknown) if asked == "Warn" else ()
    return versions.to_stored(read.object, resource), warnings


def directive(request: Request) -> str:
    """Return Strict, Warn (the default) or Ignore; raises Refused for other words."""
    asked = request.option("fieldValidation") or "Warn"
    if asked not in ("Strict", "Warn", "Ignore"):
        raise statuses.bad_request(
            f'fieldValidation: Unsupported value: "{asked}": '
            'supported values: "", "Ignore", "Strict", "Warn"'
        )
    return asked


def _check_kind(resource: Resource, value: Json) -> None:
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


def _go_kind(value: object) -> str:
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else type(value).__name__
