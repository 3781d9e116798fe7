"""Pure: one request to one answer; the table of what each verb and subresource does."""

from collections.abc import Callable

from podwire.emulator.apiserver import (
    delete,
    modify,
    read,
    reviews,
    statuses,
    subresources,
    write,
)
from podwire.emulator.apiserver.request import Answer, Api, Request

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
    ("update", "finalize"): write.update,
    ("get", "scale"): subresources.scale,
    ("update", "scale"): subresources.scale,
    ("patch", "scale"): subresources.scale,
    ("create", "binding"): subresources.bind,
    ("create", "eviction"): subresources.evict,
}


def answer(api: Api, request: Request) -> Answer:
    """Do what *request* asks; raises Refused. Watches and streams are not answered here."""
    reviews.check(request)
    if not request.resource.stored:
        return reviews.review(request)
    if request.subresource:
        handler = _SUBRESOURCES.get((request.verb, request.subresource))
    else:
        handler = _OBJECTS.get(request.verb)
    if handler is None:
        raise statuses.wrong_method()
    return handler(api, request)
