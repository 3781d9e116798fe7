"""Writes the mirror pods: each pass makes one Pod object what its containers are."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from podwire.emulator.discovery import mirror
from podwire.emulator.discovery.first_round import FirstRound
from podwire.emulator.discovery.latest import Latest
from podwire.emulator.discovery.world import PodView
from podwire.errors import AlreadyExists, Invalid, NotFound
from podwire.kube.client import Client
from podwire.kube.clock import Clock, rfc3339
from podwire.kube.codec import key_of
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.mirror_pods import is_mirror
from podwire.kube.names import Key
from podwire.kube.objects import Namespace, ObjectMeta, Pod
from podwire.kube.reconcile import Reconciler

log = logging.getLogger(__name__)

ABSENCE = 0.5
"""Seconds for which a pod that somebody has deleted stays away.

`kubectl delete` looks every tenth of a second, and would wait for the end of the new one if it
never missed the old one (client-go tools/watch, UntilWithSync).
"""


class PodWriter:
    """Keeps the mirror pods as *wanted* says; does nothing before `start`."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        clock: Clock,
        recorder: EventRecorder,
        wanted: Callable[[], Mapping[Key, PodView]],
    ) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._wanted = wanted
        self._first = FirstRound()
        self._namespaces = informers.of(Namespace)
        self._informer = informers.of(Pod)
        self._pods = Latest(self._informer, self._pod_changed)
        # What was told of a pod, by container and reason.
        self._told: dict[Key, frozenset[tuple[str, str]]] = {}
        self._away_until: dict[Key, float] = {}
        self._loop = Reconciler(self.reconcile, name="mirror pods", concurrency=8)
        self.look = self._loop.add

    async def run(self) -> None:
        """Work until cancelled."""
        await self._loop.run()

    def start(self, done: Callable[[], None]) -> None:
        """Begin, now that all is known that should be; *done* is called when it is so."""
        # Also what is left from before we were started: nobody else would remove it.
        left = {key_of(pod) for pod in self._informer.all() if is_mirror(pod)}
        self._pods.follow()
        self._namespaces.subscribe(self._namespace_changed)
        self._first.begin(self._wanted().keys() | left, self._loop.add, done)

    def present(self, key: Key) -> Pod | None:
        """Return the Pod object, None if there is none."""
        return self._pods.get(key)

    async def reconcile(self, key: Key) -> float | None:
        """Make the Pod of *key* what its containers are."""
        if not self._first.begun:
            return None
        try:
            return await self._reconcile(key)
        finally:
            self._first.through(key)

    async def _reconcile(self, key: Key) -> float | None:
        view, present = self._wanted().get(key), self._pods.get(key)
        if present is not None and not is_mirror(present):
            if view is not None:
                self._refuse(view, present)
            return None
        if present is not None and (
            view is None
            or present.metadata.deletion_timestamp is not None
            or mirror.replaced(view, present)
        ):
            await self._delete(key, present)
            if present.metadata.deletion_timestamp is not None:
                self._away_until[key] = self._clock.monotonic() + ABSENCE
            present = None
        if view is None:
            self._told.pop(key, None)
            self._away_until.pop(key, None)
            return None
        if present is None:
            patience = self._away_until.get(key, 0.0) - self._clock.monotonic()
            if patience > 0:
                return patience
            self._away_until.pop(key, None)
            if not await self._namespace_accepts(key.namespace):
                return None  # its end will wake us up
            try:
                present = await self._client.create_raw(Pod, key.namespace, mirror.manifest(view))
            except Invalid as error:
                self._invalid(view, error)
                return None
            self._pods.wrote(present)
        try:
            await self._correct(key, view, present)
        except NotFound:
            self._pods.removed(present)
            return 0.0
        self._tell_obstacles(key, view, present)
        return None

    async def _correct(self, key: Key, view: PodView, present: Pod) -> None:
        # The status first: it is what traffic waits for.
        status = mirror.status(view, present.status, rfc3339(self._clock.now()))
        if mirror.differs(status, present.status):
            present = await self._client.patch(Pod, key, {"status": status}, subresource="status")
            self._pods.wrote(present)
        correction = mirror.correction(view, present)
        if correction is not None:
            self._pods.wrote(await self._client.patch(Pod, key, correction))

    async def _delete(self, key: Key, present: Pod) -> None:
        with suppress(NotFound):
            await self._client.delete(Pod, key, grace=0, uid=present.metadata.uid)
        self._pods.removed(present)

    async def _namespace_accepts(self, name: str) -> bool:
        """Have the namespace; tell whether objects may be made in it."""
        found = self._namespaces.get(Key("", name))
        if found is None:
            try:
                found = await self._client.create(Namespace(metadata=ObjectMeta(name=name)))
                log.info("namespace %s, which containers name, was created", name)
            except AlreadyExists:
                return True
        return found.metadata.deletion_timestamp is None

    def _refuse(self, view: PodView, present: Pod) -> None:
        # Once, and not again for each change of that pod.
        told = frozenset({(view.sandbox.id, present.metadata.uid)})
        if self._told.get(view.key) == told:
            return
        self._told[view.key] = told
        text = (
            f"container {view.sandbox.name} says that it is pod {view.key}, and there is a pod of"
            f" that name already; delete it, or give the container another podwire.dev/pod"
        )
        log.warning("%s", text)
        self._recorder.event(present, "Warning", "DuplicatePodName", text)

    def _invalid(self, view: PodView, error: Invalid) -> None:
        text = f"container {view.sandbox.name} cannot be a pod: {error}"
        log.warning("%s", text)
        about = Namespace(metadata=ObjectMeta(name=view.key.namespace))
        self._recorder.event(about, "Warning", "InvalidPod", text)

    def _tell_obstacles(self, key: Key, view: PodView, present: Pod) -> None:
        before, now = self._told.get(key, frozenset()), mirror.obstacles(view)
        for one in now:
            if (one.container, one.reason) not in before:
                self._recorder.event(present, "Warning", one.reason, one.text)
        self._told[key] = frozenset((one.container, one.reason) for one in now)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        if pod is None:
            return
        key = key_of(pod)
        if self._wanted().get(key) is not None or is_mirror(pod):
            self._loop.add(key)

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is None and old is not None:
            for key in self._wanted():
                if key.namespace == old.metadata.name:
                    self._loop.add(key)
