"""Writes EndpointSlices as slicing.slice_writes decided, and remembers what it wrote."""

from podwire.emulator.controllers.own_writes import OwnWrites
from podwire.emulator.controllers.services.slicing import SliceWrites
from podwire.errors import ApiError, NotFound
from podwire.kube.client import Client
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice


async def write_slices(
    client: Client, own: OwnWrites[EndpointSlice], group: Key, writes: SliceWrites
) -> None:
    """Create, update, then delete; raises what the server refuses, Conflict for a stale copy."""
    try:
        for slice_ in writes.create:
            own.wrote(group, await client.create(slice_))
        for slice_ in writes.update:
            own.wrote(group, await client.replace(slice_))
        for slice_ in writes.delete:
            await _delete(client, slice_)
            own.deleted(group, key_of(slice_))
    except ApiError:
        own.forget(group)
        raise


async def _delete(client: Client, slice_: EndpointSlice) -> None:
    try:
        await client.delete(EndpointSlice, key_of(slice_), uid=slice_.metadata.uid)
    except NotFound:
        return
