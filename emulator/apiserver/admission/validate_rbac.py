"""Pure: rules for roles and role bindings.

Source: pkg/apis/rbac/validation of Kubernetes 1.32.
"""

from podwire.emulator.apiserver.admission import validate_meta
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    go_list,
    go_struct,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("Group", "ServiceAccount", "User")


def role(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Role."""
    del old
    return _rules(obj, namespaced=True)


def cluster_role(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a ClusterRole."""
    del old
    problems = _rules(obj, namespaced=False)
    aggregation: Json | None = obj.get("aggregationRule")
    if aggregation is None:
        return problems
    field = "aggregationRule.clusterRoleSelectors"
    selectors = many(aggregation, "clusterRoleSelectors")
    if not selectors:
        message = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        problems.append(required(field, message))
    for index, selector in enumerate(selectors):
        problems += validate_meta.selector(f"{field}[{index}]", selector)
    return problems


def _rules(obj: Json, *, namespaced: bool) -> list[FieldError]:
    problems: list[FieldError] = []
    for index, rule in enumerate(many(obj, "rules")):
        problems += _rule(f"rules[{index}]", rule, namespaced=namespaced)
    return problems


def _rule(field: str, rule: Json, *, namespaced: bool) -> list[FieldError]:
    problems: list[FieldError] = []
    if not many(rule, "verbs"):
        problems.append(required(f"{field}.verbs", "verbs must contain at least one value"))
    urls = many(rule, "nonResourceURLs")
    if urls:
        shown = Unquoted(go_list(urls))
        if namespaced:
            message = "namespaced rules cannot apply to non-resource URLs"
            problems.append(invalid(f"{field}.nonResourceURLs", shown, message))
        if any(many(rule, name) for name in ("apiGroups", "resources", "resourceNames")):
            message = "rules cannot apply to both regular resources and non-resource URLs"
            problems.append(invalid(f"{field}.nonResourceURLs", shown, message))
        return problems
    if not many(rule, "apiGroups"):
        message = "resource rules must supply at least one api group"
        problems.append(required(f"{field}.apiGroups", message))
    if not many(rule, "resources"):
        message = "resource rules must supply at least one resource"
        problems.append(required(f"{field}.resources", message))
    return problems


def role_binding(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a RoleBinding."""
    return _binding(obj, old, namespaced=True)


def cluster_role_binding(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a ClusterRoleBinding."""
    return _binding(obj, old, namespaced=False)


def _binding(obj: Json, old: Json | None, *, namespaced: bool) -> list[FieldError]:
    reference = below(obj, "roleRef")
    group, kind = reference.get("apiGroup", ""), reference.get("kind", "")
    problems: list[FieldError] = []
    if group != GROUP:
        problems.append(not_supported("roleRef.apiGroup", group, (GROUP,)))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if kind not in kinds:
        problems.append(not_supported("roleRef.kind", kind, kinds))
    name = reference.get("name", "")
    if not name:
        problems.append(required("roleRef.name"))
    else:
        problems += check("roleRef.name", name, syntax.path_segment)
    for index, subject in enumerate(many(obj, "subjects")):
        problems += _subject(f"subjects[{index}]", subject, namespaced=namespaced)
    if old is not None and reference != below(old, "roleRef"):
        shown = go_struct("rbac.RoleRef", APIGroup=group, Kind=kind, Name=name)
        problems.append(invalid("roleRef", shown, "cannot change roleRef"))
    return problems


def _subject(field: str, subject: Json, *, namespaced: bool) -> list[FieldError]:
    problems: list[FieldError] = []
    name, kind, group = (subject.get(key, "") for key in ("name", "kind", "apiGroup"))
    if not name:
        problems.append(required(f"{field}.name"))
    if kind == "ServiceAccount":
        if name:
            problems += check(f"{field}.name", name, syntax.subdomain)
        if group:
            problems.append(not_supported(f"{field}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            problems.append(required(f"{field}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            problems.append(not_supported(f"{field}.apiGroup", group, (GROUP,)))
    else:
        problems.append(not_supported(f"{field}.kind", kind, _SUBJECTS))
    return problems
