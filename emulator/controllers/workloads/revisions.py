"""Carries out what history.py decides: keeps the ControllerRevisions of one owner."""

from collections.abc import Collection

from podwire.emulator.controllers.claims import settle
from podwire.emulator.controllers.ownership import claim, controller_uid
from podwire.emulator.controllers.workloads.history import Newest, surplus, template_of
from podwire.errors import AlreadyExists, Conflict, NotFound
from podwire.kube.client import Client
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.informer import Informer
from podwire.kube.objects import ControllerRevision, LabelSelectorSpec, Object
from podwire.kube.selectors import from_selector


class Revisions:
    """The ControllerRevisions of all owners of one kind."""

    def __init__(self, client: Client, informer: Informer[ControllerRevision]) -> None:
        self._client = client
        self._informer = informer
        self._by_owner = Index(informer, lambda r: [(r.metadata.namespace, controller_uid(r))])

    async def claimed(
        self, owner: Object, selector: LabelSelectorSpec
    ) -> tuple[ControllerRevision, ...]:
        """Return the owner's revisions, adopted ones among them.

        Raises Conflict when something changed meanwhile.
        """
        namespace = owner.metadata.namespace
        candidates = self._by_owner.get((namespace, owner.metadata.uid))
        candidates += self._by_owner.get((namespace, ""))
        return await settle(self._client, owner, claim(owner, from_selector(selector), candidates))

    async def keep(self, owner: Object, found: Newest, collisions: int) -> ControllerRevision:
        """Make or renumber the newest revision; return it as it is then.

        Raises Conflict when its name is taken: the collision is counted in the owner's status, so
        that the next try finds another name.
        """
        key = key_of(found.revision)
        if found.renumber is not None:
            patch = {"revision": found.renumber}
            return await self._client.patch(ControllerRevision, key, patch)
        if not found.create:
            return found.revision
        try:
            return await self._client.create(found.revision)
        except AlreadyExists:
            present = await self._client.get(ControllerRevision, key)
            ours = controller_uid(present) == owner.metadata.uid
            if ours and template_of(present) == template_of(found.revision):
                return present  # the informer lags
            await self._client.patch(
                type(owner), key_of(owner), _collided(collisions), subresource="status"
            )
            raise Conflict(409, "Conflict", f"the name {key.name} is taken") from None

    async def trim(
        self, revisions: Collection[ControllerRevision], live: Collection[str], limit: int
    ) -> None:
        """Delete the oldest revisions that nothing needs, down to *limit*."""
        for revision in surplus(tuple(revisions), live, limit):
            try:
                await self._client.delete(
                    ControllerRevision, key_of(revision), uid=revision.metadata.uid
                )
            except NotFound:
                continue


def _collided(collisions: int) -> dict[str, dict[str, int]]:
    return {"status": {"collisionCount": collisions + 1}}
