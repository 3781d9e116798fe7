"""Pure: the rules of roles: what one allows, and what a set of them lacks.

Source: pkg/apis/rbac/v1/evaluation_helpers.go and component-helpers/auth/rbac/validation.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.emulator.apiserver.admission.field_errors import go_words
from podwire.emulator.apiserver.types.fields import many

Json = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
ALL = "*"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to do: to a resource, or to a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str | None = None
    """The path, of a request that is about no resource."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a Role or ClusterRole."""

    written: Json
    """As it stands in the object."""
    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: tuple[str, ...]

    def allows(self, asked: Asked) -> bool:
        """Tell whether this rule alone allows what is asked."""
        if ALL not in self.verbs and asked.verb not in self.verbs:
            return False
        if asked.path is not None:
            return any(_matches(url, asked.path) for url in self.urls)
        if ALL not in self.groups and asked.group not in self.groups:
            return False
        if self.names and asked.name not in self.names:
            return False
        resources = self.resources
        if ALL in resources:
            return True
        if not asked.subresource:
            return asked.resource in resources
        whole = f"{asked.resource}/{asked.subresource}"
        return whole in resources or f"*/{asked.subresource}" in resources


def rules_of(role: Json) -> tuple[Rule, ...]:
    """Return the rules of a Role or ClusterRole."""
    return tuple(_rule(written) for written in many(role, "rules"))


def missing(held: Sequence[Rule], wanted: Iterable[Json]) -> list[Json]:
    """Return the parts of the rules *wanted* that nobody has who has only *held*."""
    return [
        part
        for rule in wanted
        for part in _parts(rule)
        if not any(_covers(own, _rule(part)) for own in held)
    ]


def described(parts: Iterable[Json]) -> list[str]:
    """Return rules as an error lists them: those that differ in the verb alone are one."""
    verbs: dict[str, list[str]] = {}
    for part in parts:
        where = ", ".join(
            f"{title}:{go_words(part[name])}"
            for name, title in (
                ("apiGroups", "APIGroups"),
                ("resources", "Resources"),
                ("nonResourceURLs", "NonResourceURLs"),
                ("resourceNames", "ResourceNames"),
            )
            if part.get(name)
        )
        verbs.setdefault(where, []).extend(part["verbs"])
    return sorted(f"{{{where}, Verbs:{go_words(found)}}}" for where, found in verbs.items())


def _rule(written: Json) -> Rule:
    verbs, groups, resources, names = (
        frozenset(many(written, name))
        for name in ("verbs", "apiGroups", "resources", "resourceNames")
    )
    return Rule(written, verbs, groups, resources, names, tuple(many(written, "nonResourceURLs")))


def _matches(url: str, path: str) -> bool:
    return url == path or (url.endswith(ALL) and path.startswith(url.rstrip(ALL)))


def _parts(rule: Json) -> Iterator[Json]:
    """Yield rules of one verb, one resource and one name at most."""
    for group in many(rule, "apiGroups"):
        for resource in many(rule, "resources"):
            for verb in many(rule, "verbs"):
                part: Json = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                for name in many(rule, "resourceNames") or (None,):
                    yield part if name is None else {**part, "resourceNames": [name]}
    for url in many(rule, "nonResourceURLs"):
        for verb in many(rule, "verbs"):
            yield {"nonResourceURLs": [url], "verbs": [verb]}


def _covers(own: Rule, part: Rule) -> bool:
    return (
        (ALL in own.verbs or part.verbs <= own.verbs)
        and (ALL in own.groups or part.groups <= own.groups)
        and all(_covers_resource(own.resources, resource) for resource in part.resources)
        and (not own.names or (bool(part.names) and part.names <= own.names))
        and all(any(_matches(url, path) for url in own.urls) for path in part.urls)
    )


def _covers_resource(own: frozenset[str], resource: str) -> bool:
    if ALL in own or resource in own:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in own
