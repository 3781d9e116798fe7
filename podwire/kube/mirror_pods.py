"""Mirror pods: objects that show what runs without having been asked for through the API."""

from podwire.kube.objects import Pod

# Kubernetes' own annotation: whoever wrote the object also runs the pod.
MIRROR = "kubernetes.io/config.mirror"


def is_mirror(pod: Pod) -> bool:
    """Tell whether *pod* only shows what runs: no kubelet may start or stop it."""
    return MIRROR in pod.metadata.annotations
