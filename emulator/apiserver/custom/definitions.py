"""Pure: what follows from a write to a CustomResourceDefinition or to the last of its objects."""

from podwire.emulator.apiserver import delete
from podwire.emulator.apiserver.custom import custom
from podwire.emulator.apiserver.request import Api, Request, User

_SERVER = User("system:apiserver", ("system:masters",))


def settle(api: Api, now: float) -> None:
    """Serve what the store's definitions say, and take away what belongs to ended ones."""
    while doomed := custom.settle(api.store, api.kinds, now):
        for resource, stored in doomed:
            key = stored.key
            delete.delete(api, Request("delete", resource, _SERVER, now, key.namespace, key.name))
