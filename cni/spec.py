"""Pure: the words of the CNI specification: versions, error codes, call parameters.

Versions 0.1.0 to 1.1.0 of https://www.cni.dev/docs/spec/; section names are those of 1.1.0.
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
OLDEST = VERSIONS[0]
NEWEST = VERSIONS[-1]


class Code(IntEnum):
    """Error codes: below 100 as the specification has them ("Error"), above our own."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    BAD_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODE_FAILURE = 6
    INVALID_CONFIG = 7
    INVALID_NAMESPACE = 8
    NOT_READY = 50
    KERNEL = 100
    ADDRESSES = 101
    DELEGATE = 102
    CHECK_FAILED = 103


class CniError(Exception):
    """A failure as the runtime is told of it: a code, a message and perhaps details."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def document(self, version: str) -> dict[str, object]:
        """Return the error as the JSON object for stdout."""
        document: dict[str, object] = {
            "cniVersion": version,
            "code": int(self.code),
            "msg": self.message,
        }
        if self.details:
            document["details"] = self.details
        return document


class Attachment(NamedTuple):
    """What an interface belongs to: the pair that names it in every call of its life."""

    container_id: str
    interface: str


class Call(NamedTuple):
    """The parameters of one call. What a command does not use is empty.

    *namespace* is the text the runtime gave: a path that is opened, never parsed.
    """

    command: str
    attachment: Attachment
    namespace: str = ""
    arguments: Mapping[str, str] = MappingProxyType({})
    plugin_path: tuple[str, ...] = ()
    own_namespace_allowed: bool = False


def parse_call(environ: Mapping[str, str]) -> Call:
    """Return the call that *environ* asks for. Raises CniError with code 4.

    An empty variable counts as absent: libcni always sets all six of them.
    """
    command = environ.get("CNI_COMMAND", "")
    needed = {"CNI_COMMAND", *_NEEDED.get(command, ())}
    missing = sorted(name for name in needed if not environ.get(name))
    if missing:
        raise CniError(
            Code.BAD_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing"
        )
    if command not in _NEEDED:
        raise CniError(Code.BAD_ENVIRONMENT, f"unknown CNI_COMMAND: {command}")
    if "CNI_CONTAINERID" not in _NEEDED[command]:
        return Call(command, Attachment("", ""), plugin_path=_plugin_path(environ))
    container_id = environ["CNI_CONTAINERID"]
    if not _IDENTIFIER.fullmatch(container_id):
        raise CniError(
            Code.BAD_ENVIRONMENT,
            f"invalid characters in containerID: CNI_CONTAINERID={container_id!r}",
        )
    _require_interface_name(environ["CNI_IFNAME"])
    return Call(
        command=command,
        attachment=Attachment(container_id, environ["CNI_IFNAME"]),
        namespace=environ.get("CNI_NETNS", ""),
        arguments=_arguments(environ.get("CNI_ARGS", "")),
        plugin_path=_plugin_path(environ),
        own_namespace_allowed=environ.get("CNI_NETNS_OVERRIDE", "").lower() in ("1", "true"),
    )


def interface_name_fault(name: str) -> str:
    """Return why the kernel would not have *name* for an interface; empty if it would."""
    # Bytes that are no UTF-8 stand in an environment as lone surrogates.
    if len(name.encode(errors="surrogateescape")) > 15:
        return "interface name is too long"
    if name in (".", ".."):
        return "interface name is . or .."
    if any(c in "/:" or c.isspace() for c in name):
        return "interface name contains / or : or whitespace characters"
    # The kernel would number "eth%d", take any byte, and keep no setting for "all" and "default".
    if "%" in name or not name.isprintable() or name in ("all", "default"):
        return "interface name is not usable"
    return ""


def is_network_name(name: str) -> bool:
    """Return whether the specification allows *name* for a network."""
    return _IDENTIFIER.fullmatch(name) is not None


def at_least(version: str, least: str) -> bool:
    """Return whether *version* is *least* or later; both are of VERSIONS."""
    return VERSIONS.index(version) >= VERSIONS.index(least)


def version_document(requested: str) -> dict[str, object]:
    """Return the answer to VERSION: that of the request if there is one, and all we know."""
    return {"cniVersion": requested or NEWEST, "supportedVersions": list(VERSIONS)}


_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ATTACHMENT = ("CNI_CONTAINERID", "CNI_IFNAME")
# DEL works without CNI_NETNS: the namespace may be gone.
_NEEDED: Mapping[str, Sequence[str]] = {
    "ADD": (*_ATTACHMENT, "CNI_NETNS"),
    "CHECK": (*_ATTACHMENT, "CNI_NETNS"),
    "DEL": _ATTACHMENT,
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}


def _plugin_path(environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(each for each in environ.get("CNI_PATH", "").split(":") if each)


def _require_interface_name(name: str) -> None:
    if fault := interface_name_fault(name):
        raise CniError(Code.BAD_ENVIRONMENT, f"{fault}: CNI_IFNAME={name!r}")


def _arguments(text: str) -> dict[str, str]:
    # Deprecated in favour of capabilities, but podman and containerd send the pod's name so; which
    # keys there are is up to the runtime, so unknown ones are taken and not looked at.
    arguments: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        key, separator, value = pair.partition("=")
        if not separator or "=" in value:
            raise CniError(Code.BAD_ENVIRONMENT, f'ARGS: invalid pair "{pair}": CNI_ARGS={text!r}')
        arguments[key] = value
    return arguments
