"""Pure: the pods of a StatefulSet: their names, their order, and how one is made.

There are no persistent volumes here. A pod gets an emptyDir in the place of each claim of
volumeClaimTemplates, so programs start and may write; what they wrote is lost with the pod, which
in Kubernetes it is not. Whoever creates the StatefulSet is warned of that.
"""

import re
from collections.abc import Mapping
from typing import Any

from podwire.emulator.controllers.pod_templates import (
    CONTROLLER_REVISION_HASH,
    Template,
    pod_of,
    with_label,
)
from podwire.kube.objects import Pod, StatefulSet

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"

_NAME = re.compile(r"(.*)-(0|[1-9][0-9]*)")


def pod_name(stateful_set: StatefulSet, ordinal: int) -> str:
    """Return the name of the pod with that number."""
    return f"{stateful_set.metadata.name}-{ordinal}"


def ordinal_of(pod: Pod) -> int:
    """Return the pod's number, -1 if its name has none."""
    match = _NAME.fullmatch(pod.metadata.name)
    return int(match[2]) if match else -1


def belongs(pod: Pod, stateful_set: StatefulSet) -> bool:
    """Tell whether the pod's name is one that *stateful_set* gives."""
    match = _NAME.fullmatch(pod.metadata.name)
    return match is not None and match[1] == stateful_set.metadata.name


def revision_label(pod: Pod) -> str:
    """Return the name of the ControllerRevision that the pod was made from."""
    return pod.metadata.labels.get(CONTROLLER_REVISION_HASH, "")


def stateful_pod(
    stateful_set: StatefulSet, template: Template, revision: str, ordinal: int
) -> dict[str, Any]:
    """Return the pod with that number, as JSON values, made from *template*.

    *revision* is the name of the template's ControllerRevision.
    """
    name = pod_name(stateful_set, ordinal)
    labelled = with_label(template, CONTROLLER_REVISION_HASH, revision)
    for key, value in identity(stateful_set, ordinal).items():
        labelled = with_label(labelled, key, value)
    pod = pod_of(stateful_set, labelled, name)
    spec: dict[str, Any] = {**pod["spec"], "hostname": name}
    if stateful_set.spec.service_name:
        spec["subdomain"] = stateful_set.spec.service_name
    volumes = _volumes(stateful_set, spec.get("volumes") or [])
    if volumes:
        spec["volumes"] = volumes
    return {**pod, "spec": spec}


def identity(stateful_set: StatefulSet, ordinal: int) -> dict[str, str]:
    """Return the labels by which a Service can select one pod."""
    return {POD_NAME: pod_name(stateful_set, ordinal), POD_INDEX: str(ordinal)}


def _volumes(stateful_set: StatefulSet, own: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    claims = stateful_set.spec.volume_claim_templates
    names = [claim.get("metadata", {}).get("name", "") for claim in claims]
    # As in Kubernetes, a claim takes the place of a volume of the same name.
    kept = [volume for volume in own if volume.get("name") not in names]
    return [*({"name": name, "emptyDir": {}} for name in names if name), *kept]
