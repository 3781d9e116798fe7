"""The pods of one kind of controller: whom they wake up, how they are claimed, made and deleted.

As pkg/controller/controller_utils.go (RealPodControl): each write is expected before it is sent and
is told of in an event of the owner.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from podwire.emulator.controllers.batches import in_batches, together
from podwire.emulator.controllers.claims import settle
from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.expectations import Expectations
from podwire.emulator.controllers.ownership import claim, controller_of, controller_uid
from podwire.errors import AlreadyExists, ApiError, NotFound
from podwire.kube.codec import key_of
from podwire.kube.events import EventRecorder
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import LabelSelectorSpec, Object, Pod, T
from podwire.kube.selectors import from_selector

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Words:
    """What events say of a pod; `{pod}`, `{owner}` and `{error}` stand for what they are about."""

    created: str = "Created pod: {pod}"
    not_created: str = "Error creating: {error}"
    deleted: str = "Deleted pod: {pod}"
    not_deleted: str = "Error deleting: {error}"


class OwnedPods(Generic[T]):
    """The pods that belong to owners of one *kind*.

    *wake* is called with an owner whose pods changed, or that *accepts* an orphan, which it may
    then claim; *words* are those of the events.
    """

    def __init__(
        self,
        context: ControllerContext,
        kind: type[T],
        events: EventRecorder,
        *,
        wake: Callable[[Key], None],
        accepts: Callable[[T, Pod], bool],
        words: Words | None = None,
    ) -> None:
        self._client = context.client
        self._kind = kind.RESOURCE.kind
        self._events = events
        self._wake = wake
        self._accepts = accepts
        self._words = words or Words()
        self._expectations = Expectations(context.clock)
        pods = context.informers.of(Pod)
        self._by_owner = Index(pods, lambda p: [(p.metadata.namespace, controller_uid(p))])
        owners = context.informers.of(kind)
        self._owners = Index(owners, lambda owner: [owner.metadata.namespace])
        pods.subscribe(self._changed)

    def of(self, owner: Object) -> tuple[Pod, ...]:
        """Return the pods that name *owner* as their controller."""
        return self._by_owner.get((owner.metadata.namespace, owner.metadata.uid))

    async def claimed(
        self, owner: T, selector: LabelSelectorSpec, *, finalizer: str = ""
    ) -> tuple[Pod, ...]:
        """Adopt and release pods as *selector* says; return those that *owner* has then.

        What is adopted gets *finalizer* too. Raises Conflict when something changed meanwhile.
        """
        orphans = self._by_owner.get((owner.metadata.namespace, ""))
        candidates = (*self.of(owner), *(p for p in orphans if self._accepts(owner, p)))
        claims = claim(owner, from_selector(selector), candidates)
        return await settle(self._client, owner, claims, finalizer=finalizer)

    def missing(self, owner: Key) -> float | None:
        """Return None if all writes for *owner* were seen, else how long to wait, seconds."""
        return self._expectations.missing(owner)

    async def create(
        self, owner: Object, items: Sequence[Item], pod_for: Callable[[Item], dict[str, Any]]
    ) -> tuple[int, tuple[ApiError, ...]]:
        """Make the pods (JSON values) for *items* in slow-start batches.

        Return how many were made, and the refusals; after a batch with refusals none is tried.
        """
        made = 0

        async def write(item: Item) -> None:
            nonlocal made
            await self._create(owner, pod_for(item))
            made += 1

        errors = await in_batches(items, write)
        return made, errors

    async def delete(
        self,
        owner: Object,
        pods: Sequence[Pod],
        first: Callable[[Pod], Awaitable[None]] | None = None,
    ) -> tuple[ApiError, ...]:
        """Delete *pods*, after *first* was done to each; return the refusals."""
        for pod in pods:  # all of them before the first await: no pass may see a part
            self._expectations.delete(key_of(owner), pod.metadata.uid)
        return await together(pods, lambda pod: self._delete(owner, pod, first))

    async def _create(self, owner: Object, pod: dict[str, Any]) -> None:
        name = Key(owner.metadata.namespace, pod["metadata"]["name"])
        self._expectations.create(key_of(owner), name)
        try:
            await self._client.create_raw(Pod, name.namespace, pod)
        except BaseException as error:
            self._expectations.forget(name)
            # There already: ours, and the informer lags; or a stranger's, whose end brings us back.
            if isinstance(error, ApiError) and not isinstance(error, AlreadyExists):
                self._say(owner, "FailedCreate", self._words.not_created, name.name, error)
            raise
        self._say(owner, "SuccessfulCreate", self._words.created, name.name)

    async def _delete(
        self, owner: Object, pod: Pod, first: Callable[[Pod], Awaitable[None]] | None
    ) -> None:
        try:
            if first is not None:
                await first(pod)
            await self._client.delete(Pod, key_of(pod), uid=pod.metadata.uid)
        except NotFound:
            self._expectations.forget(pod.metadata.uid)
            return
        except BaseException as error:
            self._expectations.forget(pod.metadata.uid)
            if isinstance(error, ApiError):
                name = pod.metadata.name
                self._say(owner, "FailedDelete", self._words.not_deleted, name, error)
            raise
        self._say(owner, "SuccessfulDelete", self._words.deleted, pod.metadata.name)

    def _say(
        self, owner: Object, reason: str, words: str, pod: str, error: ApiError | None = None
    ) -> None:
        said = words.format(pod=pod, owner=owner.metadata.name, error=error and error.message)
        self._events.event(owner, "Warning" if error else "Normal", reason, said)

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        self._expectations.saw(old, new)
        for pod in (old, new):
            reference = controller_of(pod) if pod else None
            if pod and reference and reference.kind == self._kind:
                self._wake(Key(pod.metadata.namespace, reference.name))
        if new is not None and controller_of(new) is None:
            for owner in self._owners.get(new.metadata.namespace):
                if self._accepts(owner, new):
                    self._wake(key_of(owner))
