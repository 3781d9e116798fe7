"""Pure: what a Job's policies say of its pods: podFailurePolicy and successPolicy.

As pkg/controller/job/pod_failure_policy.go and success_policy.go.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from podwire.emulator.controllers.jobs.job_indexes import parsed
from podwire.kube.objects import (
    ContainerStateTerminated,
    Pod,
    PodFailurePolicy,
    PodFailurePolicyRule,
    SuccessPolicy,
)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What to do with a failed pod: Count (also without a rule), Ignore, FailIndex or FailJob."""

    action: str
    message: str = ""
    """Why the Job fails; only with FailJob."""


def ruling(policy: PodFailurePolicy | None, pod: Pod) -> Ruling:
    """Return what *policy* says of a pod that failed; the first rule that matches counts."""
    for number, rule in enumerate(policy.rules if policy else ()):
        where = f"matching {rule.action} rule at index {number}"
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        if rule.on_exit_codes is not None:
            match = _by_exit_code(rule, pod)
            if match is not None:
                container, code = match
                said = f"Container {container} for pod {name} failed with exit code {code} {where}"
                return Ruling(rule.action, said)
        condition = _by_condition(rule, pod)
        if condition is not None:
            return Ruling(rule.action, f"Pod {name} has condition {condition} {where}")
    return Ruling("Count")


def success(
    policy: SuccessPolicy | None, completions: int, succeeded: Collection[int]
) -> str | None:
    """Return why a Job with these *succeeded* indexes is done, None if no rule is met."""
    for number, rule in enumerate(policy.rules if policy else ()):
        if rule.succeeded_indexes is None:
            met = rule.succeeded_count is not None and len(succeeded) >= rule.succeeded_count
        else:
            wanted = parsed(rule.succeeded_indexes, completions)
            needed = len(wanted) if rule.succeeded_count is None else rule.succeeded_count
            met = len(wanted.intersection(succeeded)) >= needed
        if met:
            return f"Matched rules at index {number}"
    return None


def _by_exit_code(rule: PodFailurePolicyRule, pod: Pod) -> tuple[str, int] | None:
    wanted = rule.on_exit_codes
    if wanted is None:
        return None
    for name, ended in _ended(pod):
        if ended.exit_code == 0 or wanted.container_name not in (None, name):
            continue
        if (ended.exit_code in wanted.values) == (wanted.operator == "In"):
            return name, ended.exit_code
    return None


def _by_condition(rule: PodFailurePolicyRule, pod: Pod) -> str | None:
    for pattern in rule.on_pod_conditions:
        for condition in pod.status.conditions:
            if (condition.type, condition.status) == (pattern.type, pattern.status or "True"):
                return condition.type
    return None


def _ended(pod: Pod) -> Iterator[tuple[str, ContainerStateTerminated]]:
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        if status.state.terminated is not None:
            yield status.name, status.state.terminated
