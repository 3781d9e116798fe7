"""Pure: the paths of a kind as OpenAPI has them: every verb, its parameters, bodies and answers."""

from collections.abc import Iterator
from typing import Any

from podwire.emulator.apiserver.documents.openapi_schemas import (
    PATCH,
    gvk,
    name_of,
    of_kind,
    reference,
)
from podwire.emulator.apiserver.resources import Resource, Subresource

Json = dict[str, Any]

_JSON_PATCH = ("application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_ANSWERS = ("application/json", "application/yaml")
_WORDS = {
    "string": {"type": "string", "uniqueItems": True},
    "boolean": {"type": "boolean", "uniqueItems": True},
    "integer": {"type": "integer", "uniqueItems": True},
}
PARAMETERS: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Ask for events that only say how far the watch is."),
    "command": ("string", "The command to run, one parameter for each word."),
    "container": ("string", "Which container; the only one may be left out."),
    "continue": ("string", "Where the next piece of a list begins, as the last one said."),
    "dryRun": ("string", "All: do everything but store it."),
    "fieldManager": ("string", "The name under which changed fields are owned."),
    "fieldSelector": ("string", "Choose objects by their fields."),
    "fieldValidation": ("string", "What to do about unknown fields: Strict, Warn or Ignore."),
    "follow": ("boolean", "Go on with what is written from now on."),
    "force": ("boolean", "Take fields over from their owners."),
    "gracePeriodSeconds": ("integer", "How long the object may take to end."),
    "labelSelector": ("string", "Choose objects by their labels."),
    "limit": ("integer", "The most objects that one answer may have."),
    "limitBytes": ("integer", "The most bytes that the answer may have."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "path": ("string", "The path behind the proxy."),
    "ports": ("integer", "The ports to forward."),
    "pretty": ("string", "Accepted; answers are always compact."),
    "previous": ("boolean", "The log of the container that ran before."),
    "propagationPolicy": ("string", "What becomes of dependents: Orphan, Background, Foreground."),
    "resourceVersion": ("string", "Which state is meant."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Begin a watch with what there is."),
    "sinceSeconds": ("integer", "Only what is younger."),
    "sinceTime": ("string", "Only what is younger."),
    "stderr": ("boolean", "Pass the standard error on."),
    "stdin": ("boolean", "Pass the standard input on."),
    "stdout": ("boolean", "Pass the standard output on."),
    "tailLines": ("integer", "Only as many lines at the end."),
    "timeoutSeconds": ("integer", "When the request shall end."),
    "timestamps": ("boolean", "With the time of each line."),
    "tty": ("boolean", "Give the command a terminal."),
    "watch": ("boolean", "Tell of changes as they come."),
}
"""Every query parameter: its type and what it is for."""

_LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit",
    "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_STREAM = ("command", "container", "stderr", "stdin", "stdout", "tty")
_QUERIES: dict[str, tuple[str, ...]] = {
    "attach": _STREAM[1:],
    "exec": _STREAM,
    "log": ("container", "follow", "limitBytes", "previous", "sinceSeconds", "sinceTime",
            "tailLines", "timestamps"),
    "portforward": ("ports",),
    "proxy": ("path",),
}  # fmt: skip
_METHODS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_ACTIONS = {"get": "read", "create": "create", "update": "replace", "patch": "patch",
            "delete": "delete"}  # fmt: skip


def shared_parameters() -> Json:
    """Return what `components.parameters` has: the parameters that operations refer to."""
    return {name: _query(name) for name in PARAMETERS}


def paths(base: str, resource: Resource) -> Iterator[tuple[str, Json]]:
    """Yield the paths of *resource* below *base* (`/apis/apps/v1`), each with its operations."""
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{base}{scope}/{resource.plural}"
    verbs = resource.verbs
    if resource.namespaced and "list" in verbs:
        across: Json = {"get": _list(resource, "ForAllNamespaces")}
        yield f"{base}/{resource.plural}", across
    here: Json = {}
    if "list" in verbs:
        here["get"] = _list(resource)
    if "create" in verbs:
        here["post"] = _operation("create", resource, _WRITE, body=name_of(resource))
    if "deletecollection" in verbs:
        here["delete"] = _delete(resource, "deletecollection")
    if here:
        yield collection, _with(here, resource.namespaced)
    one = {_METHODS[v]: _one(v, resource) for v in ("get", "update", "patch", "delete")
           if v in verbs}  # fmt: skip
    if one:
        yield f"{collection}/{{name}}", _with(one, resource.namespaced, name=resource.kind)
    for below in resource.subresources:
        operations = {_METHODS[verb]: _below(verb, resource, below) for verb in below.verbs}
        where = f"{collection}/{{name}}/{below.name}"
        yield where, _with(operations, resource.namespaced, name=resource.kind)


def _with(operations: Json, namespaced: bool, *, name: str = "") -> Json:  # noqa: FBT001
    shared: list[Json] = []
    if name:
        shared.append(_in_path("name", f"name of the {name}"))
    if namespaced:
        text = "object name and auth scope, such as for teams and projects"
        shared.append(_in_path("namespace", text))
    return {**operations, "parameters": [*shared, _refer("pretty")]}


def _list(resource: Resource, suffix: str = "") -> Json:
    text = f"list or watch objects of kind {resource.kind}"
    entry = _described("list", resource, text, suffix=suffix, action="list")
    entry["parameters"] = [_refer(name) for name in _LIST]
    entry["responses"] = _responses(name_of(resource, many=True))
    if suffix:
        entry["parameters"].append(_refer("pretty"))
    return entry


def _one(verb: str, resource: Resource) -> Json:
    match verb:
        case "delete":
            return _delete(resource, "delete")
        case "patch":
            return _patch(resource, bool(resource.custom), name_of(resource))
        case "update":
            return _operation("update", resource, _WRITE, body=name_of(resource))
        case _:
            return _operation("get", resource, ())


def _delete(resource: Resource, action: str) -> Json:
    collection = action == "deletecollection"
    text = f"delete collection of {resource.kind}" if collection else f"delete {_a(resource.kind)}"
    verb = "deleteCollection" if collection else "delete"
    entry = _described(verb, resource, text, action=action)
    query = (*_DELETE, *(name for name in _LIST if name != "watch")) if collection else _DELETE
    entry["parameters"] = [_refer(name) for name in query]
    options = of_kind("", "v1", "DeleteOptions")
    entry["requestBody"] = {"content": {"*/*": {"schema": reference(options)}}}
    status = of_kind("", "v1", "Status")
    answer = status if collection or resource.kind != "Pod" else name_of(resource)
    entry["responses"] = _responses(answer, *(() if collection else ("202",)))
    return entry


def _patch(resource: Resource, custom: bool, schema: str, sub: str = "") -> Json:  # noqa: FBT001
    text = f"partially update {sub + ' of ' if sub else ''}the specified {resource.kind}"
    entry = _described("patch", resource, text, suffix=sub.capitalize(), action="patch")
    # Not by reference: kubectl looks for the name `fieldValidation` in a PATCH.
    entry["parameters"] = [_query(name) for name in (*_WRITE, "force")]
    types = (*_JSON_PATCH, *(() if custom else (_STRATEGIC,)), _APPLY)
    body = {type_: {"schema": reference(PATCH)} for type_ in types}
    entry["requestBody"] = {"content": body, "required": True}
    entry["responses"] = _responses(schema, "201")
    return entry


def _below(verb: str, resource: Resource, below: Subresource) -> Json:
    schema = _schema_below(resource, below)
    connects = below.name in _QUERIES and below.name != "log"
    if verb == "patch" and not connects:
        entry = _patch(resource, bool(resource.custom), schema, below.name)
    else:
        action = "connect" if connects else _ACTIONS[verb]
        verbal = f"{verb} {below.name} of" if connects else f"{_ACTIONS[verb]} {below.name} of"
        word = f"connect{verb.capitalize()}" if connects else _ACTIONS[verb]
        suffix = below.name.capitalize()
        text = f"{verbal} {_a(resource.kind)}"
        entry = _described(word, resource, text, suffix=suffix, action=_METHODS[verb])
        query = _QUERIES.get(below.name, () if verb == "get" else _WRITE)
        entry["parameters"] = [_refer(name) for name in query]
        if action == "connect":
            entry["x-kubernetes-action"] = "connect"
        if verb in ("create", "update") and schema and not connects:
            entry["requestBody"] = _body(schema)
        entry["responses"] = _plain() if connects or below.name == "log" else _responses(
            schema, *({"create": ("201", "202"), "update": ("201",)}.get(verb, ()))
        )  # fmt: skip
    entry["x-kubernetes-group-version-kind"] = {
        "group": below.group or (resource.group if below.kind == resource.kind else ""),
        "version": below.version,
        "kind": below.kind,
    }
    return entry


def _schema_below(resource: Resource, below: Subresource) -> str:
    if below.kind == resource.kind:
        return name_of(resource)
    return of_kind(below.group, below.version, below.kind)


def _operation(verb: str, resource: Resource, query: tuple[str, ...], *, body: str = "") -> Json:
    word = _ACTIONS[verb]
    about = _a(resource.kind) if verb == "create" else f"the specified {resource.kind}"
    entry = _described(word, resource, f"{word} {about}", action=_METHODS[verb])
    entry["parameters"] = [_refer(name) for name in query]
    if body:
        entry["requestBody"] = _body(body)
    more = {"create": ("201", "202"), "update": ("201",)}.get(verb, ())
    entry["responses"] = _responses(name_of(resource), *more)
    return entry


def _described(word: str, resource: Resource, text: str, *, suffix: str = "", action: str) -> Json:
    group = resource.group.removesuffix(".k8s.io").replace(".", " ").replace("-", " ")
    called = "".join(part.capitalize() for part in (group or "core").split())
    scope = "Namespaced" if resource.namespaced and suffix != "ForAllNamespaces" else ""
    version = resource.version.capitalize()
    return {
        "description": text,
        "operationId": f"{word}{called}{version}{scope}{resource.kind}{suffix}",
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(resource),
    }


def _body(schema: str) -> Json:
    return {"content": {"*/*": {"schema": reference(schema)}}, "required": True}


def _responses(schema: str, *more: str) -> Json:
    content = {type_: {"schema": reference(schema)} for type_ in _ANSWERS} if schema else {}
    words = {"200": "OK", "201": "Created", "202": "Accepted"}
    answers: Json = {
        code: {"description": words[code], "content": content} for code in ("200", *more)
    }
    return {**answers, "401": {"description": "Unauthorized"}}


def _plain() -> Json:
    text = {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}
    return {"200": text, "401": {"description": "Unauthorized"}}


def _query(name: str) -> Json:
    type_, text = PARAMETERS[name]
    return {"name": name, "in": "query", "description": text, "schema": _WORDS[type_]}


def _refer(name: str) -> Json:
    return {"$ref": f"#/components/parameters/{name}"}


def _in_path(name: str, text: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "description": text,
        "required": True,
        "schema": _WORDS["string"],
    }


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
