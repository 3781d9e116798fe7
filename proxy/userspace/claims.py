"""Pure: which Service each frontend belongs to, while two may want the same one.

That happens for a moment when an address or NodePort passes from one Service to another and the
news of the new owner comes first. Whoever wanted it first has it, until it lets go.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

from podwire.kube.names import Key
from podwire.proxy.userspace.routes import Frontend

RouteT = TypeVar("RouteT")
"""What a frontend leads to: a route, or whatever else another mode has for it."""


class Claims(Generic[RouteT]):
    """The wanted routes of all Services."""

    def __init__(self) -> None:
        self._wanted: dict[Key, Mapping[Frontend, RouteT]] = {}
        self._claims: dict[Frontend, list[Key]] = {}

    def update(self, key: Key, routes: Mapping[Frontend, RouteT]) -> set[Frontend]:
        """Note what the Service *key* wants now; return the frontends to look at."""
        before = self._wanted.pop(key, {})
        if routes:
            self._wanted[key] = routes
        for frontend in before.keys() - routes.keys():
            self._claims[frontend].remove(key)
            if not self._claims[frontend]:
                del self._claims[frontend]
        for frontend in routes.keys() - before.keys():
            self._claims.setdefault(frontend, []).append(key)
        return {*before, *routes}

    def owner(self, frontend: Frontend) -> Key | None:
        """Return the Service that has *frontend*."""
        claims = self._claims.get(frontend)
        return claims[0] if claims else None

    def route(self, frontend: Frontend) -> RouteT | None:
        """Return where *frontend* leads."""
        owner = self.owner(frontend)
        return None if owner is None else self._wanted[owner][frontend]
