"""Pure: the labels by which an EndpointSlice says of which Service it is, and who keeps it."""

from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


def services_of(slice_: EndpointSlice, controller: str) -> list[Key]:
    """Return the Service that *slice_* is of, if *controller* keeps it: one at most."""
    labels = slice_.metadata.labels
    if labels.get(MANAGED_BY) != controller or SERVICE_NAME not in labels:
        return []
    return [Key(slice_.metadata.namespace, labels[SERVICE_NAME])]
