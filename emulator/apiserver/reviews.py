"""Pure: who may do what, and the reviews by which a client asks.

There are administrators (group system:masters) and the cluster's own components (names that begin
with system:). They may do everything, except for the DNS server, which all pods can talk to: it may
read what it serves. Nobody else may do anything.
"""

from typing import Any

from podwire.emulator.apiserver import bodies, statuses
from podwire.emulator.apiserver.request import Plain, Request, User
from podwire.kube.clock import rfc3339

Json = dict[str, Any]

ANONYMOUS = "system:anonymous"
DNS = "system:serviceaccount:kube-system:coredns"

_READ = ("get", "list", "watch")
# Group -> plurals: kubeadm's ClusterRole system:coredns.
_READ_BY_DNS = {
    "": ("endpoints", "services", "pods", "namespaces"),
    "discovery.k8s.io": ("endpointslices",),
}


def allowed(user: User) -> bool:
    """Tell whether *user* may do everything."""
    if user.name in (ANONYMOUS, DNS):
        return False
    return "system:masters" in user.groups or user.name.startswith("system:")


def check(request: Request) -> None:
    """Raise Refused (403) unless the request's user may do what it asks."""
    resource = request.resource
    # Everybody may ask what they may do (system:basic-user in Kubernetes).
    if not resource.stored and request.user.name != ANONYMOUS:
        return
    wanted = (request.verb, resource.group, resource.plural, request.subresource)
    if _may(request.user, *wanted):
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
    obj["status"] = _verdict(request.resource.kind, request.user, obj)
    return Plain(obj, 201, warnings)


def _may(user: User, verb: str, group: str, plural: str, subresource: str) -> bool:
    if user.name == DNS:
        return verb in _READ and not subresource and plural in _READ_BY_DNS.get(group, ())
    return allowed(user)


def _verdict(kind: str, user: User, asked: Json) -> Json:
    may = allowed(user)
    match kind:
        case "SelfSubjectReview":
            info: Json = {"username": user.name}
            if user.groups:
                info["groups"] = list(user.groups)
            return {"userInfo": info}
        case "SelfSubjectAccessReview":
            nothing: Json = {}
            spec: Json = asked.get("spec") or nothing
            about: Json = spec.get("resourceAttributes") or nothing
            verb, group, plural, subresource = (
                str(about.get(key) or "") for key in ("verb", "group", "resource", "subresource")
            )
            may = _may(user, verb, group, plural, subresource)
            reason = "" if may else f'User "{user.name}" is no administrator of this cluster'
            return {"allowed": may} | ({"reason": reason} if reason else {})
        case _:
            everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            urls = {"verbs": ["*"], "nonResourceURLs": ["*"]}
            read = [
                {"verbs": list(_READ), "apiGroups": [group], "resources": list(plurals)}
                for group, plurals in _READ_BY_DNS.items()
                if user.name == DNS
            ]
            return {
                "resourceRules": [everything] if may else read,
                "nonResourceRules": [urls] if may else [],
                "incomplete": False,
            }
