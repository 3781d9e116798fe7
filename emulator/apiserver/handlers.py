"""Pure: one request to one answer; the table of what each verb and subresource does."""

from collections.abc import Callable
from dataclasses import replace

from podwire.emulator.apiserver import (
    delete,
    evictions,
    modify,
    read,
    statuses,
    subresources,
    write,
)
from podwire.emulator.apiserver.access import accounts, rbac_aggregation
from podwire.emulator.apiserver.access.authorize import CLUSTER_ROLES
from podwire.emulator.apiserver.custom import definitions
from podwire.emulator.apiserver.custom.custom import DEFINITIONS
from podwire.emulator.apiserver.request import Answer, Api, Request


def _token(api: Api, request: Request) -> Answer:
    from podwire.emulator.apiserver.access import token_requests  # noqa: PLC0415 - not before there are pods

    return token_requests.token(api, request)


_OBJECTS: dict[str, Callable[[Api, Request], Answer]] = {
    "get": read.get,
    "list": read.list_,
    "create": write.create,
    "update": write.update,
    "patch": modify.patch,
    "delete": delete.delete,
    "deletecollection": delete.delete_collection,
}

_SUBRESOURCES: dict[tuple[str, str], Callable[[Api, Request], Answer]] = {
    ("get", "status"): read.get,
    ("update", "status"): write.update,
    ("patch", "status"): modify.patch,
    ("get", "ephemeralcontainers"): read.get,
    ("update", "ephemeralcontainers"): write.update,
    ("patch", "ephemeralcontainers"): modify.patch,
    ("update", "finalize"): write.update,
    ("get", "scale"): subresources.scale,
    ("update", "scale"): subresources.scale,
    ("patch", "scale"): subresources.scale,
    ("create", "binding"): subresources.bind,
    ("create", "eviction"): evictions.evict,
    ("create", "token"): _token,
}


def answer(api: Api, request: Request) -> Answer:
    """Do what *request* asks, whoever does; raises Refused. Watches and streams: not here."""
    if not request.resource.stored:
        from podwire.emulator.apiserver.access import reviews  # noqa: PLC0415 - few ask at the start

        return reviews.review(api, request)
    if request.subresource:
        handler = _SUBRESOURCES.get((request.verb, request.subresource))
    else:
        handler = _OBJECTS.get(request.verb)
    if handler is None:
        raise statuses.wrong_method()
    before = api.store.revision
    answered = handler(api, request)
    custom = request.resource.custom
    if api.store.revision != before:
        _settle(api, request, before)
    if custom and custom.deprecation:
        answered = replace(answered, warnings=(custom.deprecation, *answered.warnings))
    return answered


def _settle(api: Api, request: Request, before: int) -> None:
    """Do to other objects what a write entails, before anybody sees it without that.

    *before* is the revision before it.
    """
    collection, custom = request.resource.collection, request.resource.custom
    # A definition that stays has nothing to learn from its objects, which are written often.
    if collection == DEFINITIONS or (custom is not None and custom.ending):
        definitions.settle(api, request.now)
    elif collection == CLUSTER_ROLES:
        rbac_aggregation.settle(api.store)
    elif collection == "serviceaccounts":
        accounts.settle(api, request.namespace)
    if request.namespace and api.store.count("resourcequotas"):
        from podwire.emulator.apiserver.admission import quota_usage  # noqa: PLC0415 - few have quotas

        quota_usage.settle(api, request.namespace, collection, before)
