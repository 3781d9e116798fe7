"""Writes the status of objects; that one is gone meanwhile is no failure."""

from collections.abc import Mapping
from typing import Any

from podwire.errors import NotFound
from podwire.kube.client import Client
from podwire.kube.codec import key_of
from podwire.kube.objects import T


async def write_status(client: Client, obj: T, patch: Mapping[str, Any]) -> T | None:
    """Merge *patch* into the status of *obj*; return it as it is then, None if it is gone.

    Raises what else the server refuses: Conflict if *patch* names a version that is old.
    """
    try:
        return await client.patch(type(obj), key_of(obj), patch, subresource="status")
    except NotFound:
        return None
