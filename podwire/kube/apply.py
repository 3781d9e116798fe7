"""Makes objects be as manifests say: created, or patched as `kubectl apply` would."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

from podwire.errors import ApiError
from podwire.kube.manifests import Manifest
from podwire.kube.merge import three_way, with_last_applied
from podwire.kube.plain import Connection

Outcome = Literal["created", "configured", "unchanged"]


@dataclass(frozen=True, slots=True)
class Applied:
    """One object as it now is, and what had to be done for it."""

    kind: str
    resource: str
    namespace: str
    name: str
    path: str
    outcome: Outcome

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name} {self.outcome}"


class Kinds:
    """Where each kind lives, as the server's discovery says; asked once per group and version."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._found: dict[str, dict[str, tuple[str, bool]]] = {}

    def path(self, api_version: str, kind: str, namespace: str) -> str:
        """Return the path of the collection; raises ApiError when the server has no such kind."""
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if api_version not in self._found:
            self._found[api_version] = self._ask(prefix)
        try:
            plural, namespaced = self._found[api_version][kind]
        except KeyError:
            raise ApiError(
                404,
                "NotFound",
                f"the server has no kind {kind!r} in {api_version!r}\n"
                "  see what it has: kubectl api-resources",
            ) from None
        inside = f"/namespaces/{namespace}" if namespaced else ""
        return f"{prefix}{inside}/{plural}"

    def _ask(self, prefix: str) -> dict[str, tuple[str, bool]]:
        answer = self._connection.find(prefix) or {}
        return {
            item["kind"]: (item["name"], bool(item["namespaced"]))
            for item in cast("list[dict[str, Any]]", answer.get("resources") or [])
            if "/" not in item["name"]
        }


def apply(
    connection: Connection,
    manifests: Iterable[Manifest],
    *,
    namespace: str = "default",
    told: Callable[[Applied], object] = lambda _: None,
) -> tuple[Applied, ...]:
    """Apply *manifests* in order; *told* hears of each. Without a namespace they get *namespace*.

    Raises ApiError, whose message begins with the manifest's place, at the first that is refused.
    """
    kinds = Kinds(connection)
    done = list[Applied]()
    for manifest in manifests:
        try:
            applied = _apply(connection, kinds, manifest, namespace)
        except ApiError as error:
            raise ApiError.of(
                error.code,
                error.reason,
                f"{manifest.place}: {manifest.kind} {manifest.name!r} refused: {error.message}",
            ) from error
        told(applied)
        done.append(applied)
    return tuple(done)


def delete(
    connection: Connection,
    manifests: Iterable[Manifest],
    *,
    namespace: str = "default",
    options: dict[str, Any] | None = None,
) -> None:
    """Delete what *manifests* name, the last first; what is gone already is fine."""
    kinds = Kinds(connection)
    for manifest in reversed(tuple(manifests)):
        inside = manifest.namespace or namespace
        path = kinds.path(manifest.api_version, manifest.kind, inside)
        try:
            connection.delete(f"{path}/{manifest.name}", options)
        except ApiError as error:
            if error.code != 404:
                raise


def _apply(connection: Connection, kinds: Kinds, manifest: Manifest, namespace: str) -> Applied:
    inside = manifest.namespace or namespace
    collection = kinds.path(manifest.api_version, manifest.kind, inside)
    namespaced = "/namespaces/" in collection
    body = dict(manifest.body)
    if namespaced:
        body["metadata"] = {**body["metadata"], "namespace": inside}
    wanted = with_last_applied(body)
    path = f"{collection}/{manifest.name}"

    def applied(outcome: Outcome) -> Applied:
        resource = collection.rpartition("/")[2]
        shown = inside if namespaced else ""
        return Applied(manifest.kind, resource, shown, manifest.name, path, outcome)

    # Create first: almost always right, and one request instead of two.
    try:
        connection.create(collection, wanted, {"fieldManager": "podwire"})
    except ApiError as error:
        # A Service that asks for an address or a port is told that it is taken, even if by itself.
        present = connection.find(path) if error.reason in ("AlreadyExists", "Invalid") else None
        if present is None:
            raise
    else:
        return applied("created")
    patch = three_way(wanted, present)
    if not patch:
        return applied("unchanged")
    connection.patch(path, patch, query={"fieldManager": "podwire"})
    return applied("configured")
