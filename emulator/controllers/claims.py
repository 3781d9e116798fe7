"""Carries out what ownership.claim decided."""

from podwire.emulator.controllers.ownership import Claim, adoption, release
from podwire.errors import Conflict, NotFound
from podwire.kube.client import Client
from podwire.kube.codec import key_of
from podwire.kube.objects import Object, T


async def settle(
    client: Client, owner: Object, claim: Claim[T], *, finalizer: str = ""
) -> tuple[T, ...]:
    """Adopt and release as *claim* says; return what *owner* has then.

    What is adopted gets *finalizer* too, if one is given. Raises Conflict when the owner or one of
    the objects changed meanwhile.
    """
    if claim.adopt:
        # The copy may be old: an owner that is being deleted must not adopt (kubernetes #42639).
        fresh = await client.get(type(owner), key_of(owner))
        if fresh.metadata.uid != owner.metadata.uid or fresh.metadata.deletion_timestamp:
            raise Conflict(409, "Conflict", f"{owner.metadata.name} is gone or terminating")
    owned = list(claim.owned)
    for orphan in claim.adopt:
        try:
            patch = adoption(owner, orphan, finalizer=finalizer)
            owned.append(await client.patch(type(orphan), key_of(orphan), patch))
        except NotFound:
            continue
    for obj in claim.release:
        try:
            await client.patch(type(obj), key_of(obj), release(owner, obj))
        except NotFound:
            continue
    return tuple(owned)
