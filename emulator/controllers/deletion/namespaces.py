"""Namespaces: what each one gets at its birth, and what must be gone before its end."""

import msgspec

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.deletion.contents import (
    Contents,
    count,
    finalizers_message,
    namespaced_resources,
    remaining_message,
)
from podwire.emulator.controllers.status_writer import write_status
from podwire.errors import AlreadyExists, NotFound
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import (
    Condition,
    ConfigMap,
    Namespace,
    Object,
    ObjectMeta,
    Pod,
    ServiceAccount,
)
from podwire.kube.reconcile import Reconciler
from podwire.kube.times import rfc3339

ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters."
)

# How soon a terminating namespace is looked at again while something is left in it, in seconds.
_AGAIN = 0.2

# So long a terminating namespace can be seen at least, in seconds: Kubernetes takes some 5. Who
# deletes one and asks for it then (kubectl's --wait does) is not to find that it never was.
_VISIBLE = 0.4


class NamespaceDefaults:
    """Keeps the ServiceAccount `default` and the ConfigMap kube-root-ca.crt in every namespace."""

    def __init__(self, context: ControllerContext, *, root_ca: str) -> None:
        self._context = context
        self._root_ca = root_ca
        self._namespaces = context.informers.of(Namespace)
        self._accounts = context.informers.of(ServiceAccount)
        self._config_maps = context.informers.of(ConfigMap)
        self._loop = Reconciler(self.reconcile, name="namespace-defaults")
        self._namespaces.subscribe(self._namespace_changed)
        self._accounts.subscribe(self._content_changed)
        self._config_maps.subscribe(self._content_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run)

    async def reconcile(self, key: Key) -> float | None:
        """Give one namespace what it lacks."""
        namespace = key.name
        if not self._context.accepts_objects(namespace):
            return None
        if self._accounts.get(Key(namespace, "default")) is None:
            await self._create(
                ServiceAccount(metadata=ObjectMeta(name="default", namespace=namespace))
            )
        wanted = root_ca_config_map(namespace, self._root_ca)
        present = self._config_maps.get(key_of(wanted))
        if present is None:
            await self._create(wanted)
        elif present.data != wanted.data:
            await self._context.client.patch(ConfigMap, key_of(wanted), {"data": wanted.data})
        return None

    async def _create(self, obj: Object) -> None:
        try:
            await self._context.client.create(obj)
        except AlreadyExists:
            return

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self._loop.add(key_of(new))

    def _content_changed(self, old: Object | None, new: Object | None) -> None:
        changed = new or old
        if changed is not None and changed.metadata.name in ("default", ROOT_CA):
            self._loop.add(Key("", changed.metadata.namespace))


class NamespaceEnds:
    """Empties terminating namespaces, and lets go of those that are empty."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._namespaces = context.informers.of(Namespace)
        self._loop = Reconciler(self.reconcile, name="namespace")
        self._first_seen: dict[str, float] = {}
        self._namespaces.subscribe(self._namespace_changed)
        context.informers.of(Pod).subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run)

    async def reconcile(self, key: Key) -> float | None:
        """Delete what is in one terminating namespace; finalize it when nothing is left."""
        namespace = self._namespaces.get(key)
        if namespace is None or namespace.metadata.deletion_timestamp is None:
            return None
        if "kubernetes" not in namespace.spec.finalizers:
            return None
        now = self._context.clock.monotonic()
        visible = now - self._first_seen.setdefault(namespace.metadata.uid, now)
        left = await self._empty(key.name)
        await self._say(namespace, left)
        if left:
            return _AGAIN
        if visible < _VISIBLE:
            return _VISIBLE - visible
        self._first_seen.pop(namespace.metadata.uid, None)
        try:
            fresh = await self._client.get(Namespace, key)
            finalizers = tuple(f for f in fresh.spec.finalizers if f != "kubernetes")
            spec = msgspec.structs.replace(fresh.spec, finalizers=finalizers)
            await self._client.replace(
                msgspec.structs.replace(fresh, spec=spec), subresource="finalize"
            )
        except NotFound:
            return None
        return None

    async def _empty(self, namespace: str) -> list[Contents]:
        """Delete all there is, and return what is still there: pods take their grace period."""
        left: list[Contents] = []
        for resource in await namespaced_resources(self._client):
            try:
                present = await count(self._client, resource, namespace)
                if not present.number:
                    continue
                await self._client.delete_all(resource, namespace)
                present = await count(self._client, resource, namespace)
            except NotFound:
                continue  # the kind itself went meanwhile
            if present.number:
                left.append(present)
            if resource.plural == "pods" and present.number:
                # Pods first (KEP-5080): while they run, what protects them must stay.
                break
        return left

    async def _say(self, namespace: Namespace, left: list[Contents]) -> None:
        present = {c.type: c for c in namespace.status.conditions}
        wanted = [c for c in _conditions(left) if _news(present.get(c.type), c)]
        if not wanted:
            return
        moment = rfc3339(self._context.clock.now())
        for condition in wanted:
            present[condition.type] = msgspec.structs.replace(
                condition, last_transition_time=moment
            )
        written = [msgspec.to_builtins(c) for c in present.values()]
        await write_status(self._client, namespace, {"status": {"conditions": written}})

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None and new.metadata.deletion_timestamp is not None:
            self._loop.add(key_of(new))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None and old is not None:
            namespace = self._namespaces.get(Key("", old.metadata.namespace))
            if namespace is not None:
                self._namespace_changed(None, namespace)


def root_ca_config_map(namespace: str, certificate: str) -> ConfigMap:
    """Return the ConfigMap by which pods know the API server's certificate authority."""
    return ConfigMap(
        metadata=ObjectMeta(
            name=ROOT_CA,
            namespace=namespace,
            annotations={"kubernetes.io/description": _DESCRIPTION},
        ),
        data={"ca.crt": certificate},
    )


def _conditions(left: list[Contents]) -> list[Condition]:
    """Return how far the end of a namespace is, in Kubernetes' words."""
    held = finalizers_message(left)
    return [
        _condition(
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        _condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        _condition(
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        _condition(
            "NamespaceContentRemaining",
            "SomeResourcesRemain" if left else "ContentRemoved",
            remaining_message(left) if left else "All content successfully removed",
            holds=bool(left),
        ),
        _condition(
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
            held or "All content-preserving finalizers finished",
            holds=bool(held),
        ),
    ]


def _condition(type_: str, reason: str, message: str, *, holds: bool = False) -> Condition:
    return Condition(type=type_, status=str(holds), reason=reason, message=message)


def _news(present: Condition | None, wanted: Condition) -> bool:
    return present is None or (present.status, present.message) != (wanted.status, wanted.message)
