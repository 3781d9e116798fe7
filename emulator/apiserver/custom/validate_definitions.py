"""Pure: rules for CustomResourceDefinitions, apart from those for their schemas.

Source: apiextensions-apiserver's pkg/apis/apiextensions/validation/validation.go.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from podwire.emulator.apiserver.admission import field_errors as fields
from podwire.emulator.apiserver.admission.field_errors import FieldError
from podwire.emulator.apiserver.custom import crd, validate_schemas
from podwire.emulator.apiserver.custom.structural import Node
from podwire.emulator.apiserver.types.fields import below, many, struct, text
from podwire.kube import syntax

Json = dict[str, Any]

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = (
    "byte", "date", "date-time", "double", "float", "int32", "int64", "password",
)  # fmt: skip
_REVIEW_VERSIONS = ("v1", "v1beta1")
_MOST_SELECTABLE = 8
_LONGEST_WARNING = 256


def definition(obj: Json, old: Json | None) -> list[FieldError]:
    """Return what is wrong with a defaulted definition; *old* is what it replaces."""
    spec = struct(obj, "spec")
    names = struct(spec, "names")
    name = f"{text(names, 'plural')}.{text(spec, 'group')}"
    problems: list[FieldError] = []
    if text(struct(obj, "metadata"), "name") != name:
        message = 'must be spec.names.plural+"."+spec.group'
        problems.append(fields.invalid("metadata.name", obj["metadata"].get("name", ""), message))
    problems += _spec(spec)
    if old is not None:
        problems += _unchanged(
            spec, struct(old, "spec"), established=crd.is_true(old, "Established")
        )
    problems += _stored(many(struct(obj, "status"), "storedVersions"), many(spec, "versions"))
    return problems + list(_approval(obj, old))


def _spec(spec: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    group = text(spec, "group")
    if not group:
        problems.append(fields.required("spec.group"))
    elif wrong := syntax.subdomain(group):
        problems.append(fields.invalid("spec.group", group, ",".join(wrong)))
    elif "." not in group:
        message = "should be a domain with at least one dot"
        problems.append(fields.invalid("spec.group", group, message))
    scope = text(spec, "scope")
    if not scope:
        problems.append(fields.required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        problems.append(fields.not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    versions: list[Json] = many(spec, "versions")
    for index, version in enumerate(versions):
        if not below(version, "schema", "openAPIV3Schema"):
            field = f"spec.versions[{index}].schema.openAPIV3Schema"
            problems.append(fields.required(field, "schemas are required"))
    for index, version in enumerate(versions):
        problems += _version(version, f"spec.versions[{index}]")
    called = [text(version, "name") for version in versions]
    if len(set(called)) < len(called):
        message = "must contain unique version names"
        problems.append(fields.invalid("spec.versions", versions, message))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        message = "must have exactly one version marked as storage version"
        problems.append(fields.invalid("spec.versions", versions, message))
    return [*problems, *_names(struct(spec, "names")), *_conversion(spec)]


def _version(version: Json, path: str) -> Iterator[FieldError]:
    name = text(version, "name")
    if wrong := syntax.label_1035(name):
        yield fields.invalid(f"{path}.name", name, ",".join(wrong))
    yield from _warning(version, f"{path}.deprecationWarning")
    subresources = struct(version, "subresources")
    schema = below(version, "schema", "openAPIV3Schema")
    if schema:
        has_status = subresources.get("status") is not None
        yield from validate_schemas.schema(
            schema, f"{path}.schema.openAPIV3Schema", status=has_status
        )
    if subresources.get("scale") is not None:
        yield from _scale(struct(subresources, "scale"), f"{path}.subresources.scale")
    for index, column in enumerate(many(version, "additionalPrinterColumns")):
        yield from _column(column, f"{path}.additionalPrinterColumns[{index}]")
    selectable = [text(entry, "jsonPath") for entry in many(version, "selectableFields")]
    yield from _selectable(selectable, Node(schema), f"{path}.selectableFields")


def _warning(version: Json, path: str) -> Iterator[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    if not version.get("deprecated"):
        yield fields.invalid(path, warning, "can only be set for deprecated versions")
    if len(warning.encode()) > _LONGEST_WARNING:
        yield fields.invalid(path, warning, "must be <= 256 characters long")
    if not warning:
        yield fields.invalid(path, warning, "must not be an empty string")
    for index, sign in enumerate(warning):
        if not sign.isprintable():
            text_ = "must only contain printable UTF-8 characters; non-printable character found at"
            yield fields.invalid(path, warning, f"{text_} index {index}")
            return


def _scale(scale: Json, path: str) -> Iterator[FieldError]:
    for name, root in (("specReplicasPath", "spec"), ("statusReplicasPath", "status")):
        value = text(scale, name)
        if not value:
            yield fields.required(f"{path}.{name}")
        elif not value.startswith("."):
            yield _no_path(f"{path}.{name}", value)
        elif not value.startswith(f".{root}."):
            yield fields.invalid(f"{path}.{name}", value, f"should be a json path under .{root}")
    selector = text(scale, "labelSelectorPath")
    field = f"{path}.labelSelectorPath"
    if selector and not selector.startswith("."):
        yield _no_path(field, selector)
    elif selector and not selector.startswith((".spec.", ".status.")):
        message = "should be a json path under either .spec or .status"
        yield fields.invalid(field, selector, message)


def _no_path(field: str, value: str) -> FieldError:
    return fields.invalid(field, value, "must be a simple json path starting with .")


def _column(column: Json, path: str) -> Iterator[FieldError]:
    if not column.get("name"):
        yield fields.required(f"{path}.name")
    kind, form, where = text(column, "type"), text(column, "format"), text(column, "jsonPath")
    types = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not kind:
        yield fields.required(f"{path}.type", types)
    elif kind not in _COLUMN_TYPES:
        yield fields.invalid(f"{path}.type", kind, types)
    if form and form not in _COLUMN_FORMATS:
        message = f"must be one of {','.join(_COLUMN_FORMATS)}"
        yield fields.invalid(f"{path}.format", form, message)
    if not where:
        yield fields.required(f"{path}.JSONPath")
    elif not where.startswith("."):
        yield _no_path(f"{path}.JSONPath", where)


def _selectable(paths: list[str], schema: Node, field: str) -> Iterator[FieldError]:
    for index, path in enumerate(paths):
        where = f"{field}[{index}].jsonPath"
        if not path:
            yield fields.required(where)
            continue
        steps = path.removeprefix(".").split(".")
        found = schema.at(*steps)
        if not path.startswith(".") or found is None:
            yield fields.invalid(where, path, "is an invalid path: does not refer to a valid field")
        elif steps[0] == "metadata":
            yield fields.invalid(where, path, "must not point to fields in metadata")
        elif found.type not in ("string", "boolean", "integer"):
            message = (
                "must point to a field of type string, boolean or integer. Enum string fields and "
                "strings with formats are allowed."
            )
            yield fields.invalid(where, path, message)
        if path in paths[:index]:
            yield fields.duplicate(where, path)
    if len(set(paths)) > _MOST_SELECTABLE:
        yield fields.too_many(field, len(set(paths)), _MOST_SELECTABLE)


def _names(names: Json) -> Iterator[FieldError]:
    path = "spec.names"
    for name in ("plural", "singular", "kind", "listKind"):
        if not names.get(name):
            yield fields.required(f"{path}.{name}")
    for name, prefix in (
        ("plural", ""),
        ("singular", ""),
        ("kind", "may have mixed case, but should otherwise match: "),
        ("listKind", "may have mixed case, but should otherwise match: "),
    ):
        value = text(names, name)
        wrong = syntax.label_1035(value.lower() if prefix else value)
        if value and wrong:
            yield fields.invalid(f"{path}.{name}", value, prefix + ",".join(wrong))
    for name in ("shortNames", "categories"):
        for index, value in enumerate(many(names, name)):
            if wrong := syntax.label_1035(value):
                yield fields.invalid(f"{path}.{name}[{index}]", value, ",".join(wrong))
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        message = "kind and listKind may not be the same"
        yield fields.invalid(f"{path}.listKind", names["listKind"], message)


def _conversion(spec: Json) -> Iterator[FieldError]:
    conversion = struct(spec, "conversion")
    strategy = text(conversion, "strategy")
    path = "spec.conversion"
    webhook = struct(conversion, "webhook")
    if strategy not in ("None", "Webhook"):
        yield fields.not_supported(f"{path}.strategy", strategy, ("None", "Webhook"))
    elif strategy == "None":
        if webhook:
            message = "should not be set when strategy is not set to Webhook"
            yield fields.forbidden(f"{path}.webhookClientConfig", message)
    else:
        client = struct(webhook, "clientConfig")
        if not client:
            message = "required when strategy is set to Webhook"
            yield fields.required(f"{path}.webhookClientConfig", message)
        elif bool(client.get("url")) == bool(client.get("service")):
            message = "exactly one of url or service is required"
            yield fields.required(f"{path}.webhookClientConfig", message)
        given = many(webhook, "conversionReviewVersions")
        if not given:
            yield fields.required(f"{path}.conversionReviewVersions")
        elif not set(given) & set(_REVIEW_VERSIONS):
            message = f"must include at least one of {', '.join(_REVIEW_VERSIONS)}"
            yield fields.invalid(f"{path}.conversionReviewVersions", given, message)
    if spec.get("preserveUnknownFields"):
        message = "must be false"
        yield fields.invalid("spec.preserveUnknownFields", value=True, detail=message)


def _unchanged(spec: Json, old: Json, *, established: bool) -> Iterator[FieldError]:
    now: Mapping[str, Any] = struct(spec, "names")
    was: Mapping[str, Any] = struct(old, "names")
    pairs = [("spec.group", spec.get("group"), old.get("group")),
             ("spec.names.plural", now.get("plural"), was.get("plural"))]  # fmt: skip
    if established:
        pairs = [("spec.scope", spec.get("scope"), old.get("scope")),
                 ("spec.names.kind", now.get("kind"), was.get("kind")), *pairs]  # fmt: skip
    for field, value, before in pairs:
        if value != before:
            yield fields.invalid(field, value, "field is immutable")


def _stored(stored: list[str], versions: list[Json]) -> Iterator[FieldError]:
    named = [text(version, "name") for version in versions]
    for index, name in enumerate(stored):
        if name not in named:
            message = "must appear in spec.versions"
            yield fields.invalid(f"status.storedVersions[{index}]", name, message)


def _approval(obj: Json, old: Json | None) -> Iterator[FieldError]:
    if not crd.is_protected(text(struct(obj, "spec"), "group")):
        return
    state, why = crd.approval(obj)
    if old is not None and crd.approval(old) == (state, why):
        return
    field = f"metadata.annotations[{crd.APPROVED}]"
    if state == "Missing":
        yield fields.required(field, why)
    elif state == "Invalid":
        value = below(obj, "metadata", "annotations").get(crd.APPROVED)
        yield fields.invalid(field, value, why)
