"""Pure: a method and a path to a kind, a name, a subresource and Kubernetes' verb."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.resources import Resource

_WRITES = {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    tail: str = ""
    """Of the subresource proxy: what comes after it, still quoted; empty, or from its "/" on."""


# What is behind `proxy` is not ours: it may hold anything, empty steps too.
_PROXY = re.compile(
    r"(?P<head>/api/v1/(?:namespaces/[^/]+/(?:pods|services)|nodes)/[^/]+/proxy)(?P<tail>/.*|)"
)


def is_proxied(path: str) -> bool:
    """Tell whether a request to *path* is passed on as it is: its body is not for us to read."""
    return _PROXY.fullmatch(path) is not None


def parse(kinds: Kinds, method: str, path: str, *, watch: bool) -> Target | None:
    """Return what *path* (as sent, still quoted) means; None for what is below no group.

    *watch* is the query parameter. Raises Refused: 404 for what is not served, 405 for a method
    that the path does not have.
    """
    proxied = _PROXY.fullmatch(path)
    if proxied is not None:
        path = proxied["head"]
    steps = [unquote(step) for step in path.strip("/").split("/")]
    match steps:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return None
    if group not in kinds.groups():
        return None
    if rest[0] == "watch" and len(rest) > 1:  # the old form: /api/v1/watch/pods
        rest, watch = rest[1:], True
    target = _in_version(kinds, method, group, version, rest, watch=watch)
    return target if proxied is None else replace(target, tail=proxied["tail"])


def _in_version(
    kinds: Kinds, method: str, group: str, version: str, steps: Sequence[str], *, watch: bool
) -> Target:
    namespace = ""
    if len(steps) > 2 and steps[0] == "namespaces" and steps[2] not in ("status", "finalize"):
        namespace, steps = steps[1], steps[2:]
    resource = kinds.find(group, version, steps[0])
    if resource is None or len(steps) > 3 or "" in steps:
        raise statuses.no_such_path()
    if namespace and not resource.namespaced:
        raise statuses.no_such_path()
    name = steps[1] if len(steps) > 1 else ""
    subresource = steps[2] if len(steps) > 2 else ""
    verb = _verb(method, resource, name, subresource, watch=watch)
    if resource.namespaced and not namespace and (name or verb not in ("list", "watch")):
        # Objects of a namespaced kind have no path outside of their namespace.
        raise statuses.no_such_path() if name else statuses.wrong_method()
    return Target(verb, resource, namespace, name, subresource)


def _verb(method: str, resource: Resource, name: str, subresource: str, *, watch: bool) -> str:
    if subresource:
        verb = {"GET": "get", "POST": "create"}.get(method) or _WRITES.get(method, "")
        if subresource == "proxy" and method in ("HEAD", "OPTIONS"):
            verb = "get"
        for entry in resource.subresources:
            if entry.name == subresource:
                if verb not in entry.verbs:
                    raise statuses.wrong_method()
                return verb
        raise statuses.no_such_path()
    if name:
        verb = ("watch" if watch else "get") if method == "GET" else _WRITES.get(method, "")
    elif method == "GET":
        verb = "watch" if watch else "list"
    else:
        verb = {"POST": "create", "DELETE": "deletecollection"}.get(method, "")
    if verb not in resource.verbs:
        raise statuses.wrong_method(resource.refusal)
    return verb
