"""A node's heartbeat: its Lease in kube-node-lease, renewed as the kubelet does (KEP-589)."""

import asyncio
import logging

from podwire.emulator.kubelet.context import NodeContext
from podwire.errors import AlreadyExists, ApiError, NotFound, UnreachableError
from podwire.kube.names import Key
from podwire.kube.objects import Lease, LeaseSpec, ObjectMeta
from podwire.kube.times import rfc3339_micro

NAMESPACE = "kube-node-lease"
DURATION = 40
EVERY = 10.0

log = logging.getLogger(__name__)


async def heartbeat(node: NodeContext) -> None:
    """Create the node's Lease and renew it until cancelled."""
    key = Key(NAMESPACE, node.name)
    while True:
        now = rfc3339_micro(node.clock.now())
        try:
            await node.client.patch(Lease, key, {"spec": {"renewTime": now}})
        except NotFound:
            await _create(node, key, now)
        except (ApiError, UnreachableError) as error:
            log.warning("lease of %s: %s", node.name, error)
        await asyncio.sleep(EVERY)


async def _create(node: NodeContext, key: Key, now: str) -> None:
    lease = Lease(
        metadata=ObjectMeta(name=key.name, namespace=key.namespace),
        spec=LeaseSpec(holder_identity=node.name, lease_duration_seconds=DURATION, renew_time=now),
    )
    try:
        await node.client.create(lease)
    except (AlreadyExists, UnreachableError, ApiError) as error:
        log.warning("lease of %s: %s", node.name, error)
