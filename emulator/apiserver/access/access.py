"""Pure: what a request asks, as rules see it; and the 403 for who may not.

Source: apiserver/pkg/endpoints/request/requestinfo.go and handlers/responsewriters/errors.go.
"""

from typing import Any
from urllib.parse import unquote

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.access.authorize import MASTERS, Verdict
from podwire.emulator.apiserver.access.rbac import Asked
from podwire.emulator.apiserver.request import Api, Request, User
from podwire.kube.selectors import SelectorError, parse_fields

Json = dict[str, Any]

_HEALTH = ("/healthz", "/livez", "/readyz")
_OF_MANY = ("list", "watch", "deletecollection")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def check(api: Api, request: Request) -> None:
    """Raise Refused (403) unless the request's user may do what it asks."""
    # Most requests come from the cluster's own components: for them this is all.
    if MASTERS not in request.user.groups:
        require(api, request.user, asked(request))


def check_path(api: Api, user: User, method: str, path: str) -> None:
    """Raise Refused (403) unless *user* may ask for *path*, where no kind that is served lives."""
    # Whether the server is well is no secret, and no role that somebody deletes hides it.
    if MASTERS not in user.groups and path not in _HEALTH:
        require(api, user, _asked_of(method, path))


def require(api: Api, user: User, wanted: Asked) -> None:
    """Raise Refused (403) unless *user* may do *wanted*."""
    verdict = api.authorizer.decide(user, wanted)
    if not verdict.allowed:
        raise forbidden(user, wanted, verdict)


def asked(request: Request) -> Asked:
    """Return what *request* asks."""
    resource, namespace, name = request.resource, request.namespace, request.name
    if resource.plural == "namespaces" and not resource.group:
        # A namespace is in itself, so that a Role there can speak of it.
        namespace = name
    if not name and request.verb in _OF_MANY:
        name = _only_name(request.option("fieldSelector"))
    return Asked(
        request.verb, resource.group, resource.plural, request.subresource, namespace, name
    )


def forbidden(user: User, wanted: Asked, verdict: Verdict) -> statuses.Refused:
    """Return the 403 for what *user* may not do."""
    cannot = f'User "{user.name}" cannot {wanted.verb} '
    if wanted.path is not None:
        what, subject = f'path "{wanted.path}"', ""
    else:
        resource = wanted.resource + (f"/{wanted.subresource}" if wanted.subresource else "")
        where = (
            f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
        )
        what = f'resource "{resource}" in API group "{wanted.group}" {where}'
        subject = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
        subject += f' "{wanted.name}" is ' if wanted.name else " is "
    reason = f": {verdict.reason}" if verdict.reason else ""
    details: Json = {"name": wanted.name, "group": wanted.group, "kind": wanted.resource}
    return statuses.refused(
        403,
        "Forbidden",
        f"{subject}forbidden: {_harmless(cannot + what)}{reason}",
        details={name: value for name, value in details.items() if value},
    )


def _harmless(message: str) -> str:
    """Return *message* without what a browser could take for HTML."""
    return message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _only_name(fields: str) -> str:
    """Return the one name that a field selector leaves, or the empty text."""
    if not fields:
        return ""
    try:
        found = parse_fields(fields)
    except SelectorError:
        return ""  # the handler will say so
    return next((f.value for f in found if f.field == "metadata.name" and f.equal), "")


def _asked_of(method: str, path: str) -> Asked:
    """Return what a path asks that is not served, as far as its form tells."""
    match [unquote(step) for step in path.strip("/").split("/")]:
        case ["api", _, first, *rest]:
            group = ""
        case ["apis", group, _, first, *rest]:
            pass
        case _:
            return Asked("get" if method == "HEAD" else method.lower(), path=path)
    namespace = ""
    if first == "namespaces" and len(rest) > 1:
        namespace, first, *rest = rest
    name, subresource, *_ = (*rest, "", "")
    verb = _VERBS.get(method) or ("get" if name else "list")
    return Asked(verb, group, first, subresource, namespace, name)
