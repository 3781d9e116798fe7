"""Pure: who may do what: RBAC, decided from the roles and bindings in the store.

Source: plugin/pkg/auth/authorizer/rbac and pkg/registry/rbac/validation/rule.go. The group
system:masters may do everything, whatever the bindings say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from podwire.emulator.apiserver.access.rbac import GROUP, Asked, Rule, rules_of
from podwire.emulator.apiserver.admission.field_errors import quoted
from podwire.emulator.apiserver.store import Change, Store
from podwire.emulator.apiserver.types.fields import many, struct, text
from podwire.kube.names import Key

Json = dict[str, Any]

MASTERS = "system:masters"
ACCOUNT_PREFIX = "system:serviceaccount:"

ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS = (
    f"{plural}.{GROUP}"
    for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
)

_REMEMBERED = 1024
"""Of how many users it is known which bindings name them; of those with short names."""
_SHORT = 1024


class Somebody(Protocol):
    """Who asks."""

    @property
    def name(self) -> str:
        """Return the user's name."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the user's groups."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it may be done, and why; without a reason no role speaks of it."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Binding:
    """One binding, as it applies to one of its subjects."""

    source: str
    rules: tuple[Rule, ...]
    error: str = ""
    """Why there are no rules."""


# Kind and name of a subject -> number of the binding, which is the order of evaluation, and it.
_Index = dict[tuple[str, str], list[tuple[int, _Binding]]]


class Authorizer:
    """Decides from the RBAC objects of *store*, as they are now."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._indexes: dict[str, _Index] = {}
        self._remembered: dict[tuple[str, tuple[str, ...], str], tuple[_Binding, ...]] = {}
        for collection in (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS):
            store.subscribe(collection, self._changed)

    def decide(self, user: Somebody, asked: Asked) -> Verdict:
        """Tell whether *user* may do what is asked."""
        if MASTERS in user.groups:
            return Verdict(allowed=True)
        errors: list[str] = []
        for binding in self._bindings(user, asked.namespace):
            if binding.error:
                errors.append(binding.error)
            for rule in binding.rules:
                if rule.allows(asked):
                    return Verdict(allowed=True, reason=f"RBAC: allowed by {binding.source}")
        return Verdict(allowed=False, reason=f"RBAC: {_joined(errors)}" if errors else "")

    def rules(self, user: Somebody, namespace: str) -> tuple[list[Rule], str]:
        """Return what *user* may do in *namespace* and everywhere, and what went wrong."""
        found = self._bindings(user, namespace)
        errors = [binding.error for binding in found if binding.error]
        return [rule for binding in found for rule in binding.rules], _joined(errors)

    def referenced(self, reference: Json, namespace: str) -> tuple[Rule, ...] | None:
        """Return the rules of the role that a binding in *namespace* names; None: there is none."""
        name = text(reference, "name")
        role = (
            self._store.get(ROLES, Key(namespace, name))
            if reference.get("kind") == "Role"
            else self._store.get(CLUSTER_ROLES, Key("", name))
        )
        return None if role is None else rules_of(role.object)

    def _changed(self, change: Change) -> None:
        del change
        self._indexes.clear()
        self._remembered.clear()

    def _bindings(self, user: Somebody, namespace: str) -> tuple[_Binding, ...]:
        who = (user.name, user.groups, namespace)
        known = self._remembered.get(who)
        if known is None:
            subjects = [("User", user.name), *(("Group", group) for group in user.groups)]
            known = tuple(self._of(subjects, ""))
            if namespace:
                known += tuple(self._of(subjects, namespace))
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            if sum(map(len, (user.name, namespace, *user.groups))) <= _SHORT:
                self._remembered[who] = known
        return known

    def _of(self, subjects: Iterable[tuple[str, str]], namespace: str) -> list[_Binding]:
        index = self._indexes.get(namespace)
        if index is None:
            index = self._built(namespace)
            if index:  # else anybody could fill the memory with namespaces that do not exist
                self._indexes[namespace] = index
        found: dict[int, _Binding] = {}
        for subject in subjects:
            for number, binding in index.get(subject, ()):
                found.setdefault(number, binding)
        return [found[number] for number in sorted(found)]

    def _built(self, namespace: str) -> _Index:
        """Return the bindings of one namespace, or with the empty text those of the cluster."""
        collection = ROLE_BINDINGS if namespace else CLUSTER_ROLE_BINDINGS
        index: _Index = {}
        for number, stored in enumerate(self._store.all(collection, namespace)):
            binding = stored.object
            reference = struct(binding, "roleRef")
            rules = self.referenced(reference, namespace)
            error = ""
            if rules is None:
                kind = text(reference, "kind").lower()
                error = f"{kind}.{GROUP} {quoted(text(reference, 'name'))} not found"
            for subject in many(binding, "subjects"):
                applied = _Binding(_source(binding, subject, namespace), rules or (), error)
                index.setdefault(_subject(subject, namespace), []).append((number, applied))
        return index


def _subject(subject: Json, namespace: str) -> tuple[str, str]:
    kind, name = text(subject, "kind"), text(subject, "name")
    if kind != "ServiceAccount":
        return kind, name
    return "User", f"{ACCOUNT_PREFIX}{text(subject, 'namespace') or namespace}:{name}"


def _source(binding: Json, subject: Json, namespace: str) -> str:
    """Return where a right comes from, in Kubernetes' words."""
    meta, role = binding["metadata"], struct(binding, "roleRef")
    # The name comes before the namespace, in both.
    own = f"{meta['name']}/{namespace}" if namespace else str(meta["name"])
    who = text(subject, "name")
    if subject.get("kind") == "ServiceAccount":
        who = f"{who}/{text(subject, 'namespace') or namespace}"
    return (
        f"{'RoleBinding' if namespace else 'ClusterRoleBinding'} {quoted(own)} of "
        f"{role.get('kind')} {quoted(text(role, 'name'))} to {subject.get('kind')} {quoted(who)}"
    )


def _joined(errors: Sequence[str]) -> str:
    """Return errors as Go's aggregate prints them."""
    several = list(dict.fromkeys(errors))
    return f"[{', '.join(several)}]" if len(several) > 1 else "".join(several)
