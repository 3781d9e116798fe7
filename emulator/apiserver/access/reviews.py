"""Pure: the reviews by which a client asks who somebody is and what they may do.

Source: pkg/registry/authentication, pkg/registry/authorization and their validation packages.
"""

from collections.abc import Callable
from typing import Any

from podwire.emulator.apiserver import bodies, statuses
from podwire.emulator.apiserver.access import authn, tokens
from podwire.emulator.apiserver.access.rbac import Asked
from podwire.emulator.apiserver.access.tokens import Refusal
from podwire.emulator.apiserver.admission.field_errors import FieldError, Unquoted, invalid, quoted
from podwire.emulator.apiserver.request import Api, Plain, Request, User
from podwire.emulator.apiserver.types.fields import many, struct, text
from podwire.kube.times import rfc3339

Json = dict[str, Any]


def review(api: Api, request: Request) -> Plain:
    """Answer a review: the object that was sent, with a status."""
    obj, warnings = bodies.as_object(request, bodies.read(request.body))
    obj["status"] = _VERDICTS[request.resource.kind](api, request, obj)
    return Plain(obj, 201, warnings)


def _who(api: Api, request: Request, obj: Json) -> Json:
    del api
    obj["metadata"] = {"creationTimestamp": rfc3339(request.now)}
    return {"userInfo": _info(request.user)}


def _token(api: Api, request: Request, obj: Json) -> Json:
    spec = struct(obj, "spec")
    token = text(spec, "token")
    if not token:
        raise statuses.bad_request("token is required for TokenReview in authentication")
    audiences = tuple(many(spec, "audiences")) or tokens.AUDIENCES
    found = authn.of_token(token, api, request.now, audiences)
    if isinstance(found, Refusal):
        error = (
            f"[invalid bearer token, {found.reason}]" if found.reason else "invalid bearer token"
        )
        return {"user": {}, "error": error}
    meant = authn.audiences_of(token, api)
    status: Json = {"authenticated": True, "user": _info(found)}
    return status | {"audiences": [one for one in meant if one in audiences]}


def _access(api: Api, request: Request, obj: Json) -> Json:
    spec = struct(obj, "spec")
    about, path = struct(spec, "resourceAttributes"), struct(spec, "nonResourceAttributes")
    itself = request.resource.kind == "SelfSubjectAccessReview"
    problems = _problems(request, spec)
    if problems:
        raise statuses.invalid(request.resource, "", problems)
    user = request.user if itself else _user(spec)
    if path:
        asked = Asked(text(path, "verb"), path=text(path, "path"))
    else:
        names = ("verb", "group", "resource", "subresource", "namespace", "name")
        asked = Asked(*(text(about, name) for name in names))
    verdict = api.authorizer.decide(user, asked)
    return {"allowed": verdict.allowed} | ({"reason": verdict.reason} if verdict.reason else {})


def _rules(api: Api, request: Request, obj: Json) -> Json:
    namespace = text(struct(obj, "spec"), "namespace")
    if not namespace:
        raise statuses.bad_request("no namespace on request")
    rules, error = api.authorizer.rules(request.user, namespace)
    status: Json = {
        "resourceRules": [
            _only(rule.written, "verbs", "apiGroups", "resources", "resourceNames")
            for rule in rules
            if rule.resources
        ],
        "nonResourceRules": [
            _only(rule.written, "verbs", "nonResourceURLs") for rule in rules if rule.urls
        ],
        "incomplete": False,
    }
    return status | ({"evaluationError": error} if error else {})


_VERDICTS: dict[str, Callable[[Api, Request, Json], Json]] = {
    "SelfSubjectReview": _who,
    "TokenReview": _token,
    "SubjectAccessReview": _access,
    "LocalSubjectAccessReview": _access,
    "SelfSubjectAccessReview": _access,
    "SelfSubjectRulesReview": _rules,
}


def _problems(request: Request, spec: Json) -> list[FieldError]:
    """Return what is wrong with the spec of an access review."""
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    problems: list[FieldError] = []
    if resource is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        problems.append(invalid("spec.nonResourceAttributes", _go_path(path), why))
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        problems.append(invalid("spec.resourceAttributes", None, why))
    if request.resource.kind == "SelfSubjectAccessReview":
        return problems
    if not spec.get("user") and not spec.get("groups"):
        why = "at least one of user or group must be specified"
        problems.append(invalid("spec.user", "", why))
    if request.resource.namespaced:
        asked = text(struct(spec, "resourceAttributes"), "namespace")
        if resource is not None and asked != request.namespace:
            where, why = "spec.resourceAttributes.namespace", "must match metadata.namespace"
            problems.append(invalid(where, asked, why))
        if path is not None:
            why = "disallowed on this kind of request"
            problems.append(invalid("spec.nonResourceAttributes", _go_path(path), why))
    return problems


def _go_path(path: Json) -> Unquoted:
    shown = f"Path:{quoted(text(path, 'path'))}, Verb:{quoted(text(path, 'verb'))}"
    return Unquoted(f"authorization.NonResourceAttributes{{{shown}}}")


def _user(spec: Json) -> User:
    given = struct(spec, "extra")
    extra = tuple((key.lower(), tuple(many(given, key))) for key in given)
    return User(text(spec, "user"), tuple(many(spec, "groups")), text(spec, "uid"), extra)


def _info(user: User) -> Json:
    info: Json = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra}
    return info


def _only(rule: Json, *names: str) -> Json:
    return {name: rule[name] for name in names if rule.get(name)}
