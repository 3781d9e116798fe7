"""Pure: the words of the CNI specification: versions, error codes, call parameters, results.

Versions 0.3.1 to 1.1.0 of https://www.cni.dev/docs/spec/; section names below are those of 1.1.0.
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from ipaddress import ip_address, ip_interface, ip_network
from types import MappingProxyType
from typing import NamedTuple

from podwire.cni.documents import Json, number, objects, table, text, texts
from podwire.netlink.changes import Address, Interface, Network

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
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


class ResultInterface(NamedTuple):
    """An interface of a result; *sandbox* is empty for one on the node's side."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""


class ResultAddress(NamedTuple):
    """An address of a result; *interface* counts into the result's interfaces."""

    address: Interface
    gateway: Address | None = None
    interface: int | None = None


class ResultRoute(NamedTuple):
    """A route of a result. Without *gateway* the first gateway of its family serves.

    The other members came with 1.1.0; 0 and None mean: the kernel's default.
    """

    destination: Network
    gateway: Address | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int = 0
    scope: int | None = None


class Dns(NamedTuple):
    """Resolver settings of a result."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Result(NamedTuple):
    """What ADD made ("Success")."""

    interfaces: tuple[ResultInterface, ...] = ()
    addresses: tuple[ResultAddress, ...] = ()
    routes: tuple[ResultRoute, ...] = ()
    dns: Dns = Dns()


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
            "invalid characters in containerID",
            f"CNI_CONTAINERID={container_id!r}",
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


def is_network_name(name: str) -> bool:
    """Return whether the specification allows *name* for a network."""
    return _IDENTIFIER.fullmatch(name) is not None


def at_least(version: str, least: str) -> bool:
    """Return whether *version* is *least* or later; both are of VERSIONS."""
    return VERSIONS.index(version) >= VERSIONS.index(least)


def version_document(requested: str) -> dict[str, object]:
    """Return the answer to VERSION: that of the request if there is one, and all we know."""
    return {"cniVersion": requested or NEWEST, "supportedVersions": list(VERSIONS)}


def print_result(result: Result, version: str) -> dict[str, object]:
    """Return *result* as the JSON object of *version*."""
    modern = at_least(version, "1.0.0")
    interfaces: list[dict[str, object]] = []
    for each in result.interfaces:
        interface: dict[str, object] = {"name": each.name}
        if each.mac:
            interface["mac"] = each.mac
        if each.mtu and at_least(version, "1.1.0"):
            interface["mtu"] = each.mtu
        if each.sandbox:
            interface["sandbox"] = each.sandbox
        interfaces.append(interface)
    ips: list[dict[str, object]] = []
    for ip in result.addresses:
        item: dict[str, object] = {} if modern else {"version": str(ip.address.version)}
        item["address"] = str(ip.address)
        if ip.gateway is not None:
            item["gateway"] = str(ip.gateway)
        if ip.interface is not None:
            item["interface"] = ip.interface
        ips.append(item)
    document: dict[str, object] = {"cniVersion": version}
    if interfaces:
        document["interfaces"] = interfaces
    if ips:
        document["ips"] = ips
    if result.routes:
        document["routes"] = [_print_route(route, version) for route in result.routes]
    document["dns"] = _print_dns(result.dns)
    return document


def parse_result(document: Json) -> Result:
    """Return the result in *document*, of any version that we know. Raises ValueError."""
    return Result(
        interfaces=tuple(
            ResultInterface(
                name=text(item, "name"), mac=text(item, "mac"), sandbox=text(item, "sandbox")
            )
            for item in objects(document, "interfaces")
        ),
        addresses=tuple(
            ResultAddress(
                address=ip_interface(text(item, "address")),
                gateway=ip_address(text(item, "gateway")) if item.get("gateway") else None,
                interface=number(item, "interface", None),
            )
            for item in objects(document, "ips")
        ),
        routes=tuple(parse_route(item) for item in objects(document, "routes")),
        dns=parse_dns(table(document, "dns")),
    )


def parse_route(item: Json) -> ResultRoute:
    """Return one route of a result or of an `ipam` section. Raises ValueError."""
    return ResultRoute(
        destination=ip_network(text(item, "dst"), strict=False),
        gateway=ip_address(text(item, "gw")) if item.get("gw") else None,
        mtu=number(item, "mtu", 0),
        advmss=number(item, "advmss", 0),
        priority=number(item, "priority", 0),
        table=number(item, "table", 0),
        scope=number(item, "scope", None),
    )


def parse_dns(item: Json) -> Dns:
    """Return a `dns` section. Raises ValueError."""
    return Dns(
        nameservers=texts(item, "nameservers"),
        domain=text(item, "domain"),
        search=texts(item, "search"),
        options=texts(item, "options"),
    )


def parse_resolv_conf(content: str) -> Dns:
    """Return the settings of a resolv.conf file; the last `domain` and `search` line holds."""
    nameservers: list[str] = []
    domain, search, options = "", tuple[str, ...](), list[str]()
    for line in content.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                nameservers.append(address)
            case ["domain", name, *_]:
                domain = name
            case ["search", *names]:
                search = tuple(names)
            case ["options", *more]:
                options += more
            case _:
                pass
    return Dns(tuple(nameservers), domain, search, tuple(options))


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
    fault = ""
    if len(name.encode()) > 15:
        fault = "interface name is too long"
    elif name in (".", ".."):
        fault = "interface name is . or .."
    elif any(c in "/:" or c.isspace() for c in name):
        fault = "interface name contains / or : or whitespace characters"
    if fault:
        raise CniError(Code.BAD_ENVIRONMENT, fault, f"CNI_IFNAME={name!r}")


def _arguments(text: str) -> dict[str, str]:
    # Deprecated in favour of capabilities, but podman and containerd send the pod's name so; which
    # keys there are is up to the runtime, so unknown ones are taken and not looked at.
    arguments: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        key, separator, value = pair.partition("=")
        if not separator or "=" in value:
            raise CniError(Code.BAD_ENVIRONMENT, f'ARGS: invalid pair "{pair}"', f"CNI_ARGS={text}")
        arguments[key] = value
    return arguments


def _print_route(route: ResultRoute, version: str) -> dict[str, object]:
    item: dict[str, object] = {"dst": str(route.destination)}
    if route.gateway is not None:
        item["gw"] = str(route.gateway)
    if at_least(version, "1.1.0"):
        since = {
            "mtu": route.mtu,
            "advmss": route.advmss,
            "priority": route.priority,
            "table": route.table,
            "scope": route.scope,
        }
        item |= {name: value for name, value in since.items() if value}
    return item


def _print_dns(dns: Dns) -> dict[str, object]:
    item: dict[str, object] = {}
    if dns.nameservers:
        item["nameservers"] = list(dns.nameservers)
    if dns.domain:
        item["domain"] = dns.domain
    if dns.search:
        item["search"] = list(dns.search)
    if dns.options:
        item["options"] = list(dns.options)
    return item
