"""Pure: OpenAPI version 3 as one document of version 2 (Swagger), for who reads only that."""

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

_PRODUCES = ["application/json", "application/yaml"]
_SCHEMAS = "#/components/schemas/"
_PARAMETERS = "#/components/parameters/"


def swagger(documents: Iterable[Json], info: Json) -> Json:
    """Return one document with the paths and definitions of all *documents*."""
    paths: Json = {}
    definitions: Json = {}
    parameters: Json = {}
    for document in documents:
        components = document["components"]
        for name, entry in components.get("schemas", {}).items():
            if name not in definitions:
                definitions[name] = _schema(entry)
        for name, entry in components.get("parameters", {}).items():
            parameters.setdefault(name, _parameter(entry))
        for path, operations in document["paths"].items():
            paths[path] = {
                name: _parameters(entry) if name == "parameters" else _operation(entry)
                for name, entry in operations.items()
            }
    return {
        "swagger": "2.0",
        "info": info,
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
        "parameters": parameters,
        "securityDefinitions": {
            "BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}
        },
        "security": [{"BearerToken": []}],
    }


def _operation(entry: Json) -> Json:
    made = {name: value for name, value in entry.items() if name not in ("requestBody",)}
    made["parameters"] = _parameters(entry.get("parameters", []))
    made["produces"] = _PRODUCES
    body = entry.get("requestBody")
    if body:
        content: Json = body["content"]
        made["consumes"] = list(content)
        made["parameters"].append(
            {
                "name": "body",
                "in": "body",
                "required": bool(body.get("required")),
                "schema": _schema(next(iter(content.values()))["schema"]),
            }
        )
    made["responses"] = {code: _response(answer) for code, answer in entry["responses"].items()}
    return made


def _response(entry: Json) -> Json:
    content: Json = entry.get("content") or {}
    schema = next((value["schema"] for value in content.values() if "schema" in value), None)
    made: Json = {"description": entry["description"]}
    if schema is not None:
        made["schema"] = _schema(schema)
    return made


def _parameters(entries: list[Json]) -> list[Json]:
    return [_parameter(entry) for entry in entries]


def _parameter(entry: Json) -> Json:
    if "$ref" in entry:
        return {"$ref": entry["$ref"].replace(_PARAMETERS, "#/parameters/")}
    rest = {name: value for name, value in entry.items() if name != "schema"}
    return {**rest, **entry["schema"]}


def _schema(entry: Any, *, named: bool = False) -> Any:
    """Return a schema in version 2; *named*: the members are properties with names of their own."""
    if isinstance(entry, list):
        return [_schema(one) for one in entry]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(entry, dict):
        return entry
    given: Json = entry  # pyright: ignore[reportUnknownVariableType]
    if named:
        return {name: _schema(one) for name, one in given.items()}
    if isinstance(given.get("$ref"), str):
        return {"$ref": given["$ref"].replace(_SCHEMAS, "#/definitions/")}
    made: Json = {}
    for name, value in given.items():
        match name:
            case "oneOf" | "anyOf" | "not" | "nullable":
                if name == "oneOf" and "type" not in given:
                    made["type"] = "string"  # IntOrString, Quantity: version 2 has one type
            case "allOf" if len(value) == 1 and "$ref" in value[0]:
                made |= _schema(value[0])
            case "properties":
                made[name] = _schema(value, named=True)
            case "default" | "enum" | "example":
                made[name] = value
            case _:
                made[name] = _schema(value)
    return made
