"""The garbage collector: deletes what lost its owners, and ends foreground and orphan deletions.

What to do with one object is decided in owners.py; this module knows who owns whom, among objects
of all kinds that the API server serves.
"""

import asyncio
from typing import Any

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.deletion.followed import FollowedKinds
from podwire.emulator.controllers.deletion.owners import (
    FOREGROUND,
    ORPHAN,
    Collect,
    Disown,
    OwnerState,
    blocks,
    frees_dependents,
    verdict,
    waits_for_dependents,
)
from podwire.emulator.controllers.ownership import references_patch
from podwire.errors import NotFound
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import KINDS, Event, Object, OwnerReference
from podwire.kube.reconcile import Reconciler

# Nobody owns through events, and there are many of them.
COLLECTED: tuple[type[Object], ...] = tuple(kind for kind in KINDS if kind is not Event)

# Uids of owners that are known to be gone; beyond this many the oldest are asked for again.
_REMEMBERED = 10_000


class GarbageCollector:
    """Watches every kind for the sake of its ownerReferences."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._objects: dict[str, Object] = {}
        self._dependents: dict[str, dict[str, Object]] = {}
        self._gone: dict[str, None] = {}
        # Owned by a kind that is not known, as far as we know: judged when there are other kinds.
        self._unjudged: set[str] = set()
        # One loop for all kinds: its keys are uids.
        self._loop = Reconciler(self._reconcile, name="garbage", concurrency=16)
        self._others = FollowedKinds(context, self.changed, self._judge_again)
        for kind in COLLECTED:
            context.informers.of(kind).subscribe(self.changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._others.run)

    async def collect(self, obj: Object) -> None:
        """Bring one object to where its deletion or its owners want it."""
        if frees_dependents(obj):
            await self._free_dependents(obj)
            await self._drop_finalizer(obj, ORPHAN)
            return
        if waits_for_dependents(obj):
            dependents = self._dependents_of(obj)
            if not any(blocks(dependent, obj) for dependent in dependents):
                await self._drop_finalizer(obj, FOREGROUND)
            return
        if obj.metadata.deletion_timestamp is not None:
            return
        states: dict[str, OwnerState] = {}
        for reference in obj.metadata.owner_references:
            states[reference.uid] = await self._state(obj, reference)
        decision = verdict(obj, states, has_dependents=bool(self._dependents_of(obj)))
        if isinstance(decision, Disown):
            await self._patch(obj, references_patch(obj, decision.keep))
        elif isinstance(decision, Collect):
            await self._delete(obj, decision)

    def changed(self, old: Object | None, new: Object | None) -> None:
        """Take note of a change, and have those looked at whom it concerns."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._left(old)
            old = None
        if new is None:
            return
        uid = new.metadata.uid
        self._objects[uid] = new
        before = {r.uid for r in old.metadata.owner_references} if old else set[str]()
        after = {r.uid for r in new.metadata.owner_references}
        for owner in before - after:
            self._unlink(owner, uid)
        for owner in after:
            self._dependents.setdefault(owner, {})[uid] = new
        if waits_for_dependents(new):
            self._look_at(new, *self._dependents_of(new))
        elif frees_dependents(new) or any(self._is_suspect(owner) for owner in after):
            self._look_at(new)
        # A dependent that no longer blocks, or no longer depends, may be what an owner waits for.
        self._look_at(*(self._objects[o] for o in before | after if self._waits(o)))

    def _left(self, obj: Object) -> None:
        uid = obj.metadata.uid
        self._objects.pop(uid, None)
        self._unjudged.discard(uid)
        self._gone[uid] = None
        if len(self._gone) > _REMEMBERED:
            self._gone.pop(next(iter(self._gone)))
        self._look_at(*self._dependents.get(uid, {}).values())
        for reference in obj.metadata.owner_references:
            self._unlink(reference.uid, uid)
            if self._waits(reference.uid):
                self._look_at(self._objects[reference.uid])

    def _unlink(self, owner: str, dependent: str) -> None:
        dependents = self._dependents.get(owner, {})
        dependents.pop(dependent, None)
        if not dependents:
            self._dependents.pop(owner, None)

    def _waits(self, uid: str) -> bool:
        obj = self._objects.get(uid)
        return obj is not None and waits_for_dependents(obj)

    def _is_suspect(self, owner: str) -> bool:
        return owner not in self._objects or self._waits(owner)

    def _dependents_of(self, obj: Object) -> tuple[Object, ...]:
        return tuple(self._dependents.get(obj.metadata.uid, {}).values())

    def _look_at(self, *objects: Object) -> None:
        for obj in objects:
            self._loop.add(Key("", obj.metadata.uid))

    def _judge_again(self) -> None:
        unjudged, self._unjudged = self._unjudged, set()
        for uid in unjudged:
            self._loop.add(Key("", uid))

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._objects.get(key.name)
        if obj is not None:
            await self.collect(obj)
        return None

    async def _state(self, obj: Object, reference: OwnerReference) -> OwnerState:
        if reference.uid in self._gone:
            return "absent"
        owner = self._objects.get(reference.uid)
        namespace = obj.metadata.namespace
        if owner is None:
            # Its informer may be behind: only the API server knows.
            kind = self._others.kinds.get((_group(reference.api_version), reference.kind))
            if kind is None:
                self._unjudged.add(obj.metadata.uid)
                return "solid"  # a kind that nobody here knows: not ours to judge
            key = Key(namespace if kind.RESOURCE.namespaced else "", reference.name)
            try:
                owner = await self._client.get(kind, key)
            except NotFound:
                return "absent"
            if owner.metadata.uid != reference.uid:
                return "absent"
        if owner.RESOURCE.namespaced and owner.metadata.namespace != namespace:
            return "absent"  # owners in other namespaces do not count
        return "waiting" if waits_for_dependents(owner) else "solid"

    async def _free_dependents(self, owner: Object) -> None:
        uid = owner.metadata.uid
        await asyncio.gather(
            *(
                self._patch(
                    dependent,
                    references_patch(
                        dependent,
                        (r for r in dependent.metadata.owner_references if r.uid != uid),
                    ),
                )
                for dependent in self._dependents_of(owner)
            )
        )

    async def _drop_finalizer(self, obj: Object, finalizer: str) -> None:
        patch = {
            "metadata": {
                "resourceVersion": obj.metadata.resource_version,
                "finalizers": [f for f in obj.metadata.finalizers if f != finalizer] or None,
            }
        }
        await self._patch(obj, patch)

    async def _patch(self, obj: Object, patch: dict[str, Any]) -> None:
        try:
            await self._client.patch(type(obj), key_of(obj), patch)
        except NotFound:
            return

    async def _delete(self, obj: Object, decision: Collect) -> None:
        try:
            await self._client.delete(
                type(obj), key_of(obj), uid=obj.metadata.uid, propagation=decision.propagation
            )
        except NotFound:
            return


def _group(api_version: str) -> str:
    group, slash, _ = api_version.partition("/")
    return group if slash else ""
