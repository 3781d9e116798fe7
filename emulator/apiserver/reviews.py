"""Pure: who may do what, and the reviews by which a client asks.

There are two sorts of users: administrators (group system:masters) and the cluster's own
components (names that begin with system:). Both may do everything; nobody else may do anything.
"""

from typing import Any

from podwire.emulator.apiserver import bodies, statuses
from podwire.emulator.apiserver.request import Plain, Request, User
from podwire.kube.clock import rfc3339

Json = dict[str, Any]

ANONYMOUS = "system:anonymous"


def allowed(user: User) -> bool:
    """Tell whether *user* may do everything."""
    if user.name == ANONYMOUS:
        return False
    return "system:masters" in user.groups or user.name.startswith("system:")


def check(request: Request) -> None:
    """Raise Refused (403) unless the request's user may do what it asks."""
    resource = request.resource
    # Everybody may ask what they may do (system:basic-user in Kubernetes).
    if allowed(request.user) or (not resource.stored and request.user.name != ANONYMOUS):
        return
    what = f"{resource.plural}/{request.subresource}" if request.subresource else resource.plural
    where = (
        f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    )
    name = f' "{request.name}"' if request.name else ""
    details: Json = {"name": request.name} if request.name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    raise statuses.refused(
        403,
        "Forbidden",
        f'{resource.qualified}{name} is forbidden: User "{request.user.name}" cannot '
        f'{request.verb} resource "{what}" in API group "{resource.group}" {where}',
        details=details,
    )


def review(request: Request) -> Plain:
    """Answer a SelfSubjectAccessReview, SelfSubjectRulesReview or SelfSubjectReview."""
    obj, warnings = bodies.as_object(request, bodies.read(request.body))
    if request.resource.kind == "SelfSubjectReview":
        obj["metadata"] = {"creationTimestamp": rfc3339(request.now)}
    obj["status"] = _verdict(request.resource.kind, request.user)
    return Plain(obj, 201, warnings)


def _verdict(kind: str, user: User) -> Json:
    may = allowed(user)
    match kind:
        case "SelfSubjectReview":
            info: Json = {"username": user.name}
            if user.groups:
                info["groups"] = list(user.groups)
            return {"userInfo": info}
        case "SelfSubjectAccessReview":
            reason = "" if may else f'User "{user.name}" is no administrator of this cluster'
            return {"allowed": may} | ({"reason": reason} if reason else {})
        case _:
            everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            urls = {"verbs": ["*"], "nonResourceURLs": ["*"]}
            return {
                "resourceRules": [everything] if may else [],
                "nonResourceRules": [urls] if may else [],
                "incomplete": False,
            }
