"""Pure: nobody grants, by a role or a binding, what they may not do themselves.

Source: pkg/registry/rbac (escalation_check.go, */policybased/storage.go) and
pkg/registry/rbac/validation/rule.go. Who has the verb `escalate` or `bind` may.
"""

from collections.abc import Iterable
from typing import Any

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.access.authorize import MASTERS
from podwire.emulator.apiserver.access.rbac import ALL, GROUP, Asked, described, missing
from podwire.emulator.apiserver.admission.field_errors import go_words, quoted
from podwire.emulator.apiserver.request import Api, Request
from podwire.emulator.apiserver.types.fields import many, struct, text

Json = dict[str, Any]

_EVERYTHING: tuple[Json, ...] = (
    {"apiGroups": [ALL], "resources": [ALL], "verbs": [ALL]},
    {"nonResourceURLs": [ALL], "verbs": [ALL]},
)


def admit_role(api: Api, request: Request, role: Json, old: Json | None) -> None:
    """Raise Refused (403) if *role* has rights that its writer has not."""
    if MASTERS in request.user.groups or _same(role, old, "rules", "aggregationRule"):
        return
    may = Asked(
        "escalate", GROUP, request.resource.plural, "", request.namespace, role["metadata"]["name"]
    )
    if api.authorizer.decide(request.user, may).allowed:
        return
    if struct(role, "aggregationRule") and not _same(role, old, "aggregationRule"):
        held, _ = api.authorizer.rules(request.user, request.namespace)
        if missing(held, _EVERYTHING):
            why = "must have cluster-admin privileges to use an aggregationRule"
            raise statuses.forbidden(request.resource, role["metadata"]["name"], why)
    if not _same(role, old, "rules"):
        _check(api, request, role["metadata"]["name"], many(role, "rules"))


def admit_binding(api: Api, request: Request, binding: Json, old: Json | None) -> None:
    """Raise Refused (403) if the role of *binding* has rights that its writer has not."""
    if MASTERS in request.user.groups or _same(binding, old, "roleRef", "subjects"):
        return
    reference = struct(binding, "roleRef")
    kind, name = text(reference, "kind"), text(reference, "name")
    may = Asked("bind", GROUP, f"{kind.lower()}s", "", request.namespace, name)
    if api.authorizer.decide(request.user, may).allowed:
        return
    rules = api.authorizer.referenced(reference, request.namespace)
    if rules is None:
        resource = f"{kind.lower()}.{GROUP}"
        details = {"name": name, "group": GROUP, "kind": kind.lower()}
        message = f"{resource} {quoted(name)} not found"
        raise statuses.refused(404, "NotFound", message, details=details)
    _check(api, request, binding["metadata"]["name"], (rule.written for rule in rules))


def _check(api: Api, request: Request, name: str, rules: Iterable[Json]) -> None:
    user = request.user
    held, errors = api.authorizer.rules(user, request.namespace)
    lacks = missing(held, rules)
    if lacks:
        why = (
            f"user {quoted(user.name)} (groups={go_words(user.groups)}) is attempting to grant "
            "RBAC permissions not currently held:\n" + "\n".join(described(lacks))
        )
        why += f"; resolution errors: [{errors}]" if errors else ""
        raise statuses.forbidden(request.resource, name, why)


def _same(obj: Json, old: Json | None, *names: str) -> bool:
    return old is not None and all(obj.get(name) == old.get(name) for name in names)
