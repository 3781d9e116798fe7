"""Pure: the Status objects by which the API server says no, in Kubernetes' exact words."""

from collections.abc import Sequence
from typing import Any, Protocol

from podwire.emulator.apiserver.resources import Resource

Json = dict[str, Any]


class Refused(Exception):
    """A request that is answered with *status*; carries the HTTP code too."""

    def __init__(self, code: int, status: Json) -> None:
        super().__init__(str(status.get("message", "")))
        self.code = code
        self.status = status


class FieldProblem(Protocol):
    """One broken rule of one field, as validation reports it."""

    @property
    def field(self) -> str:
        """Return the path, such as `spec.ports[0].port`."""
        ...

    @property
    def reason(self) -> str:
        """Return the machine's word, such as FieldValueInvalid."""
        ...

    @property
    def message(self) -> str:
        """Return the sentence, such as `Required value`."""
        ...


def refused(
    code: int,
    reason: str,
    message: str,
    *,
    details: Json | None = None,
    causes: Sequence[Json] = (),
) -> Refused:
    """Return the error with HTTP *code*; details are left out when there is nothing in them."""
    status: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
    }
    if reason:
        status["reason"] = reason
    inside = dict(details or {})
    if causes:
        inside["causes"] = list(causes)
    if inside or details is not None:
        status["details"] = inside
    status["code"] = code
    return Refused(code, status)


def success(resource: Resource, name: str, uid: str) -> Json:
    """Return the answer to a deletion that happened at once."""
    details: Json = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details |= {"kind": resource.plural, "uid": uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def done(code: int) -> Json:
    """Return the answer of a subresource that has nothing to show (binding, eviction)."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": code,
    }


def not_found(resource: Resource, name: str) -> Refused:
    """404 for an object."""
    message = f'{resource.qualified} "{name}" not found'
    return refused(404, "NotFound", message, details=_of(resource, name))


def namespace_not_found(name: str) -> Refused:
    """404 for the namespace of an object that was to be created."""
    details = {"name": name, "kind": "namespaces"}
    return refused(404, "NotFound", f'namespaces "{name}" not found', details=details)


def already_exists(resource: Resource, name: str) -> Refused:
    """409 for a name that is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return refused(409, "AlreadyExists", message, details=_of(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> Refused:
    """409 for a write that was based on an older revision, or for another reason *why*."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and "
        "try again"
    )
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return refused(409, "Conflict", message, details=_of(resource, name))


def precondition_failed(
    resource: Resource, name: str, what: str, asked: str, found: str
) -> Refused:
    """409 for a uid or resourceVersion that a deletion insisted on (*what*: its name)."""
    tail = (
        "The object might have been deleted and then recreated"
        if what == "UID"
        else "The object might have been modified"
    )
    message = (
        f'Operation cannot be fulfilled on {resource.kind} "{name}": the {what} in the '
        f"precondition ({asked}) does not match the {what} in record ({found}). {tail}"
    )
    details = {"name": name, "kind": resource.kind}
    return refused(409, "Conflict", message, details=details)


def invalid(resource: Resource, name: str, problems: Sequence[FieldProblem]) -> Refused:
    """422 with every broken rule as a cause."""
    lines = [f"{problem.field}: {problem.message}" for problem in problems]
    text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details: Json = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind
    causes = [{"reason": p.reason, "message": p.message, "field": p.field} for p in problems]
    message = f'{kind} "{name}" is invalid: {text}'
    return refused(422, "Invalid", message, details=details, causes=causes)


_OPTIONS = {"create": "Create", "update": "Update", "patch": "Patch"}


def invalid_options(verb: str, problems: Sequence[FieldProblem]) -> Refused:
    """422 for query parameters, which the real server takes for the fields of an object."""
    kind = f"{_OPTIONS.get(verb, 'Delete')}Options"
    refusal = invalid(Resource("meta.k8s.io", "v1", "", "", kind), "", problems)
    del refusal.status["details"]["name"]
    return refusal


def invalid_patch(value: str, why: str) -> Refused:
    """422 for a patch whose result is not an object of the kind."""
    message = f'Invalid value: "{value}": {why}'
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]
    return refused(422, "Invalid", f' "" is invalid: patch: {message}', details={}, causes=causes)


def forbidden(resource: Resource, name: str, why: str, *, causes: Sequence[Json] = ()) -> Refused:
    """403 for what may never, or not now, be done to an object."""
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return refused(403, "Forbidden", message, details=_of(resource, name), causes=causes)


def bad_request(message: str) -> Refused:
    """400 for a request that cannot be read."""
    return refused(400, "BadRequest", message)


def unauthorized() -> Refused:
    """401 for a client that did not say who it is."""
    return refused(401, "Unauthorized", "Unauthorized")


def no_such_path() -> Refused:
    """404 for a version, kind or subresource that is not served."""
    message = "the server could not find the requested resource"
    return refused(404, "NotFound", message, details={})


def wrong_method(why: str = "") -> Refused:
    """405 for a verb that the path does not have; *why* says what to do instead."""
    message = "the server does not allow this method on the requested resource"
    message += f": {why}" if why else ""
    return refused(405, "MethodNotAllowed", message, details={})


def ending(resource: Resource, verb: str) -> Refused:
    """405 for a new object of a kind whose definition is being deleted."""
    message = f"{verb} not allowed while custom resource definition is terminating"
    details = {"group": resource.group, "kind": resource.plural}
    return refused(405, "MethodNotAllowed", message, details=details)


def too_large(what: str) -> Refused:
    """413 for a body, or a patch, of more than is allowed."""
    return refused(413, "RequestEntityTooLarge", f"Request entity too large: {what}")


def unsupported_media_type(message: str) -> Refused:
    """415 for a body in a format that is not read here."""
    return refused(415, "UnsupportedMediaType", message)


def not_acceptable() -> Refused:
    """406 for an Accept header of which nothing can be served."""
    message = (
        "only the following media types are accepted: application/json, application/yaml, "
        "application/json;as=Table;v=v1;g=meta.k8s.io"
    )
    return refused(406, "NotAcceptable", message)


def expired(message: str) -> Refused:
    """410 for a revision that is no longer remembered."""
    return refused(410, "Expired", message)


def too_large_version(asked: int, current: int) -> Refused:
    """504 for a revision that does not exist yet; the client is asked to come again."""
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details = {"retryAfterSeconds": 1}
    return refused(504, "Timeout", message, details=details, causes=[cause])


def timeout() -> Refused:
    """504 for a request that does not come to its end."""
    return refused(
        504, "Timeout", "Timeout: request did not complete within the allotted timeout", details={}
    )


def too_many_requests() -> Refused:
    """429 while there is no room for another answer; the client is asked to come again."""
    message = "Too many requests, please try again later."
    return refused(429, "TooManyRequests", message, details={"retryAfterSeconds": 1})


def internal(message: str) -> Refused:
    """500 with the words that Kubernetes puts before such a message."""
    causes = [{"message": message}]
    text = f"Internal error occurred: {message}"
    return refused(500, "InternalError", text, details={}, causes=causes)


def _of(resource: Resource, name: str) -> Json:
    details: Json = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details
