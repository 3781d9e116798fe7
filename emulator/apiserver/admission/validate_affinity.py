"""Pure: rules for where a pod wants to be: tolerations, affinity, topology spread constraints.

Source: pkg/apis/core/validation/validation.go of Kubernetes 1.32.
"""

from podwire.emulator.apiserver.admission import label_keys, validate_meta
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    duplicate,
    forbidden,
    go_struct,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_POLICIES = ("Honor", "Ignore")
_POSITIVE = "must be greater than zero"
_EMPTY = "can not be empty"


def placement(spec: Json) -> list[FieldError]:
    """Check where a pod wants to be; fields begin with ``spec``."""
    problems: list[FieldError] = []
    for index, toleration in enumerate(many(spec, "tolerations")):
        problems += _toleration(f"spec.tolerations[{index}]", toleration)
    problems += _node_affinity(
        "spec.affinity.nodeAffinity", below(spec, "affinity", "nodeAffinity")
    )
    for kind in ("podAffinity", "podAntiAffinity"):
        problems += _pod_affinity(f"spec.affinity.{kind}", below(spec, "affinity", kind))
    return problems + _spreads(many(spec, "topologySpreadConstraints"))


def _node_affinity(field: str, affinity: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    if affinity.get(_REQUIRED) is not None:
        problems += _node_terms(f"{field}.{_REQUIRED}", affinity[_REQUIRED])
    for index, term in enumerate(many(affinity, _PREFERRED)):
        at = f"{field}.{_PREFERRED}[{index}]"
        problems += _weight(at, term)
        problems += _node_term(f"{at}.preference", below(term, "preference"))
    return problems


def _pod_affinity(field: str, affinity: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    for index, term in enumerate(many(affinity, _REQUIRED)):
        problems += _pod_term(f"{field}.{_REQUIRED}[{index}]", term)
    for index, term in enumerate(many(affinity, _PREFERRED)):
        at = f"{field}.{_PREFERRED}[{index}]"
        problems += _weight(at, term)
        problems += _pod_term(f"{at}.podAffinityTerm", below(term, "podAffinityTerm"))
    return problems


def _weight(field: str, term: Json) -> list[FieldError]:
    weight = term.get("weight", 0)
    if 1 <= weight <= 100:
        return []
    return [invalid(f"{field}.weight", weight, "must be in the range 1-100")]


def _pod_term(field: str, term: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    for name in ("labelSelector", "namespaceSelector"):
        problems += validate_meta.selector(f"{field}.{name}", term.get(name))
    for name in many(term, "namespaces"):
        problems += check(f"{field}.namespace", name, syntax.label)
    problems += label_keys.of_term(field, term)
    key = term.get("topologyKey", "")
    if not key:
        problems.append(required(f"{field}.topologyKey", _EMPTY))
    return problems + check(f"{field}.topologyKey", key, syntax.qualified_name)


def _spreads(constraints: list[Json]) -> list[FieldError]:
    problems: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        field = f"spec.topologySpreadConstraints[{index}]"
        key, action = constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")
        problems += _spread(field, constraint, key, action)
        if (key, action) in seen:
            both = f"{{{key}, {action}}}"
            problems.append(duplicate(f"{field}.{{topologyKey, whenUnsatisfiable}}", both))
        seen.add((key, action))
    return problems


def _spread(field: str, constraint: Json, key: str, action: str) -> list[FieldError]:
    problems: list[FieldError] = []
    skew, domains = constraint.get("maxSkew", 0), constraint.get("minDomains")
    if skew <= 0:
        problems.append(invalid(f"{field}.maxSkew", skew, _POSITIVE))
    if not key:
        problems.append(required(f"{field}.topologyKey", _EMPTY))
    if action not in _ACTIONS:
        problems.append(not_supported(f"{field}.whenUnsatisfiable", action, _ACTIONS))
    if domains is not None and domains <= 0:
        problems.append(invalid(f"{field}.minDomains", domains, _POSITIVE))
    if domains is not None and action != _ACTIONS[0]:
        message = f"can only use minDomains if whenUnsatisfiable={_ACTIONS[0]}, not {action}"
        problems.append(invalid(f"{field}.minDomains", domains, message))
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = constraint.get(name)
        if policy is not None and policy not in _POLICIES:
            problems.append(not_supported(f"{field}.{name}", policy, _POLICIES))
    problems += label_keys.of_spread(f"{field}.matchLabelKeys", constraint)
    return problems + validate_meta.selector(
        f"{field}.labelSelector", constraint.get("labelSelector")
    )


def _node_terms(field: str, selector: Json) -> list[FieldError]:
    """Check what a pod demands of its node."""
    terms = many(selector, "nodeSelectorTerms")
    if not terms:
        message = "must have at least one node selector term"
        return [required(f"{field}.nodeSelectorTerms", message)]
    return [
        problem
        for index, term in enumerate(terms)
        for problem in _node_term(f"{field}.nodeSelectorTerms[{index}]", term)
    ]


def _node_term(field: str, term: Json) -> list[FieldError]:
    return [
        problem
        for name, rule_of in (("matchExpressions", _node_rule), ("matchFields", _field_rule))
        for index, rule in enumerate(many(term, name))
        for problem in rule_of(f"{field}.{name}[{index}]", rule)
    ]


def _node_rule(field: str, rule: Json) -> list[FieldError]:
    values, problems = many(rule, "values"), list[FieldError]()
    match rule.get("operator", ""):
        case "In" | "NotIn":
            if not values:
                message = "must be specified when `operator` is 'In' or 'NotIn'"
                problems.append(required(f"{field}.values", message))
        case "Exists" | "DoesNotExist":
            if values:
                message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                problems.append(forbidden(f"{field}.values", message))
        case "Gt" | "Lt":
            if len(values) != 1:
                message = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                problems.append(required(f"{field}.values", message))
        case other:
            problems.append(invalid(f"{field}.operator", other, "not a valid selector operator"))
    return problems + check(f"{field}.key", rule.get("key", ""), syntax.qualified_name)


def _field_rule(field: str, rule: Json) -> list[FieldError]:
    key, operator, values = rule.get("key", ""), rule.get("operator", ""), many(rule, "values")
    problems: list[FieldError] = []
    if operator not in ("In", "NotIn"):
        problems.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        message = (
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        )
        problems.append(required(f"{field}.values", message))
    if key != "metadata.name":
        return [*problems, invalid(f"{field}.key", key, "not a valid field selector key")]
    for index, value in enumerate(values):
        problems += check(f"{field}.values[{index}]", value, syntax.subdomain)
    return problems


def _toleration(field: str, toleration: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    if key:
        problems += check(f"{field}.key", key, syntax.qualified_name)
    elif operator != "Exists":
        message = (
            "operator must be Exists when `key` is empty,"
            ' which means "match all values and all keys"'
        )
        problems.append(invalid(f"{field}.operator", operator, message))
    seconds = toleration.get("tolerationSeconds")
    if seconds is not None and toleration.get("effect") != "NoExecute":
        message = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        problems.append(invalid(f"{field}.effect", toleration.get("effect", ""), message))
    if operator not in ("", "Equal", "Exists"):
        problems.append(not_supported(f"{field}.operator", operator, ("Equal", "Exists")))
    elif operator == "Exists" and toleration.get("value"):
        message = "value must be empty when `operator` is 'Exists'"
        wait = "(*int64)(nil)" if seconds is None else "(*int64)(0x0)"
        shown = go_struct(
            "core.Toleration",
            Key=key,
            Operator=operator,
            Value=toleration["value"],
            Effect=toleration.get("effect", ""),
            TolerationSeconds=Unquoted(wait),
        )
        problems.append(invalid(f"{field}.operator", shown, message))
    effect = toleration.get("effect", "")
    if effect and effect not in _EFFECTS:
        problems.append(not_supported(f"{field}.effect", effect, _EFFECTS))
    return problems
