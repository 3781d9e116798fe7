"""Pure: rules for what keeps pods: replica sets, deployments, daemon and stateful sets.

Source: pkg/apis/apps/validation of Kubernetes 1.32.
"""

from podwire.emulator.apiserver.admission import validate_meta, validate_pods
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    forbidden,
    go_amount,
    go_map,
    go_selector,
    go_struct,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, not_negative
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_NOT_NEGATIVE = "must be greater than or equal to 0"
_IMMUTABLE = "field is immutable"
_STATEFUL_CHANGES = frozenset(
    {
        "replicas", "ordinals", "template", "updateStrategy",
        "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
    }
)  # fmt: skip


def deployment(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Deployment."""
    spec: Json = below(obj, "spec")
    problems = not_negative(spec, "replicas")
    problems += _selector(spec, "empty selector is invalid for deployment")
    problems += _chosen_template(spec, "ReplicaSet")
    problems += _deployment_strategy(below(spec, "strategy"))
    problems += not_negative(spec, "minReadySeconds", "revisionHistoryLimit")
    problems += not_negative(spec, "progressDeadlineSeconds")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds", 0)
    if deadline is not None and deadline <= ready:
        message = "must be greater than minReadySeconds"
        problems.append(invalid("spec.progressDeadlineSeconds", deadline, message))
    return problems + _selector_change(spec, old)


def replica_set(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a ReplicaSet."""
    spec: Json = below(obj, "spec")
    problems = not_negative(spec, "replicas", "minReadySeconds")
    problems += _selector(spec, "empty selector is invalid for deployment")
    problems += _chosen_template(spec, "ReplicaSet")
    return problems + _selector_change(spec, old)


def daemon_set(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a DaemonSet."""
    spec: Json = below(obj, "spec")
    problems = _selector(spec, "empty selector is invalid for daemonset", demanded=False)
    problems += _template(spec, "DaemonSet")
    problems += not_negative(spec, "minReadySeconds", "revisionHistoryLimit")
    strategy = below(spec, "updateStrategy")
    field, kind = "spec.updateStrategy", strategy.get("type", "")
    if kind == "RollingUpdate":
        rolling = below(strategy, "rollingUpdate")
        surge, missing = rolling.get("maxSurge", 0), rolling.get("maxUnavailable", 0)
        at = f"{field}.rollingUpdate"
        problems += amount(f"{at}.maxUnavailable", missing) + amount(f"{at}.maxSurge", surge)
        problems += at_most_all(f"{at}.maxUnavailable", missing)
        problems += at_most_all(f"{at}.maxSurge", surge)
        if _is_some(surge) and _is_some(missing):
            message = "may not be set when maxUnavailable is non-zero"
            problems.append(invalid(f"{at}.maxSurge", go_amount(surge), message))
        elif not _is_some(surge) and not _is_some(missing):
            message = "cannot be 0 when maxSurge is 0"
            problems.append(required(f"{at}.maxUnavailable", message))
    elif kind != "OnDelete":
        shown = _strategy("DaemonSetUpdateStrategy", kind, "RollingUpdateDaemonSet")
        problems.append(not_supported(field, shown, ("RollingUpdate", "OnDelete")))
    return problems + _selector_change(spec, old)


def stateful_set(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a StatefulSet."""
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        message = "must be 'OrderedReady' or 'Parallel'"
        value = spec.get("podManagementPolicy", "")
        problems.append(invalid("spec.podManagementPolicy", value, message))
    kind = below(spec, "updateStrategy").get("type", "")
    if kind not in ("RollingUpdate", "OnDelete"):
        message = "must be 'RollingUpdate' or 'OnDelete'"
        shown = _strategy("StatefulSetUpdateStrategy", kind, "RollingUpdateStatefulSetStrategy")
        problems.append(invalid("spec.updateStrategy", shown, message))
    problems += not_negative(spec, "replicas", "minReadySeconds")
    problems += _selector(spec, "empty selector is invalid for statefulset")
    problems += _chosen_template(_with_claims(spec), "")
    if old is not None and _outside(spec) != _outside(below(old, "spec")):
        message = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals',"
            " 'template', 'updateStrategy', 'persistentVolumeClaimRetentionPolicy' and"
            " 'minReadySeconds' are forbidden"
        )
        problems.append(forbidden("spec", message))
    return problems


def _with_claims(spec: Json) -> Json:
    """Return *spec* with a volume for each claim: containers may mount those, too."""
    template = below(spec, "template")
    names = [below(claim, "metadata").get("name") for claim in many(spec, "volumeClaimTemplates")]
    if not template or not names:
        return spec
    pod = below(template, "spec")
    own = [volume for volume in many(pod, "volumes") if volume.get("name") not in names]
    nothing: Json = {}
    volumes = [*own, *({"name": name, "emptyDir": nothing} for name in names if name)]
    return {**spec, "template": {**template, "spec": {**pod, "volumes": volumes}}}


def _outside(spec: Json) -> Json:
    return {name: value for name, value in spec.items() if name not in _STATEFUL_CHANGES}


def _selector(spec: Json, empty: str, *, demanded: bool = True) -> list[FieldError]:
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")] if demanded else []
    problems = validate_meta.selector("spec.selector", selector)
    if not _is_set(selector):
        problems.append(invalid("spec.selector", go_selector(selector), empty))
    return problems


def _is_set(selector: Json | None) -> bool:
    chosen = selector or {}
    return bool(chosen.get("matchLabels") or chosen.get("matchExpressions"))


def _chosen_template(spec: Json, owner: str) -> list[FieldError]:
    """Check the pod template, unless the selector is beyond reading."""
    selector = spec.get("selector")
    if selector is not None and validate_meta.selector("spec.selector", selector):
        message = "invalid label selector"
        return [invalid("spec.selector", go_selector(selector), message)]
    return _template(spec, owner)


def _template(spec: Json, owner: str) -> list[FieldError]:
    """Check the pod template, and that the selector finds the pods made from it."""
    template, selector = spec.get("template"), spec.get("selector")
    problems: list[FieldError] = []
    labels = below(template, "metadata").get("labels")
    # No selector chooses nothing, and an empty one everything.
    wrong = selector is None or (
        _is_set(selector)
        and not validate_meta.selector("spec.selector", selector)
        and not validate_meta.selects(selector, labels or {})
    )
    if wrong:
        message = "`selector` does not match template `labels`"
        problems.append(invalid("spec.template.metadata.labels", go_map(labels), message))
    return problems + validate_pods.template("spec.template", template, owner=owner)


def _selector_change(spec: Json, old: Json | None) -> list[FieldError]:
    if old is None or spec.get("selector") == below(old, "spec").get("selector"):
        return []
    return [invalid("spec.selector", go_selector(below(spec, "selector")), _IMMUTABLE)]


def _deployment_strategy(strategy: Json) -> list[FieldError]:
    field, kind = "spec.strategy", strategy.get("type", "")
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate":
        message = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden(f"{field}.rollingUpdate", message)]
    if kind != "RollingUpdate":
        shown = _strategy("DeploymentStrategy", kind, "RollingUpdateDeployment")
        return [not_supported(field, shown, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        message = "this should be defaulted and never be nil"
        return [required(f"{field}.rollingUpdate", message)]
    missing, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    at = f"{field}.rollingUpdate"
    problems = amount(f"{at}.maxUnavailable", missing) + amount(f"{at}.maxSurge", surge)
    if not _is_some(missing) and not _is_some(surge):
        message = "may not be 0 when `maxSurge` is 0"
        problems.append(invalid(f"{at}.maxUnavailable", go_amount(missing), message))
    return problems + at_most_all(f"{at}.maxUnavailable", missing)


def _strategy(name: str, kind: str, rolling: str) -> Unquoted:
    nothing = Unquoted(f"(*apps.{rolling})(nil)")
    return go_struct(f"apps.{name}", Type=kind, RollingUpdate=nothing)


def amount(field: str, value: int | str) -> list[FieldError]:
    """Check a number that is not negative, or a percentage."""
    if isinstance(value, str):
        return [invalid(field, go_amount(value), message) for message in syntax.percent(value)]
    return [invalid(field, value, _NOT_NEGATIVE)] if value < 0 else []


def at_most_all(field: str, value: int | str) -> list[FieldError]:
    """Check a number, which may be any, or a percentage, which may not exceed 100%."""
    number = str(value).removesuffix("%")
    if not isinstance(value, str) or not number.isdecimal() or int(number) <= 100:
        return []
    return [invalid(field, go_amount(value), "must not be greater than 100%")]


def _is_some(value: int | str) -> bool:
    return value not in (0, "0%")
