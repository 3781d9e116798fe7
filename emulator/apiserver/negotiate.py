"""Pure: which form of an answer the Accept header asks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from podwire.emulator.apiserver import statuses

Shape = Literal["object", "table", "metadata"]
Include = Literal["Metadata", "None", "Object"]

_JSON_TYPES = ("application/json", "application/*", "*/*")
_SHAPES: dict[str, Shape] = {
    "Table": "table",
    "PartialObjectMetadata": "metadata",
    "PartialObjectMetadataList": "metadata",
}
_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Form:
    """How to write an answer; *include* says what a table's rows carry of their objects."""

    shape: Shape = "object"
    yaml: bool = False
    include: Include = "Metadata"

    @property
    def content_type(self) -> str:
        """Return the Content-Type of an answer in this form."""
        return "application/yaml" if self.yaml else "application/json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One alternative of an Accept header."""

    type: str
    parameters: dict[str, str]


PLAIN = Form()


def entries(accept: str) -> Iterator[Entry]:
    """Yield the alternatives in the client's order."""
    for text in accept.split(","):
        type_, *parameters = (part.strip() for part in text.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield Entry(type_.lower(), {name: value for name, _, value in pairs})


# The same few clients ask all the time, each with one long header.
@lru_cache(maxsize=64)
def form_of(accept: str, include_object: str = "") -> Form:
    """Return the first form that can be served; raises Refused (406) if there is none."""
    include: Include = "Metadata"
    if include_object == "None":
        include = "None"
    elif include_object == "Object":
        include = "Object"
    elif include_object not in ("", "Metadata"):
        raise statuses.bad_request(
            f'unrecognized includeObject value: "{include_object}": '
            "must be None, Metadata or Object"
        )
    if not accept:
        return Form(include=include)
    for entry in entries(accept):
        shape = _shape(entry)
        if shape is None:
            continue
        if entry.type in _JSON_TYPES:
            return Form(shape, include=include)
        if entry.type == "application/yaml" and shape == "object":
            return Form(yaml=True)
    # A client of protobuf alone gets JSON: it says so in Content-Type, and every client seen reads
    # both. Other types are refused.
    if any(entry.type == "application/vnd.kubernetes.protobuf" for entry in entries(accept)):
        return Form(include=include)
    raise statuses.not_acceptable()


def _shape(entry: Entry) -> Shape | None:
    asked = entry.parameters.get("as", "")
    if not asked:
        return "object"
    if entry.parameters.get("g") != "meta.k8s.io" or entry.parameters.get("v") not in _VERSIONS:
        return None
    return _SHAPES.get(asked)
