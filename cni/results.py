"""Pure: what ADD answers ("Success" in the specification): read and printed in every version.

0.1.0 and 0.2.0 have one address of each family, `ip4` and `ip6`, each with its routes; interfaces
and lists of addresses came with 0.3.0.
"""

from ipaddress import ip_interface
from typing import NamedTuple

from podwire.cni.documents import Json, ip, number, objects, table, text, texts, u32
from podwire.cni.spec import at_least
from podwire.netlink.changes import Address, Interface, Network


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


def print_result(result: Result, version: str) -> dict[str, object]:
    """Return *result* as the JSON object of *version*."""
    if not at_least(version, "0.3.0"):
        return _print_old_result(result, version)
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
    for one in result.addresses:
        item: dict[str, object] = {} if modern else {"version": str(one.address.version)}
        item["address"] = str(one.address)
        if one.gateway is not None:
            item["gateway"] = str(one.gateway)
        if one.interface is not None:
            item["interface"] = one.interface
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
    old = tuple(table(document, name) for name in ("ip4", "ip6") if document.get(name) is not None)
    if old:
        return Result(
            addresses=tuple(
                ResultAddress(_interface(item, "ip"), ip(item, "gateway")) for item in old
            ),
            routes=tuple(parse_route(route) for item in old for route in objects(item, "routes")),
            dns=parse_dns(table(document, "dns")),
        )
    return Result(
        interfaces=tuple(
            ResultInterface(
                name=text(item, "name"), mac=text(item, "mac"), sandbox=text(item, "sandbox")
            )
            for item in objects(document, "interfaces")
        ),
        addresses=tuple(
            ResultAddress(
                address=_interface(item, "address"),
                gateway=ip(item, "gateway"),
                interface=number(item, "interface", None),
            )
            for item in objects(document, "ips")
        ),
        routes=tuple(parse_route(item) for item in objects(document, "routes")),
        dns=parse_dns(table(document, "dns")),
    )


def parse_route(item: Json) -> ResultRoute:
    """Return one route of a result or of an `ipam` section. Raises ValueError."""
    destination, gateway = network(item, "dst"), ip(item, "gw")
    if gateway is not None and gateway.version != destination.version:
        raise ValueError(f"'gw' {gateway} is of another family than 'dst' {destination}")
    scope = number(item, "scope", None)
    if scope is not None and not 0 <= scope <= 255:
        raise ValueError(f"'scope' must be between 0 and 255, not {scope}")
    return ResultRoute(
        destination=destination,
        gateway=gateway,
        mtu=u32(item, "mtu"),
        advmss=u32(item, "advmss"),
        priority=u32(item, "priority"),
        table=u32(item, "table"),
        scope=scope,
    )


def network(item: Json, name: str) -> Network:
    """Return a member that is a CIDR address, its host bits cleared. Raises ValueError."""
    return _interface(item, name).network


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


def _print_old_result(result: Result, version: str) -> dict[str, object]:
    document: dict[str, object] = {"cniVersion": version}
    for family in (4, 6):
        first = next((a for a in result.addresses if a.address.version == family), None)
        if first is None:
            continue
        item: dict[str, object] = {"ip": str(first.address)}
        if first.gateway is not None:
            item["gateway"] = str(first.gateway)
        routes = [each for each in result.routes if each.destination.version == family]
        if routes:
            item["routes"] = [_print_route(route, version) for route in routes]
        document[f"ip{family}"] = item
    document["dns"] = _print_dns(result.dns)
    return document


def _interface(item: Json, name: str) -> Interface:
    # A prefix length is a must, and a netmask in its place is none, as for Go's ParseCIDR.
    written = text(item, name)
    try:
        if written.partition("/")[2].isdecimal():
            return ip_interface(written)
    except ValueError:
        pass
    raise ValueError(f"{name!r}: invalid CIDR address: {written}")


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
