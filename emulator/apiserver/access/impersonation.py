"""Pure: to ask as somebody else (`kubectl --as`), for whoever may do that.

Source: apiserver/pkg/endpoints/filters/impersonation.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.access import access, authn
from podwire.emulator.apiserver.access.authorize import ACCOUNT_PREFIX
from podwire.emulator.apiserver.access.rbac import Asked
from podwire.emulator.apiserver.request import Api, User
from podwire.kube import syntax

_PREFIX = "impersonate-"
_EXTRA = f"{_PREFIX}extra-"
_GROUP = "authentication.k8s.io"


def acting(api: Api, user: User, headers: Iterable[tuple[str, str]]) -> User:
    """Return who *user* is for this request: itself, or whom the headers name.

    Raises Refused: 403 for who may not be that, 400 for headers without a user.
    """
    found = [(n.lower(), value) for n, value in headers if n[:12].lower() == _PREFIX]
    if not found:
        return user
    name = _first(found, "user")
    groups = tuple(value for header, value in found if header == f"{_PREFIX}group" and value)
    uid = _first(found, "uid")
    extra = _extra(found)
    if not name:
        if not (groups or uid or extra):
            return user
        raise statuses.bad_request(f"requested {_words(found)} without impersonating a user")
    for wanted in _wanted(name, groups, uid, extra):
        access.require(api, user, wanted)
    account = _account(name)
    if account is not None and not groups:
        groups = authn.groups_of(account[0])
    return User(name, _with_everybody(name, groups), uid, extra)


def _wanted(
    name: str, groups: Iterable[str], uid: str, extra: Iterable[tuple[str, tuple[str, ...]]]
) -> Iterator[Asked]:
    account = _account(name)
    if account is None:
        yield Asked("impersonate", resource="users", name=name)
    else:
        namespace, short = account
        yield Asked("impersonate", resource="serviceaccounts", namespace=namespace, name=short)
    for group in groups:
        yield Asked("impersonate", resource="groups", name=group)
    for key, values in extra:
        for value in values:
            yield Asked("impersonate", _GROUP, "userextras", key, name=value)
    if uid:
        yield Asked("impersonate", _GROUP, "uids", name=uid)


def _account(name: str) -> tuple[str, str] | None:
    """Return namespace and name of a ServiceAccount's user, None for any other name."""
    namespace, colon, short = name.removeprefix(ACCOUNT_PREFIX).partition(":")
    if not name.startswith(ACCOUNT_PREFIX) or not colon:
        return None
    if syntax.label(namespace) or syntax.subdomain(short):
        return None
    return namespace, short


def _with_everybody(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    if name == authn.ANONYMOUS:
        everybody = authn.UNAUTHENTICATED
    elif authn.UNAUTHENTICATED in groups:
        return groups
    else:
        everybody = authn.AUTHENTICATED
    return groups if everybody in groups else (*groups, everybody)


def _first(headers: Iterable[tuple[str, str]], what: str) -> str:
    return next((value for name, value in headers if name == _PREFIX + what), "")


def _extra(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        if name.startswith(_EXTRA):
            key = unquote(name.removeprefix(_EXTRA))
            found[key] = (*found.get(key, ()), value)
    return tuple(found.items())


def _words(headers: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{name.removeprefix(_PREFIX)}={value}" for name, value in headers)
