"""Pure: merge patches that controllers write."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from podwire.kube.objects import Pod, View


def status_patch(status: View, always: Collection[str] = ()) -> dict[str, Any]:
    """Return the merge patch that makes *status* the status of an object.

    Fields that have their default are removed, as Kubernetes omits them; those in *always* (JSON
    names) are written as 0.
    """
    built: dict[str, Any] = msgspec.to_builtins(status)
    names = [field.encode_name for field in msgspec.structs.fields(status)]
    return {"status": {name: built.get(name, 0 if name in always else None) for name in names}}


def conditions_patch(pod: Pod, conditions: Sequence[Any]) -> dict[str, Any]:
    """Return the merge patch that makes *conditions* those of *pod*, as long as it is unchanged."""
    # The patch holds all conditions: it must not undo what the kubelet wrote meanwhile.
    version = {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}
    return {"metadata": version, "status": {"conditions": conditions}}
